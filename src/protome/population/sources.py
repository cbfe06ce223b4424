"""The open sources that training heads are made from: VALID avatars and ICT identity modes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8

from protome.errors import InputError

LANDMARK_NAMES = ("right_eye", "left_eye", "nose_tip", "nose_base", "right_lips", "left_lips")
"""The six facial landmarks of the landmark loss (inner eye corners, nose, mouth corners)."""
EYE_CORNERS = ("right_eye", "left_eye", "right_eye_outer", "left_eye_outer")


@dataclass(frozen=True)
class Part:
    """A textured piece of an avatar: its body, an eye, a wig."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """Texture coordinates, v up."""
    texture: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Avatar:
    """One VALID avatar cropped to a bust, head frame, metres."""

    name: str
    body: Part
    small: tuple[Part, ...]
    """Eyes and tear glands; they share the body's texture."""
    wig: Part | None


def _part(geometry: trimesh.Trimesh) -> Part:
    texture = np.asarray(geometry.visual.material.baseColorTexture.convert("RGB"))
    return Part(
        np.array(geometry.vertices), np.array(geometry.faces), np.array(geometry.visual.uv, np.float64), texture
    )


@dataclass(frozen=True)
class ValidHeads:
    """The folder of VALID busts: one body topology for all of them."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("bodies.npz", "landmarks.json", "index.json"):
            if not (self.folder / name).is_file():
                raise InputError(f"{self.folder} has no {name}: give the folder of the VALID busts")

    @cached_property
    def _bodies(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "bodies.npz") as archive:
            return {key: archive[key] for key in archive.files}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names `<identity>_<outfit>` in the order of `bodies`."""
        return tuple(str(name).removesuffix(".glb") for name in self._bodies["names"])

    @property
    def bodies(self) -> Float[np.ndarray, "heads v 3"]:
        """Body vertices with the arms down, metres."""
        return self._bodies["vertices_arms_down"].astype(np.float64)

    @property
    def weld(self) -> Int[np.ndarray, "v"]:
        """For each vertex the representative of its position (seams merged)."""
        return self._bodies["weld"]

    @cached_property
    def landmarks(self) -> dict[str, int]:
        """Vertex index of each named landmark on the body."""
        return json.loads((self.folder / "landmarks.json").read_text())["landmarks"]

    def avatar(self, name: str) -> Avatar:
        """Read one avatar; its body takes the arms-down shape."""
        scene = trimesh.load(self.folder / f"{name}.glb", process=False)
        parts = {key: _part(geometry) for key, geometry in scene.geometry.items()}
        body = parts["body"]
        body = Part(self.bodies[self.names.index(name)], body.faces, body.uv, body.texture)
        small = tuple(parts[key] for key in sorted(parts) if key not in ("body", "wig"))
        return Avatar(name, body, small, parts.get("wig"))


@dataclass(frozen=True)
class IctModes:
    """ICT-FaceKit identity modes as displacements of control points on the mean VALID head, metres."""

    controls: Float[np.ndarray, "c 3"]
    """Where the control points are: face landmarks, skull and neck, and fixed ones on the shoulders."""
    towards_mean: Float[np.ndarray, "c 3"]
    """From the mean VALID face to ICT's mean face."""
    modes: Float[np.ndarray, "m c 3"]
    """One standard deviation each."""

    @staticmethod
    def load(ict: Path, mediapipe: Path, valid: ValidHeads, skull_points: int = 250) -> IctModes:
        """Place ICT's modes on the mean VALID head through MediaPipe's landmarks, known on both.

        Raises:
            InputError: a file is missing.
        """
        archive, mapping = ict / "ict_facekit.npz", mediapipe / "mediapipe_landmarks.json"
        for path in (archive, mapping):
            if not path.is_file():
                raise InputError(f"{path} does not exist: give the folder that holds it")
        maps = json.loads(mapping.read_text())
        with np.load(archive) as data:
            neutral, identity = data["neutral"].astype(np.float64) / 100, data["identity"].astype(np.float64) / 100
        mean = valid.bodies.mean(0)
        valid_faces = np.asarray(maps["valid_body"]["triangles"])
        valid_points = (mean[valid_faces] * np.asarray(maps["valid_body"]["barycentric"])[..., None]).sum(1)
        count = len(valid_points)
        ict_faces = np.asarray(maps["ict"]["triangles"])[:count]
        ict_weights = np.asarray(maps["ict"]["barycentric"])[:count, :, None]
        ict_points = (neutral[ict_faces] * ict_weights).sum(1)
        aligned = trimesh.registration.procrustes(ict_points, valid_points, reflection=False)[0]
        linear, offset = aligned[:3, :3], aligned[:3, 3]

        head = np.arange(9409, 11248)  # ICT's head and neck: skull, ears, neck
        picked = head[_farthest(neutral[head], skull_points)]
        shoulders = mean[mean[:, 1] < -0.22]
        shoulders = shoulders[_farthest(shoulders, 60)]
        controls = np.concatenate([valid_points, neutral[picked] @ linear.T + offset, shoulders])
        towards = np.zeros_like(controls)
        towards[:count] = ict_points @ linear.T + offset - valid_points
        modes = np.zeros((len(identity), len(controls), 3))
        modes[:, :count] = (identity[:, ict_faces] * ict_weights).sum(2) @ linear.T
        modes[:, count : count + len(picked)] = identity[:, picked] @ linear.T
        return IctModes(controls, towards, modes)


def _farthest(points: Float[np.ndarray, "n 3"], count: int) -> Int[np.ndarray, "count"]:
    """Pick points that are far from one another, greedily, starting from the first."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)
