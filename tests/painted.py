"""A bust in closed form with painted skin, for tests of textures: its true colour is known at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.field import SdfFn
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.extract import coloured, extract_mesh
from protome.render.cast import cast
from protome.scene import View

BOUNDS = torch.tensor([[-240.0, -270.0, -230.0], [240.0, 150.0, 60.0]])
GREY = 0.4
"""The renderer's colour, which is nowhere the true one."""


def skull(points: Tensor) -> Tensor:
    """Signed distance, nearly, to an ellipsoid of a head's size around the middle of the head."""
    radii = points.new_tensor([82.0, 112.0, 98.0])
    scaled = ((points - points.new_tensor([0.0, -5.0, -85.0])) / radii).norm(dim=-1)
    return (scaled - 1) * 82


def bust(points: Tensor) -> Tensor:
    """Signed distance, nearly, to a head on shoulders that go on below the bounds."""
    shoulders = box((0.0, -290.0, -100.0), (170.0, 90.0, 60.0))
    neck = box((0.0, -150.0, -95.0), (30.0, 80.0, 30.0))
    soft = smooth_union(skull, lambda p: neck(p) - 20, 12.0)
    return smooth_union(soft, lambda p: shoulders(p) - 15, 12.0)(points)


def with_a_knob(points: Tensor) -> Tensor:
    """A bust with a ball before its face, on a rod: it hides a part of the face from the front."""
    rod = box((0.0, -10.0, 25.0), (6.0, 6.0, 30.0))
    return torch.stack([bust(points), sphere((0.0, -10.0, 40.0), 18.0)(points), rod(points)]).amin(0)


def paint(points: np.ndarray) -> np.ndarray:
    """The true colour: waves 24 mm long, coarse enough for the photos."""
    return 0.5 + 0.25 * np.sin(points / 24.0 * 2 * np.pi * np.array([0.5, 0.7, 0.6]) + [0.0, 1.0, 2.0])


@dataclass(frozen=True)
class Painted:
    """The bust as a dense mesh and its photos."""

    mesh: Mesh
    views: tuple[View, ...]

    def grey(self, mesh: Mesh) -> Mesh:
        """Return a bare mesh with normals and the renderer's colours."""
        bare = coloured(mesh, field_of(bust), BOUNDS)
        return replace(bare, colours=np.full((len(mesh.vertices), 3), GREY))

    def cameras(self) -> list[Camera]:
        """Return the photos' cameras, head frame, millimetres."""
        return [view.camera for view in self.views]


def camera(azimuth: float, size: int = 360) -> Camera:
    """Return a camera around the head at 900 mm."""
    angle = np.radians(azimuth)
    target = torch.tensor([0.0, -60.0, -85.0], dtype=torch.float64)
    offset = torch.tensor([np.sin(angle), 0.05, np.cos(angle)], dtype=torch.float64) * 900
    return Camera.look_at(target + offset, target, 2.2 * size, size, size)


def photograph(mesh: Mesh, azimuths: Sequence[float], colour: object = paint) -> tuple[View, ...]:
    """Return photos of a mesh, each pixel with the true colour of the point that it shows, on a magenta background."""
    views = []
    for azimuth in azimuths:
        own = camera(azimuth)
        hits = cast(mesh, own)
        image = torch.tensor([1.0, 0.0, 1.0]).repeat(own.width * own.height, 1)
        image[hits.pixel] = torch.from_numpy(colour(hits.points.double().numpy())).float()  # type: ignore[operator]
        mask = torch.zeros(own.width * own.height)
        mask[hits.pixel] = 1.0
        shape = (own.height, own.width)
        views.append(View(f"{azimuth}.png", image.reshape(*shape, 3), mask.reshape(shape), own))
    return tuple(views)


def painted(azimuths: Sequence[float], sdf: SdfFn = bust, resolution: int = 110) -> Painted:
    """Return the bust with photos from the given azimuths in degrees."""
    mesh = extract_mesh(field_of(sdf), BOUNDS, resolution)
    return Painted(mesh, photograph(mesh, azimuths))
