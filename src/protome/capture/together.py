"""Cameras of several photos of one person in one head frame, and which photos agree about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.capture.bundle import Bundle, Tracks, adjust
from protome.capture.lenses import Shot
from protome.capture.matches import Matches, Picture, match
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import skew
from protome.morphable.linear import load_builtin
from protome.morphable.model import MorphableModel

ROUNDS: tuple[tuple[float, float], ...] = ((16.0, 8.0), (10.0, 5.0), (6.0, 3.0), (6.0, 2.0), (6.0, 2.0))
"""Radius in which spots are searched, and error at which matches count less, both in millimetres, round by round."""
ROUNDS_LEFT = 2
"""How many of these rounds are left where structure from motion has already given the cameras."""
LEAST_ASKED = 40
"""Spots searched in the others below which a photo sees too little of what they see to be compared with them."""
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
    rotation_spread: tuple[float, ...]
    """Standard deviations of the cameras' directions from the head relative to each other, radians."""
    links: Int[np.ndarray, "p p"]
    """How many matches between two photos agree with the cameras."""
    agrees: Bool[np.ndarray, "p"]
    """Which photos belong to the largest group that matches join, or see nothing of what this group sees, as profiles
    from both sides; none where that group is one photo."""
    tracks: Tracks
    """The matches."""


def place_roughly(shots: Sequence[Shot]) -> Bundle:
    """Return the cameras of photos of one person, as their landmarks alone have them."""
    return adjust(load_builtin(), shots)


def place_together(
    images: Sequence[Float[Tensor, "_ _ 3"]],
    masks: Sequence[Float[Tensor, "_ _"]],
    shots: Sequence[Shot],
    rough: Bundle,
    start: Sequence[Camera] | None = None,
) -> Together:
    """Return the cameras of photos of one person, as landmarks and matches between photos have them.

    The search for matches begins with the `rough` cameras, or with those of `start`, which are better.
    """
    model, bundle, rounds = load_builtin(), rough, ROUNDS
    if start is not None:
        cameras = tuple(camera.to(torch.float64) for camera in start)
        bundle, rounds = replace(rough, cameras=cameras), ROUNDS[-ROUNDS_LEFT:]
    pictures = [
        Picture.of(image, mask, camera) for image, mask, camera in zip(images, masks, bundle.cameras, strict=True)
    ]
    for radius_mm, width_mm in rounds:
        found, bundle = _round(model, pictures, shots, bundle, radius_mm, width_mm)
    links = _links(found, bundle, len(shots))
    asked = found.asked + found.asked.T
    group = largest_group((links >= LEAST_LINKS) & (links >= LEAST_SHARE * asked))
    agrees = (group | (asked[:, group].sum(1) < LEAST_ASKED)) & group.any()
    return Together(
        tuple(camera.to(torch.float32) for camera in bundle.cameras), tuple(bundle.focal_spread.tolist()),
        tuple(bundle.rotation_spread.tolist()), links,
        agrees, found.tracks,
    )  # fmt: skip


def epipolar_error(tracks: Tracks, cameras: Mapping[int, Camera]) -> float:
    """Return the median distance of matches from where the cameras allow them, pixels over the focal length.

    Source: Hartley and Zisserman (2004), equation 11.9 (Sampson). Unlike an error against a surface, it says the same
    of cameras that were found with these matches and of others. NaN without a match between the cameras.
    """
    found = []
    for first, one in cameras.items():
        for second, other in cameras.items():
            row, column = torch.nonzero((tracks.view[:, None] == first) & (tracks.other == second), as_tuple=True)
            if first != second and len(row):
                found.append(_sampson(one, other, tracks.pixel[row], tracks.there[row, column]))
    return float(np.median(torch.cat(found).numpy())) if found else float("nan")


def _sampson(
    first: Camera, second: Camera, pixels: Float[Tensor, "n 2"], places: Float[Tensor, "n 2"]
) -> Float[Tensor, "n"]:
    A, B = (camera.T_world_camera.double() for camera in (first, second))
    a, b = (
        torch.cat([at.double(), torch.ones(len(at), 1).double()], 1) @ torch.linalg.inv(camera.K.double()).T
        for camera, at in ((first, pixels), (second, places))
    )
    E = skew(B[:3, :3].T @ (A[:3, 3] - B[:3, 3])) @ B[:3, :3].T @ A[:3, :3]
    by_second, by_first = a @ E.T, b @ E
    slope = torch.cat([by_second[:, :2], by_first[:, :2]], 1).norm(dim=1)
    return (b * by_second).sum(1).abs() / slope.clamp(min=1e-30)


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
