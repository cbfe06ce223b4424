"""Pictures of distances: colours on a mesh with a colour bar, and cumulative curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from protome.errors import InputError
from protome.evaluate.landmarks import Landmarks
from protome.evaluate.now import CURVE_LIMIT_MM, Curve
from protome.geometry.mesh import Mesh
from protome.preview import BACKGROUND, coloured_view, contact_sheet, side_camera
from protome.util.files import write_atomically

COLOURS = "viridis"
"""A perceptually uniform colour map, also in greyscale print and for the colour-blind."""
UNKNOWN = (0.75, 0.75, 0.75)
"""The colour of vertices that were not measured."""
LIMITS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
HEATMAP_SUFFIXES = (".png", ".ply")
SHADING = 0.25
"""Largest darkening at grazing view: enough to show the shape, too little to confuse colours."""
DPI = 100


def heat_limit(distances: Float[np.ndarray, "v"]) -> float:
    """Return the length of the last colour in millimetres: a round number above at least 90 % of the distances."""
    known = distances[np.isfinite(distances)]
    high = float(np.percentile(known, 90)) if len(known) else 0.0
    return next((limit for limit in LIMITS_MM if limit >= high), LIMITS_MM[-1])


def heat_colours(distances: Float[np.ndarray, "v"], limit: float) -> Float[np.ndarray, "v 3"]:
    """Return a colour for each distance, from 0 to `limit` and the last one beyond; grey where it is not finite."""
    known = np.isfinite(distances)
    colours = np.tile(UNKNOWN, (len(distances), 1))
    colours[known] = matplotlib.colormaps[COLOURS](np.clip(distances[known] / limit, 0.0, 1.0))[:, :3]
    return colours


def save_heatmap(
    path: Path, mesh: Mesh, distances: Float[np.ndarray, "v"], landmarks: Landmarks | None = None, size: int = 320
) -> None:
    """Write the distances (mm) of a mesh's vertices as colours: a mesh (.ply) or a picture of several views (.png).

    In the picture the head is upright according to its landmarks; without them +y is up and +z the front. Where
    only part of the mesh was measured, that part is shown from the front.

    Raises:
        InputError: the suffix is neither, or the file cannot be written.
    """
    check_heatmap(path)
    limit = heat_limit(distances)
    coloured = Mesh(mesh.vertices, mesh.faces, heat_colours(distances, limit))
    if path.suffix.lower() == ".ply":
        coloured.save(path)
        return
    turn = upright(landmarks or {})
    known = np.isfinite(distances)
    standing = Mesh(mesh.vertices @ turn.T, mesh.faces[known[mesh.faces].any(1)], coloured.colours)
    measured = standing.vertices[known]
    bounds = torch.from_numpy(np.stack([measured.min(0), measured.max(0)])).float()
    rows = ((0.0, 45.0, 315.0), (180.0, 90.0, 270.0)) if known.all() else ((0.0, 45.0, 315.0),)
    sheet = contact_sheet([[_view(standing, bounds, angle, size) for angle in row] for row in rows])
    figure = _with_scale(sheet, limit)
    write_atomically(path, lambda part: figure.savefig(part, dpi=DPI))


def check_heatmap(path: Path) -> None:
    """Check the suffix of a heat map's file.

    Raises:
        InputError: it is not.
    """
    if path.suffix.lower() not in HEATMAP_SUFFIXES:
        raise InputError(f"cannot write a heat map as {path.name}: use one of {', '.join(HEATMAP_SUFFIXES)}")


def upright(landmarks: Landmarks) -> Float[np.ndarray, "3 3"]:
    """Return the rotation to a frame with +x to the subject's left and +y up, estimated from the landmarks."""
    if not {"right_eye", "left_eye", "nose_base"} <= landmarks.keys():
        return np.eye(3)
    right, left, base = (landmarks[name] for name in ("right_eye", "left_eye", "nose_base"))
    if np.linalg.matrix_rank(np.stack([left - right, base - right]), tol=1e-6) < 2:
        return np.eye(3)
    x = (left - right) / np.linalg.norm(left - right)
    up = (left + right) / 2 - base
    if {"right_lips", "left_lips"} <= landmarks.keys():
        # The line from the mouth to the eyes is vertical, that from below the nose leans a little.
        up = (left + right) / 2 - (landmarks["right_lips"] + landmarks["left_lips"]) / 2
    up = up - (up @ x) * x
    y = up / np.linalg.norm(up)
    return np.stack([x, y, np.cross(x, y)])


def save_curve(path: Path, curves: dict[str, Curve]) -> None:
    """Draw named cumulative curves as a picture (.png).

    Raises:
        InputError: the suffix is another, or the file cannot be written.
    """
    check_curve(path)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(curve.limits, curve.percent, label=name)
    axes.set(xlim=(0, CURVE_LIMIT_MM), ylim=(0, 100), xlabel="distance, mm", ylabel="scan points, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    write_atomically(path, lambda part: figure.savefig(part, dpi=DPI))


def check_curve(path: Path) -> None:
    """Check the suffix of a curve's file.

    Raises:
        InputError: it is not.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot draw a curve into {path.name}: use a name that ends in .png")


def _view(mesh: Mesh, bounds: Float[torch.Tensor, "2 3"], degrees: float, size: int) -> Float[np.ndarray, "s s 3"]:
    colour, normal = coloured_view(mesh, None, side_camera(degrees, bounds, size))
    facing = np.clip(2.0 * normal[..., 2:] - 1.0, 0.0, 1.0)
    covered = (normal != np.float32(BACKGROUND)).any(-1, keepdims=True)
    return np.where(covered, colour * (1.0 - SHADING * (1.0 - facing)), colour)


def _with_scale(sheet: Float[np.ndarray, "h w 3"], limit: float) -> Figure:
    """Return a figure with the sheet at its own resolution and a colour bar on the right."""
    height, width = sheet.shape[:2]
    margin = 110
    figure = Figure(figsize=((width + margin) / DPI, height / DPI), dpi=DPI, facecolor=(BACKGROUND,) * 3)
    figure.figimage(sheet[::-1].clip(0, 1), 0, 0, origin="lower")
    place = ((width + 20) / (width + margin), 0.1, 20 / (width + margin), 0.8)
    scale = ScalarMappable(Normalize(0.0, limit), COLOURS)
    figure.colorbar(scale, cax=figure.add_axes(place), extend="max", label="distance, mm")
    return figure
