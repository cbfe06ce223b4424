"""Tiny writers of other programs' scene folders, by the formats' own descriptions and without the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shots import Shot, frame_of, save

NO_LENS = (0.0, 0.0, 0.0, 0.0, 0.0)


def world_to_camera(shot: Shot) -> np.ndarray:
    """Return the 4 x 4 matrix of the shot's R and t."""
    return np.vstack([np.column_stack([shot.R, shot.t]), [0.0, 0.0, 0.0, 1.0]])


def save_cut_out(path: Path, shot: Shot) -> None:
    """Write an image whose opacity is the mask."""
    save(path, np.dstack([shot.image, shot.mask]))


def write_neus(folder: Path, shots: list[Shot]) -> None:
    """NeuS: IDR's folders, with the cameras in cameras_sphere.npz."""
    entries: dict[str, np.ndarray] = {}
    for number, shot in enumerate(sorted(shots, key=lambda shot: shot.name)):
        save(folder / "image" / shot.name, shot.image)
        save(folder / "mask" / shot.name, shot.mask)
        matrix = np.eye(4)
        matrix[:3] = shot.K @ np.column_stack([shot.R, shot.t])
        entries |= {f"world_mat_{number}": matrix, f"scale_mat_{number}": np.diag([30.0, 30.0, 30.0, 1.0])}
    np.savez(folder / "cameras_sphere.npz", **entries)  # type: ignore[arg-type]


def neus2_frame(shot: Shot, path: str) -> dict[str, Any]:
    """NeuS2's frame: the inverse of the extrinsic matrix, and a 4 x 4 intrinsic matrix."""
    intrinsic = np.eye(4)
    intrinsic[:3, :3] = shot.K
    pose = np.linalg.inv(world_to_camera(shot))
    return {"file_path": path, "transform_matrix": pose.tolist(), "intrinsic_matrix": intrinsic.tolist()}


def neus2_facts(shots: list[Shot], below: str) -> dict[str, Any]:
    """The content of NeuS2's file of one time."""
    width, height = shots[0].size
    frames = [neus2_frame(shot, f"{below}/{shot.name}") for shot in shots]
    return {
        "from_na": True,
        "w": width,
        "h": height,
        "aabb_scale": 1.0,
        "scale": 0.5,
        "offset": [0.5] * 3,
        "frames": frames,
    }


def write_neus2(folder: Path, shots: list[Shot]) -> None:
    """NeuS2's still scene: transform.json and images with opacity."""
    for shot in shots:
        save_cut_out(folder / "images" / shot.name, shot)
    (folder / "transform.json").write_text(json.dumps(neus2_facts(shots, "images")))


def write_neus2_video(folder: Path, shots: dict[int, list[Shot]]) -> None:
    """NeuS2's moving scene: a file and a folder of images for each time."""
    (folder / "train").mkdir(parents=True)
    for time, those in shots.items():
        for shot in those:
            save_cut_out(folder / "images" / f"{time:06d}" / shot.name, shot)
        facts = neus2_facts(those, f"images/{time:06d}")
        (folder / "train" / f"transform_{time:06d}.json").write_text(json.dumps(facts))


def write_vhap(folder: Path, shots: dict[int, list[Shot]]) -> None:
    """VHAP's export: images/TIME_CAMERA.png, fg_masks/ of the same names, and the time of each frame."""
    frames = []
    for time, those in shots.items():
        for camera, shot in enumerate(those):
            name = f"{time:05d}_{camera:02d}.png"
            save(folder / "images" / name, shot.image)
            save(folder / "fg_masks" / name, shot.mask)
            times = {"timestep_index": time, "timestep_index_original": 7 + time, "timestep_id": f"frame_{time:05d}"}
            own = frame_of(shot) | {"file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}"}
            frames.append(own | times | {"camera_index": camera, "camera_id": f"{222200036 + camera}"})
    facts = {"frames": frames, "timestep_indices": sorted(shots), "camera_indices": [0, 1]}
    (folder / "transforms.json").write_text(json.dumps(facts))


def write_opencv_cameras(folder: Path, shots: list[Shot], named: bool = True) -> None:
    """FaceLift's sample: opencv_cameras.json and images with opacity."""
    frames = []
    for number, shot in enumerate(shots):
        name = shot.name if named else f"cam_{number:03d}.png"
        save_cut_out(folder / "images" / name, shot)
        width, height = shot.size
        own = {"w": width, "h": height, "fx": shot.K[0, 0], "fy": shot.K[1, 1], "cx": shot.K[0, 2], "cy": shot.K[1, 2]}
        own["w2c"] = world_to_camera(shot).tolist()
        frames.append(
            own | ({"file_path": f"images/{name}"} if named else {"blender_camera_name": f"cam.{number:03d}"})
        )
    (folder / "opencv_cameras.json").write_text(json.dumps({"id": "sample_000", "frames": frames}))


