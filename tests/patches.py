"""Open surfaces whose geometry is known, for tests of facial detail; inner units unless a name says millimetres."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from protome.geometry.camera import Camera, Rays
from protome.geometry.mesh import Mesh
from protome.render.cast import cast, interpolate
from protome.sider.fit import FacePixels


def grid_faces(side: int) -> np.ndarray:
    """Return the triangles of a square grid of side x side vertices, row by row, seen from +z."""
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1)
    lower = np.stack([corner, corner + 1, corner + side + 1], 1)
    return np.concatenate([lower, np.stack([corner, corner + side + 1, corner + side], 1)])


def plane(side: int = 21, half: float = 1.0) -> Mesh:
    """Return a square in the plane z = 0 that looks along +z."""
    y, x = np.meshgrid(*[np.linspace(-half, half, side)] * 2, indexing="ij")
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    return Mesh(vertices, grid_faces(side), normals=np.tile([0.0, 0.0, 1.0], (side * side, 1)))


def cap(radius: float, side: int = 31, half: float = 0.7) -> Mesh:
    """Return the part of a sphere around the origin that looks along +z, with its normals."""
    flat = plane(side, half).vertices
    out = np.stack([np.sin(flat[:, 0]), np.sin(flat[:, 1]), np.ones(len(flat))], 1)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return Mesh(radius * out, grid_faces(side), normals=out)


def ridge(directions: Float[np.ndarray, "n 3"], height: float) -> Float[np.ndarray, "n"]:
    """Return how high a ridge across the middle of the cap, and a groove above it, stand out."""
    y = directions[:, 1] / directions[:, 2]
    fade = np.exp(-((directions[:, 0] / directions[:, 2] / 0.35) ** 4))
    return height * fade * (np.exp(-(((y + 0.1) / 0.07) ** 2)) - np.exp(-(((y - 0.15) / 0.07) ** 2)))


def lit(coarse: Mesh, truth: Mesh, camera: Camera) -> FacePixels:
    """Return the pixels of a photo of `truth`, matt and lit from one side, over a coarse surface."""
    hits = cast(coarse, camera)
    seen = cast(truth, camera)
    normals = np.array(truth.to_trimesh().vertex_normals) if truth.normals is None else truth.normals
    facing = torch.nn.functional.normalize(interpolate(normals, truth, seen), dim=-1)
    lamp = torch.nn.functional.normalize(torch.tensor([0.3, 0.8, 0.6]), dim=0)
    image = torch.zeros(camera.height * camera.width, 3)
    image[seen.pixel] = torch.tensor([0.8, 0.6, 0.5]) * (0.2 + 0.8 * (facing @ lamp).clamp(min=0))[:, None]
    both = torch.isin(hits.pixel, seen.pixel)
    pixel, points = hits.pixel[both], hits.points[both]
    rays = camera.rays()
    own = Rays(rays.origins[pixel], rays.directions[pixel])
    return FacePixels(own, image[pixel], (points - own.origins).norm(dim=1), torch.ones(len(pixel), dtype=torch.bool))
