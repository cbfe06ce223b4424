"""What the template has besides ICT's parts: shoulders, eyeballs, tongue and the shell of the hair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.morphable.holes import boundary_loops
from protome.population.portraits.places import fitted_sphere
from protome.population.template.pieces import Box, Piece, ball, grid
from protome.population.template.skin import EYES, GUMS, TEETH, triangles_of
from protome.topology.hair import BELOW_MM, DEEPEST_MM, first_exit
from protome.topology.template import HAIR_CENTRE_MM, Part

RINGS = 8
"""Of the shoulders below the skin of ICT-FaceKit."""
LOWEST_MM, WIDEST_MM = -238.0, 205.0
"""Where the shoulders end; farther out and lower the prior has not learned from every head."""
AXIS_MM = (0.0, -150.0, -80.0)
"""A point inside the neck from which the shoulders are seen."""
SHOULDER_BOX: Box = (0.006, 0.886, 0.988, 0.108)
SIDES_BOX: Box = (0.006, 0.704, 0.69, 0.174)
CAP_BOX: Box = (0.708, 0.006, 0.286, 0.278)
EYE_BOXES: tuple[Box, Box] = ((0.708, 0.71, 0.138, 0.165), (0.854, 0.71, 0.138, 0.165))
TONGUE_BOX: Box = (0.884, 0.58, 0.11, 0.115)
"""Where these lie in the image."""
EYE_RINGS = (6.0, 12.0, 17.0, 21.0, 24.0, 26.5, 30.0, 36.0, 44.0, 54.0, 66.0, 80.0, 100.0, 125.0, 150.0)
"""Angles from an eyeball's front, degrees: closest where the iris ends."""
EYE_COLUMNS = 24
HAIR_SIDE, HAIR_ROWS = 18, 24
"""Quads along an edge of the shell's top, and rows of its sides."""
HAIR_TOP, HAIR_LOWEST = 45.0, -62.0
"""Elevations at which the sides begin and end, degrees."""


def shoulders(
    skin: Piece, target: Float[np.ndarray, "b 3"], target_faces: Int[np.ndarray, "g 3"]
) -> tuple[Piece, Int[np.ndarray, "n"]]:
    """Return the rings from the lower border of the skin down to the end of the bust, and the border's vertices.

    The piece's first ring repeats the border. `target` is the population's template, millimetres.
    """
    loops = boundary_loops(triangles_of(skin.polygons[skin.part <= Part.LINING]))
    loop = min(loops, key=lambda own: skin.vertices[own, 1].mean())
    loop = np.roll(loop, -int(skin.vertices[loop, 2].argmin()))
    axis = np.array(AXIS_MM)
    away = skin.vertices[loop] - axis
    azimuth = np.arctan2(away[:, 0], away[:, 2])
    start = np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2]))
    caster = RayMeshIntersector(Trimesh(target, target_faces, process=False))
    steps = np.linspace(0, 1, 400)[:, None]
    height = start + steps * (np.radians(-85.0) - start)
    paths = np.stack([_hit(caster, axis, azimuth, row) for row in height])
    beyond = (paths[..., 1] < LOWEST_MM) | (np.abs(paths[..., 0]) > WIDEST_MM) | ~np.isfinite(paths[..., 0])
    places = [skin.vertices[loop]]
    for share in np.arange(1, RINGS + 1) / RINGS:
        places.append(np.stack([_along(paths[:, k], beyond[:, k], share) for k in range(len(loop))]))
    rows, columns = RINGS + 1, len(loop)
    polygons = grid(rows, columns, around=True)
    across = np.arange(columns + 1) / columns
    uv = np.stack(np.meshgrid(across, np.arange(rows) / RINGS), -1).reshape(-1, 2)
    piece = Piece(np.concatenate(places), polygons, uv, grid(rows, columns + 1), np.full(len(polygons), int(Part.SKIN)))
    return piece.inside(SHOULDER_BOX), loop


def _hit(
    caster: RayMeshIntersector, axis: Float[np.ndarray, "3"], azimuth: Float[np.ndarray, "n"],
    height: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n 3"]:  # fmt: skip
    """Return where the rays from the axis meet the body last, not a number where they do not."""
    ways = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], 1)
    points, ray, _ = caster.intersects_location(axis + 600 * ways, -ways, multiple_hits=False)
    found = np.full((len(ways), 3), np.nan)
    found[ray] = points
    return found


def _along(path: Float[np.ndarray, "s 3"], beyond: Float[np.ndarray, "s"], share: float) -> Float[np.ndarray, "3"]:
    """Return the point at a share of the way along a path that ends where it leaves the bust."""
    own = path[: max(2, int(beyond.argmax()) if beyond.any() else len(path))]
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(own, axis=0), axis=1).cumsum()])
    return np.array([np.interp(share * length[-1], length, own[:, axis]) for axis in range(3)])


