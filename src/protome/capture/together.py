"""Cameras of several photos of one person in one head frame, and which photos agree about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.capture.bundle import Bundle, adjust
from protome.capture.lenses import Shot
from protome.capture.matches import Matches, Picture, match
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.morphable.linear import load_builtin
from protome.morphable.model import MorphableModel

ROUNDS = ((10.0, 5.0), (6.0, 3.0), (4.0, 1.5), (4.0, 1.0))
"""Radius in which spots are searched, and error at which matches count less, both in millimetres, round by round."""
CLOSE_MM = 1.0
"""Error up to which a match agrees with the cameras."""
LEAST_LINKS, LEAST_SHARE = 12, 0.1
"""Matches that agree and join two photos, and their share of the spots that were searched: what is less is chance.
Between photos of different people it was 0.05, and 0.2 and more of one person, 45 degrees apart."""


@dataclass(frozen=True)
class Together:
    """What photos say of each other."""

    cameras: tuple[Camera, ...]
    """Posed in one head frame, millimetres."""
    focal_spread: tuple[float, ...]
    """Standard deviations of the logarithms of focal lengths."""
    links: Int[np.ndarray, "p p"]
    """How many matches between two photos agree with the cameras."""
    agrees: Bool[np.ndarray, "p"]
    """Which photos belong to the largest group that matches join; none where that group is one photo."""


def place_together(
    images: Sequence[Float[Tensor, "_ _ 3"]], masks: Sequence[Float[Tensor, "_ _"]], shots: Sequence[Shot]
) -> Together:
    """Return the cameras of photos of one person, as landmarks and matches between photos have them."""
    model = load_builtin()
    bundle = adjust(model, shots)
    pictures = [
        Picture.of(image, mask, camera) for image, mask, camera in zip(images, masks, bundle.cameras, strict=True)
    ]
    for radius_mm, width_mm in ROUNDS:
        found, bundle = _round(model, pictures, shots, bundle, radius_mm, width_mm)
    links = _links(found, bundle, len(shots))
    joined = (links >= LEAST_LINKS) & (links >= LEAST_SHARE * (found.asked + found.asked.T))
    return Together(
        tuple(camera.to(torch.float32) for camera in bundle.cameras), tuple(bundle.focal_spread.tolist()), links,
        largest_group(joined),
    )  # fmt: skip


def largest_group(joined: Bool[np.ndarray, "p p"]) -> Bool[np.ndarray, "p"]:
    """Return the members of the largest group of which each is joined to another; none where nothing is joined."""
    best = np.zeros(len(joined), bool)
    for first in range(len(joined)):
        group = np.arange(len(joined)) == first
        while (more := group | joined[group].any(0)).sum() > group.sum():
            group = more
        if group.sum() > max(1, best.sum()):
            best = group
    return best


def _round(
    model: MorphableModel, pictures: Sequence[Picture], shots: Sequence[Shot], bundle: Bundle, radius_mm: float,
    width_mm: float,
) -> tuple[Matches, Bundle]:  # fmt: skip
    """Search matches as the cameras have them, and correct the cameras by these."""
    moved = [picture.with_camera(camera) for picture, camera in zip(pictures, bundle.cameras, strict=True)]
    found = match(moved, Mesh(bundle.vertices.numpy(), model.faces.numpy()), radius_mm)
    return found, adjust(model, shots, found.tracks, bundle.cameras, match_width=width_mm)


def _links(found: Matches, bundle: Bundle, photos: int) -> Int[np.ndarray, "p p"]:
    links = np.zeros((photos, photos), int)
    close = (bundle.residual_mm < CLOSE_MM).numpy()
    row, column = np.nonzero(close)
    np.add.at(links, (found.tracks.view.numpy()[row], found.tracks.other.numpy()[row, column]), 1)
    return links + links.T