def write_metashape(
    folder: Path, shots: list[Shot], lens: tuple[float, ...] = NO_LENS, world: np.ndarray | None = None
) -> None:
    """Metashape's cameras.xml, one sensor for each shot; `lens` in OpenCV's order, `world` maps the chunk (4 x 4)."""
    k1, k2, p1, p2, k3 = lens
    world = np.eye(4) if world is None else world
    scale = float(np.cbrt(np.linalg.det(world[:3, :3])))
    sensors, cameras = [], []
    for number, shot in enumerate(shots):
        save(folder / "images" / shot.name, shot.image)
        save(folder / "masks" / shot.name, shot.mask)
        width, height = shot.size
        size = f'<resolution width="{width}" height="{height}"/>'
        f, b1 = shot.K[1, 1], shot.K[0, 0] - shot.K[1, 1]
        values = {
            "f": f, "cx": shot.K[0, 2] - width / 2, "cy": shot.K[1, 2] - height / 2, "b1": b1, "b2": shot.K[0, 1],
            # Metashape: x' has P1 (r² + 2 x²), where OpenCV has p2.
            "k1": k1, "k2": k2, "k3": k3, "p1": p2, "p2": p1,
        }  # fmt: skip
        numbers = "".join(
            f"<{key}>{value!r}</{key}>" for key, value in ((k, float(v)) for k, v in values.items()) if value
        )
        sensors.append(
            f'<sensor id="{number}" label="unknown" type="frame">{size}<calibration type="frame" class="initial">{size}'
            f'<f>1</f></calibration><calibration type="frame" class="adjusted">{size}{numbers}</calibration></sensor>'
        )
        # The world is the chunk scaled, turned and moved: the camera's rotation is not scaled.
        pose = np.linalg.inv(world_to_camera(shot))
        local = np.eye(4)
        local[:3, :3] = (world[:3, :3] / scale).T @ pose[:3, :3]
        local[:3, 3] = (np.linalg.inv(world) @ pose[:, 3])[:3]
        words = " ".join(repr(float(value)) for value in local.ravel())
        cameras.append(
            f'<camera id="{number}" sensor_id="{number}" component_id="0" label="{Path(shot.name).stem}">'
            f"<transform>{words}</transform></camera>"
        )
    cameras.append('<camera id="99" sensor_id="0" label="not_aligned"/>')
    rotation = " ".join(repr(float(value)) for value in (world[:3, :3] / scale).ravel())
    moved = " ".join(repr(float(value)) for value in world[:3, 3])
    (folder / "cameras.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<document version="2.0.0"><chunk label="Chunk 1" enabled="true">'
        f'<sensors>{"".join(sensors)}</sensors><components><component id="0" active="true"><transform>'
        f"<rotation>{rotation}</rotation><translation>{moved}</translation><scale>{scale!r}</scale></transform>"
        f"</component></components><cameras>{''.join(cameras)}</cameras></chunk></document>"
    )


def write_xmp(folder: Path, shots: list[Shot], lens: tuple[float, ...] = NO_LENS, model: str = "brown3t2") -> None:
    """RealityScan's XMP beside each image; needs shots with equal focal lengths. `lens` is in OpenCV's order."""
    k1, k2, p1, p2, k3 = lens
    for shot in shots:
        save(folder / "images" / shot.name, shot.image)
        save(folder / "masks" / shot.name, shot.mask)
        width, height = shot.size
        longer = max(width, height)
        rotation = " ".join(repr(float(value)) for value in shot.R.ravel())
        position = " ".join(repr(float(value)) for value in -shot.R.T @ shot.t)
        text = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description xcr:Version="3" xcr:PosePrior="exact" xcr:DistortionModel="{model}" '
            f'xcr:FocalLength35mm="{float(shot.K[0, 0] * 36 / longer)!r}" xcr:Skew="0" '
            f'xcr:AspectRatio="{float(shot.K[1, 1] / shot.K[0, 0])!r}" '
            f'xcr:PrincipalPointU="{float((shot.K[0, 2] - width / 2) / longer)!r}" '
            f'xcr:PrincipalPointV="{float((shot.K[1, 2] - height / 2) / longer)!r}" '
            'xmlns:xcr="http://www.capturingreality.com/ns/xcr/1.1#">'
            f"<xcr:Rotation>{rotation}</xcr:Rotation><xcr:Position>{position}</xcr:Position>"
            f"<xcr:DistortionCoeficients>{k1} {k2} {k3} 0 {p1} {p2}</xcr:DistortionCoeficients>"
            "</rdf:Description></rdf:RDF></x:xmpmeta>"
        )
        (folder / "images" / shot.name).with_suffix(".xmp").write_text(text)


def turn(axis: int, degrees: float) -> np.ndarray:
    """Return the matrix that turns by an angle about a coordinate axis, counterclockwise."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        [
            [[1, 0, 0], [0, c, -s], [0, s, c]],
            [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        ][axis]
    )


def shot_by_heading(name: str, angles: tuple[float, float, float], position: np.ndarray, seed: int) -> Shot:
    """Return a picture of noise from a position, by heading, pitch and roll in degrees, its focal lengths equal."""
    heading, pitch, roll = angles
    pose = turn(2, -heading) @ turn(0, pitch) @ turn(1, roll)  # of axes right, up, back
    R = (pose @ np.diag([1.0, -1.0, -1.0])).T
    K = np.array([[50.0, 0, 21.0], [0, 50.0, 14.0], [0, 0, 1.0]])
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Shot(name, K, R, -R @ position, image, 255 * rng.integers(0, 2, (30, 40), dtype=np.uint8))


def write_realityscan_csv(folder: Path, shots: list[Shot], angles: list[tuple[float, float, float]]) -> None:
    """RealityScan's export "Internal/External camera parameters", with the images beside it."""
    lines = ["#cameras 2", "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"]
    for shot, turned in zip(shots, angles, strict=True):
        save(folder / shot.name, shot.image)
        Image.fromarray(shot.mask).save(folder / f"{Path(shot.name).stem}.mask.png")
        width, height = shot.size
        middle = ((shot.K[0, 2] - width / 2) / max(shot.size), (shot.K[1, 2] - height / 2) / max(shot.size))
        values = [*(-shot.R.T @ shot.t), *turned, shot.K[0, 0] * 36 / max(shot.size), *middle, *[0.0] * 6]
        lines.append(",".join([shot.name, *(repr(float(value)) for value in values)]))
    (folder / "cameras.csv").write_text("\n".join(lines) + "\n")