def eyeballs(neutral: Float[np.ndarray, "t 3"]) -> tuple[list[Piece], Float[np.ndarray, "2 3"], Float[np.ndarray, "2"]]:
    """Return the left and the right eyeball with their centres and radii, from ICT's eyeballs."""
    pieces, centres, radii = [], [], []
    for part, low, high, box in (
        (Part.LEFT_EYE, TEETH, EYES, EYE_BOXES[0]), (Part.RIGHT_EYE, EYES, EYES + EYES - TEETH, EYE_BOXES[1])
    ):  # fmt: skip
        own = neutral[low:high]
        centre, radius = fitted_sphere(own[own[:, 2] > own[:, 2].mean()])
        pieces.append(ball(centre, radius, EYE_RINGS, EYE_COLUMNS, part).inside(box))
        centres.append(centre)
        radii.append(radius)
    return pieces, np.stack(centres), np.array(radii)


def tongue(neutral: Float[np.ndarray, "t 3"]) -> Piece:
    """Return a tongue behind the lower teeth of ICT's head: a flat bulb, the tip to the front."""
    front = neutral[GUMS:TEETH]
    lower = front[front[:, 1] < front[:, 1].mean()]
    length = 38.0
    tip = np.array([0.0, np.quantile(lower[:, 1], 0.97) - 4.0, lower[:, 2].max() - 13.0])
    own = ball(np.zeros(3), 1.0, (22.0, 45.0, 65.0, 85.0, 105.0, 125.0, 145.0), 14, Part.TONGUE).inside(TONGUE_BOX)
    shape = own.vertices * [15.0, 4.6, 0.5 * length] + tip - [0.0, 5.0, 0.5 * length]
    return Piece(shape, own.polygons, own.uv, own.uv_polygons, own.part)


def hair_shell(skin: Piece) -> Piece:
    """Return the shell just under the skin: rings around the head, closed by a patch of quads on top.

    Per head it is moved along the rays from `HAIR_CENTRE_MM`.
    """
    side, columns = HAIR_SIDE, 4 * HAIR_SIDE
    angle = np.pi / 4 * (2 * np.arange(side + 1) / side - 1)
    x, z = np.meshgrid(np.tan(angle), np.tan(angle))
    top = np.stack([x, np.ones_like(x), z], -1)
    walk = np.concatenate([
        [(side, k) for k in range(side)], [(side - k, side) for k in range(side)],
        [(0, side - k) for k in range(side)], [(k, 0) for k in range(side)],
    ])  # fmt: skip
    walk = np.roll(walk, -(side // 2), axis=0)  # so that the seam lies before the face, under the skin
    edge = top[walk[:, 0], walk[:, 1]]
    azimuth, above = np.arctan2(edge[:, 0], edge[:, 2]), np.arctan2(edge[:, 1], np.hypot(edge[:, 0], edge[:, 2]))
    steps = np.arange(1, HAIR_ROWS + 1)[:, None] / HAIR_ROWS
    height = above + steps * (np.radians(HAIR_LOWEST) - above)
    ways = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1).reshape(
        -1, 3
    )
    directions = np.concatenate([top.reshape(-1, 3), ways])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    number = np.arange((side + 1) ** 2).reshape(side + 1, side + 1)
    ring = np.concatenate(
        [number[walk[:, 0], walk[:, 1]][None], (side + 1) ** 2 + np.arange(len(ways)).reshape(-1, columns)]
    )
    sides = ring.reshape(-1)[grid(HAIR_ROWS + 1, columns, around=True)]
    polygons = np.concatenate([grid(side + 1, side + 1), sides])
    cap = np.stack(np.meshgrid(np.arange(side + 1) / side, np.arange(side + 1) / side), -1).reshape(-1, 2)
    strip = np.stack(np.meshgrid(np.arange(columns + 1) / columns, np.arange(HAIR_ROWS + 1) / HAIR_ROWS), -1)
    start = len(cap)
    uv = np.concatenate([
        np.array(CAP_BOX[:2]) + cap * CAP_BOX[2:], np.array(SIDES_BOX[:2]) + strip.reshape(-1, 2) * SIDES_BOX[2:],
    ])  # fmt: skip
    uv_polygons = np.concatenate([grid(side + 1, side + 1), start + grid(HAIR_ROWS + 1, columns + 1)])
    outside = triangles_of(skin.polygons[skin.part == Part.SKIN])
    reach = np.minimum(first_exit(skin.vertices, outside, np.array(HAIR_CENTRE_MM), directions) - BELOW_MM, DEEPEST_MM)
    vertices = HAIR_CENTRE_MM + reach[:, None] * directions
    return Piece(vertices, polygons, uv, uv_polygons, np.full(len(polygons), int(Part.HAIR)))
