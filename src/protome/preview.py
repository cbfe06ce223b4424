"""`preview.png`: the photo beside the head, its normals, and the head from both sides and behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import CHUNK, Field
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.render.cast import cast, interpolate

BACKGROUND = 0.94
SIDES_DEGREES = (45.0, 90.0, 180.0, 270.0, 315.0)
"""Azimuths of the views of the head, towards the subject's left."""


def side_camera(degrees: float, bounds: Float[Tensor, "2 3"], size: int) -> Camera:
    """Return a camera that shows head and shoulders from an azimuth, slightly from above."""
    target = bounds.mean(0)
    angle = torch.deg2rad(torch.tensor(degrees))
    distance = 2.6 * float((bounds[1] - bounds[0]).max())
    offset = torch.stack([torch.sin(angle), torch.tensor(0.06), torch.cos(angle)]) * distance
    return Camera.look_at(target + offset, target, 2.35 * size, size, size)


def coloured_view(
    mesh: Mesh, field: Field | None, camera: Camera
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """Return an image of a mesh in the field's frame, and one of its normals (as colours).

    Colours and normals come from the field at the exact point of each pixel, or without a field from the mesh's
    vertices; normals from its triangles where the vertices have none.
    """
    hits = cast(mesh, camera)
    colour = torch.full((camera.width * camera.height, 3), BACKGROUND)
    normal = colour.clone()
    if field is None:
        plain = np.full_like(mesh.vertices, 0.7)
        colours = interpolate(plain if mesh.colours is None else mesh.colours, mesh, hits)
        known = np.array(mesh.to_trimesh().vertex_normals) if mesh.normals is None else mesh.normals
        normals = torch.nn.functional.normalize(interpolate(known, mesh, hits), dim=-1)
    else:
        parts = []
        for points, directions in zip(hits.points.split(CHUNK), hits.directions.split(CHUNK), strict=True):
            with torch.no_grad():
                at = field.surface(points)
                parts.append((field.colour(points, at.normals, directions, at.feature), at.normals))
        colours = torch.cat([part[0] for part in parts]) if parts else hits.points
        normals = torch.cat([part[1] for part in parts]).detach() if parts else hits.points
    colour[hits.pixel], normal[hits.pixel] = colours, torch.from_numpy(normal_colours(normals.numpy(), camera))
    shape = (camera.height, camera.width, 3)
    return colour.reshape(shape).numpy(), normal.reshape(shape).numpy()


def normal_colours(normals: Float[np.ndarray, "*n 3"], camera: Camera) -> Float[np.ndarray, "*n 3"]:
    """Return unit normals as colours in [0, 1]: to the right, up and towards the camera."""
    axes = (camera.T_world_camera[:3, :3] * torch.tensor([1.0, -1.0, -1.0])).numpy()
    return 0.5 + 0.5 * (normals @ axes.astype(normals.dtype))


def contact_sheet(rows: Sequence[Sequence[Float[np.ndarray, "h w 3"]]]) -> Float[np.ndarray, "H W 3"]:
    """Return tiles of one size in rows, the last row padded with background."""
    longest = max(len(row) for row in rows)
    size = rows[0][0].shape
    filled = [[*row, *[np.full(size, BACKGROUND)] * (longest - len(row))] for row in rows]
    return np.concatenate([np.concatenate(row, 1) for row in filled], 0)


def square(image: Float[np.ndarray, "h w 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    """Return an image scaled to fit a square, centred on background."""
    height, width = image.shape[:2]
    factor = size / max(height, width)
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    mode = {"mode": "area"} if factor < 1 else {"mode": "bilinear", "align_corners": False}
    small = torch.nn.functional.interpolate(tensor, size=shape, **mode)[0].permute(1, 2, 0).numpy()  # type: ignore[arg-type]
    canvas = np.full((size, size, 3), BACKGROUND)
    top, left = (size - shape[0]) // 2, (size - shape[1]) // 2
    canvas[top : top + shape[0], left : left + shape[1]] = small
    return canvas


def preview_sheet(
    mesh: Mesh,
    field: Field,
    bounds: Float[Tensor, "2 3"],
    photo: Float[Tensor, "h w 3"],
    camera: Camera,
    size: int = 384,
    draw: Callable[[Camera], tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]] | None = None,
) -> Float[np.ndarray, "H W 3"]:
    """Return the sheet: photo, render and normals from its camera; below, both sides and behind.

    Everything in the field's frame and unit; `camera` is that of `photo`. `draw` gives pictures of colours and normals,
    such as those of a textured mesh; without it they are the field's.
    """
    factor = size / max(camera.width, camera.height)
    small = camera.resized(max(1, round(camera.width * factor)), max(1, round(camera.height * factor)))
    cameras = [small, *(side_camera(angle, bounds, size) for angle in SIDES_DEGREES)]
    draw = draw or (lambda own: coloured_view(mesh, field, own))
    colours, normals = zip(*(draw(own) for own in cameras), strict=True)
    top = [square(image, size) for image in (photo.numpy(), colours[0], normals[0])]
    return contact_sheet([[*top, normals[1], normals[3]], list(colours[1:])])
