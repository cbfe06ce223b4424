"""Posed pictures known as plain numbers, and tiny writers of other programs' scene folders, without the package.

A shot's pixel is K (R x + t) with OpenCV's axes and pixel centres at +0.5.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

TARGET = np.array([5.0, -3.0, 20.0])
"""What all shots look at."""


@dataclass(frozen=True)
class Shot:
    """One picture with its camera."""

    name: str
    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    image: np.ndarray
    """(h, w, 3) uint8."""
    mask: np.ndarray
    """(h, w) uint8."""

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels of world points."""
        seen = (points @ self.R.T + self.t) @ self.K.T
        return seen[:, :2] / seen[:, 2:]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[1], self.image.shape[0]


def random_shots(names: tuple[str, ...], width: int = 40, height: int = 30, seed: int = 0) -> list[Shot]:
    """Return pictures of noise, taken from anywhere towards the target, each with its own lens and a turned camera."""
    rng = np.random.default_rng(seed)
    shots = []
    for name in names:
        K = np.array([[rng.uniform(45, 60), 0, width / 2 + rng.normal()], [0, rng.uniform(45, 60), 13.0], [0, 0, 1.0]])
        R = Rotation.random(random_state=rng).as_matrix()
        away = rng.uniform(30, 60)
        t = np.array([0.3, -0.2, away]) - R @ TARGET
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = 255 * rng.integers(0, 2, (height, width), dtype=np.uint8)
        shots.append(Shot(name, K, R, t, image, mask))
    return shots


def points_near_target(count: int = 100) -> np.ndarray:
    """Return world points that all shots have in front of them."""
    return TARGET + 3 * np.random.default_rng(9).normal(size=(count, 3))


def save(path: Path, pixels: np.ndarray) -> None:
    """Write one picture and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def opengl_pose(shot: Shot) -> np.ndarray:
    """Return the camera-to-world matrix whose columns are the camera's right, up and back, and its centre."""
    right, down, forward = shot.R
    return np.vstack([np.stack([right, -down, -forward, -shot.R.T @ shot.t], 1), [0, 0, 0, 1]])


def frame_of(shot: Shot) -> dict[str, Any]:
    """Return a frame of transforms.json with all its numbers."""
    width, height = shot.size
    return {
        "file_path": f"images/{shot.name}",
        "transform_matrix": opengl_pose(shot).tolist(),
        "fl_x": shot.K[0, 0],
        "fl_y": shot.K[1, 1],
        "cx": shot.K[0, 2],
        "cy": shot.K[1, 2],
        "w": width,
        "h": height,
    }


def write_transforms(folder: Path, shots: list[Shot], **top: Any) -> None:
    """Write transforms.json with the images and, in `masks/`, masks of the same names."""
    for shot in shots:
        save(folder / "images" / shot.name, shot.image)
        save(folder / "masks" / shot.name, shot.mask)
    text = json.dumps({**top, "frames": [frame_of(shot) for shot in shots]})
    (folder / "transforms.json").write_text(text)


def write_colmap_images(folder: Path, shots: list[Shot]) -> None:
    """Write the images, and the masks as COLMAP names them."""
    for shot in shots:
        save(folder / "images" / shot.name, shot.image)
        save(folder / "masks" / f"{shot.name}.png", shot.mask)


def colmap_camera(shot: Shot) -> tuple[str, list[float]]:
    """Return the shot's camera model and parameters."""
    return "PINHOLE", [shot.K[0, 0], shot.K[1, 1], shot.K[0, 2], shot.K[1, 2]]


MODEL_NUMBERS = {
    "SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6, "FOV": 7, "SIMPLE_RADIAL_FISHEYE": 8, "RADIAL_FISHEYE": 9, "THIN_PRISM_FISHEYE": 10,
    "SIMPLE_DIVISION": 12, "DIVISION": 13, "SIMPLE_FISHEYE": 14, "FISHEYE": 15, "EUCM": 16, "EQUIRECTANGULAR": 17,
}  # fmt: skip


def write_colmap(
    model: Path, shots: list[Shot], binary: bool, cameras: list[tuple[str, list[float]]] | None = None
) -> None:
    """Write a sparse model, one camera for each image; the first image has two points, the others none."""
    model.mkdir(parents=True, exist_ok=True)
    cameras = cameras or [colmap_camera(shot) for shot in shots]
    rows = []
    for index, shot in enumerate(shots):
        x, y, z, w = Rotation.from_matrix(shot.R).as_quat()
        rows.append((len(shots) - index, [w, x, y, z, *shot.t], 7 + index, shot.name))
    if binary:
        content = struct.pack("<Q", len(shots))
        for (kind, values), row, shot in zip(cameras, rows, shots, strict=True):
            content += struct.pack("<IiQQ", row[2], MODEL_NUMBERS[kind], *shot.size)
            content += struct.pack(f"<{len(values)}d", *values)
        (model / "cameras.bin").write_bytes(content)
        content = struct.pack("<Q", len(shots))
        for index, (number, pose, camera, name) in enumerate(rows):
            content += struct.pack("<I7dI", number, *pose, camera) + name.encode() + b"\0"
            points = [(1.5, 2.5, 3), (4.5, 5.5, 2**64 - 1)] if index == 0 else []
            content += struct.pack("<Q", len(points)) + b"".join(struct.pack("<ddQ", *point) for point in points)
        (model / "images.bin").write_bytes(content)
        return
    lines = ["# Camera list with one line of data per camera:"]
    for (kind, values), row, shot in zip(cameras, rows, shots, strict=True):
        lines.append(f"{row[2]} {kind} {shot.size[0]} {shot.size[1]} {' '.join(map(repr, map(float, values)))}")
    (model / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:", ""]
    for index, (number, pose, camera, name) in enumerate(rows):
        lines.append(f"{number} {' '.join(map(repr, map(float, pose)))} {camera} {name}")
        lines.append("1.5 2.5 3 4.5 5.5 -1" if index == 0 else "")
    (model / "images.txt").write_text("\n".join(lines) + "\n")
