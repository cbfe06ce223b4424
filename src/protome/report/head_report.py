"""The report of a reconstruction: the head to turn, photos beside renders, sizes, cameras, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from protome.asset.asset import Asset
from protome.asset.picture import Textured
from protome.capture.facts import PhotoFacts
from protome.geometry.camera import Camera
from protome.report.library import three_js
from protome.report.light import report_glb
from protome.report.page import base64_of, picture_uri, raw, rendered, sheet_uri, text_of
from protome.report.plan import cameras_from_above, curve
from protome.report.sections import SIDES
from protome.util.files import write_atomically

SHOWS = (("texture", "Photo texture"), ("shape", "Shape"), ("normals", "Normals"), ("seen", "Seen or guessed"))
"""What the viewer can show, by its own names."""
PHOTO_SIDES = ((4, 900), (12, 600), (32, 360))
"""Most photos, and the longest side of their pictures in pixels."""
ROOM = 0.06
"""Margin around the head in the pictures, as a share of its extent."""
SEEN_SIDE = 512
SEEN_COLOUR, GUESSED_COLOUR = (70, 160, 120), (235, 150, 60)
MM_PER_M = 1000.0
RIG_M = 0.06
"""Length of a camera's pyramid in the scene."""
FACE_MM = 95.0
"""Distance from the tip of the nose up to which a surface counts as the face."""
FLATTEST = 0.25
"""Cosine between normal and view down to which a photo shows a surface."""


@dataclass(frozen=True)
class Shown:
    """One photo and the camera that took it."""

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    camera: Camera
    """Head frame, millimetres."""


def write_report(
    path: Path, asset: Asset, shown: Sequence[Shown], photos: Sequence[PhotoFacts], facts: Mapping[str, Any],
    nose: Float[np.ndarray, "3"],
) -> None:  # fmt: skip
    """Write the report of a head beside its other files, of which preview.png and capture.png are shown in it.

    `facts` is what result.json holds; `nose` is the tip of the nose, head frame, millimetres.
    """
    library = three_js()
    folder, picture = path.parent, Textured.of(asset)
    side = next(side for most, side in PHOTO_SIDES if len(shown) <= most)
    pairs = [_pair(one, own, picture, side) for one, own in zip(shown, photos, strict=True)]
    count = "one photo" if len(shown) == 1 else f"{len(shown)} photos"
    page = rendered(
        "head.html",
        title=f"Head from {shown[0].name}" if len(shown) == 1 else f"Head from {count}",
        subtitle=f"Made from {count}, preset {facts['preset']}, in {sum(facts['seconds'].values()):.0f} seconds.",
        style=raw(text_of("style.css")),
        still=sheet_uri(folder / "preview.png"),
        still_words="The head from several sides",
        shows=SHOWS,
        cameras=True,
        sides=SIDES,
        pairs=pairs,
        sizes=[(name, f"{value:.0f}") for name, value in facts["measures_mm"].items()],
        size_words=_size_words(facts["size"]),
        seen=_seen(asset, nose),
        plan=raw(cameras_from_above(photos)),
        cameras_words=f"From above. Cameras are from {facts['cameras_from']}.",
        sheet=sheet_uri(folder / "capture.png"),
        sheet_words=facts["alt"]["capture.png"],
        remarks=[f"{own.photo}: {concern.words}" for own in photos for concern in own.concerns],
        curves=[_curve(name, own) for name, own in facts["curves"].items() if len(own) > 1],
        settings=_settings(facts),
        version=facts["versions"]["protome"],
        library=None if library is None else raw(library),
        viewer=raw(text_of("viewer.js")),
        glb=base64_of(_glb(asset, folder)),
        seen_map=picture_uri(_seen_map(asset), "png"),
        viewer_facts=raw(json.dumps({"cameras": [_rig(one.camera) for one in shown]})),
    )
    write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))


