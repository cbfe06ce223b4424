"""Where MediaPipe's face landmarks lie on the mean head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class FaceLandmarks:
    """MediaPipe's landmarks on the mean head of the population."""

    positions: Float[Tensor, "468 3"]
    """Head frame, millimetres."""
    weights: Float[Tensor, "468"]
    """How far each is to be trusted, in (0, 1]: low on the face's outline, the forehead and the inner lips."""
    ibug68: Int[Tensor, "68"]
    """For each iBUG-68 point the landmark that stands for it (the jaw, 0-16, only roughly)."""


@lru_cache(maxsize=1)
def load_face_landmarks() -> FaceLandmarks:
    """Read the packaged landmarks of the mean head (made by `protome.population.face_landmarks`)."""
    asset = resources.files("protome") / "assets" / "face_landmarks.npz"
    with asset.open("rb") as file, np.load(file) as stored:
        return FaceLandmarks(
            torch.from_numpy(stored["positions"]),
            torch.from_numpy(stored["weights"]),
            torch.from_numpy(stored["ibug68"].astype(np.int64)),
        )


@lru_cache(maxsize=1)
def load_template_points() -> Float[Tensor, "800 3"]:
    """Read where the landmarks all over the head lie on the population's template, millimetres.

    The prior's reference head has the template's coordinates. First come MediaPipe's 468; the two irises, which lie on
    no fixed place, are not numbers; then points on face, ears, neck and skull. Made by
    `protome.population.portraits.points`.
    """
    asset = resources.files("protome") / "assets" / "template_points.npz"
    with asset.open("rb") as file, np.load(file) as stored:
        return torch.from_numpy(stored["positions"])


@dataclass(frozen=True)
class MeshPoints:
    """Where a head has what MediaPipe takes for its landmarks, on the population's template."""

    places: Float[Tensor, "468 3"]
    """Millimetres; some way off the points of the canonical face."""
    sigma: Float[Tensor, "468"]
    """Standard deviation of the detector's error along each axis of a picture, millimetres."""


@lru_cache(maxsize=1)
def load_mesh_points() -> MeshPoints:
    """Read the packaged places (made by `protome.training.mesh_points`)."""
    asset = resources.files("protome") / "assets" / "mesh_points.npz"
    with asset.open("rb") as file, np.load(file) as stored:
        return MeshPoints(torch.from_numpy(stored["places"]), torch.from_numpy(stored["sigma"]))


def landmark_places() -> Float[Tensor, "n 3"]:
    """Return the places of all observed landmarks on the template, millimetres: the network's, then MediaPipe's."""
    return torch.cat([load_template_points(), load_mesh_points().places])