def _curve(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {"name": name, "drawing": raw(curve(name, values))}


def _pair(one: Shown, own: PhotoFacts, picture: Textured, side: int) -> dict[str, Any]:
    """Return a photo and the same with the head drawn over it, no larger than `side` pixels."""
    left, top, width, height = _window(picture, one.camera)
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    cut = one.image[top : top + height, left : left + width]
    photo = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    seen = picture.seen(one.camera.cropped(left, top, width, height).resized(*size))
    quiet = 0.25 * photo + 0.75 * 215
    drawn = np.where((seen.face >= 0)[..., None], 255 * seen.colour, quiet)
    words = (
        f"{own.distance_mm / 1000:.2f} m away, {own.focal_mm:.0f} mm lens ({own.focal_from}), weight {own.weight:.2f}"
    )
    return {
        "name": one.name, "words": words, "photo": picture_uri(np.ascontiguousarray(photo)),
        "render": picture_uri(np.rint(drawn.clip(0, 255)).astype(np.uint8)),
    }  # fmt: skip


def _window(picture: Textured, camera: Camera) -> tuple[int, int, int, int]:
    """Return left, top, width and height of a photo's part that shows the head, with a margin."""
    seen = camera.project(torch.from_numpy(picture.vertices).to(camera.K)).double().numpy()
    low, high = seen.min(0), seen.max(0)
    margin, frame = ROOM * (high - low), np.array([camera.width, camera.height])
    left, top = np.clip(np.floor(low - margin), 0, frame - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + margin), 1, frame).astype(int).tolist()
    return left, top, max(1, right - left), max(1, bottom - top)


def _size_words(size: Mapping[str, Any] | None) -> str:
    if size is None:
        return "The size is that of the given cameras."
    deviation = size["std_percent"]
    return f"The size comes from {size['from']}" + ("." if deviation is None else f", give or take {deviation:.1f} %.")


def _seen(asset: Asset, nose: Float[np.ndarray, "3"]) -> list[tuple[str, str]]:
    """Return which shares of the surface photos show, by area."""
    mesh = asset.atlas.mesh
    assert mesh.visibility is not None
    corners = mesh.vertices[mesh.faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    shows = mesh.visibility[mesh.faces].mean(1) > FLATTEST
    centres = corners.mean(1)
    face = np.linalg.norm(centres - nose, axis=1) < FACE_MM
    rows = (("face", face), ("all of it", np.ones_like(face)))
    return [(name, f"{100 * area[own & shows].sum() / area[own].sum():.0f} % seen") for name, own in rows]


def _seen_map(asset: Asset) -> UInt8[np.ndarray, "s s 3"]:
    """Return the asset's texture tinted by whether a photo shows the surface."""
    size = (SEEN_SIDE, SEEN_SIDE)
    share = cv2.resize(asset.visibility, size, interpolation=cv2.INTER_AREA)[..., None] / 255.0
    share = np.clip(share / FLATTEST, 0, 1)
    grey = cv2.resize(asset.colour, size, interpolation=cv2.INTER_AREA).mean(2, keepdims=True) / 255
    tint = share * np.array(SEEN_COLOUR) + (1 - share) * np.array(GUESSED_COLOUR)
    return np.rint((tint * (0.45 + 0.9 * grey)).clip(0, 255)).astype(np.uint8)


def _glb(asset: Asset, folder: Path) -> bytes:
    path = folder / "head.glb"
    return report_glb(asset, path.read_bytes() if path.is_file() else None)


def _rig(camera: Camera) -> dict[str, list]:
    """Return a camera's centre and the corners of its pyramid in metres, the frame of head.glb."""
    pose = camera.T_world_camera.double().numpy()
    pixels = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]])
    rays = np.concatenate([pixels, np.ones((4, 1))], 1) @ np.linalg.inv(camera.K.double().numpy()).T
    corners = (pose[:3, 3] / MM_PER_M + RIG_M * rays @ pose[:3, :3].T).tolist()
    return {"centre": (pose[:3, 3] / MM_PER_M).tolist(), "corners": corners}


def _settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("command", " ".join(map(str, facts["command"]))), ("preset", facts["preset"]), ("seed", facts["seed"])]
    rows += [("device", facts["device"]), ("vertices of head.ply", f"{facts['mesh']['vertices']:,}")]
    rows += [(f"seconds, {stage}", f"{seconds:.1f}") for stage, seconds in facts["seconds"].items()]
    rows += [(f"version of {name}", version) for name, version in facts["versions"].items()]
    return [(name, str(value)) for name, value in rows]
