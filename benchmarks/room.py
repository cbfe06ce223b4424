"""A room behind a sitter: textured walls, floor and furniture, seen by casting rays; the background of casual photos.

The world frame is in millimetres with +y up; the sitter's eyes are at its origin and the sitter faces +z.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

TILE = 512
"""Pixels of a texture's side."""
MM_PER_TEXEL = 4.0
CLEARANCE_MM = 2900.0
"""The walls in front of the sitter and at the sides stand farther than any camera."""


@dataclass(frozen=True)
class Room:
    """A closed box with smaller boxes along its walls."""

    boxes: Float[np.ndarray, "b 2 3"]
    """Least and greatest corner of each box; the first is the room itself, which is seen from inside."""
    tiles: Float[np.ndarray, "t h w 3"]
    """Textures, linear colours."""
    tile_of: tuple[tuple[int, int, int], ...]
    """The texture of each box on its faces across x, y and z."""

    def colours(self, origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the linear colours that rays from a place inside the room meet."""
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = (1.0 / directions).T.astype(np.float32)
            near, axis = np.full(len(directions), np.inf, np.float32), np.zeros(len(directions), int)
            box = np.zeros(len(directions), int)
            for number, (low, high) in enumerate(self.boxes):
                first, last = (low - origin)[:, None] * inverse, (high - origin)[:, None] * inverse
                enter, leave = np.minimum(first, last), np.maximum(first, last)
                if number == 0:
                    distance, side = leave.min(0), leave.argmin(0)
                    met = np.ones(len(directions), bool)
                else:
                    distance, side = enter.max(0), enter.argmax(0)
                    met = (distance < leave.min(0)) & (distance > 0)
                closer = met & (distance < near)
                near[closer], axis[closer], box[closer] = distance[closer], side[closer], number
        points = origin + near[:, None] * directions
        found = np.zeros((len(directions), 3), np.float32)
        tiles = np.array(self.tile_of)[box, axis]
        for across in range(3):
            for tile in range(len(self.tiles)):
                own = np.flatnonzero((axis == across) & (tiles == tile))
                if len(own):
                    flat = np.delete(points[own], across, 1)[:, :: 1 if across else -1] / MM_PER_TEXEL
                    found[own] = _wrapped(self.tiles[tile], flat + 131.0 * box[own, None])
        # Light falls from above and less into the corners at the floor.
        height = (points[:, 1] - self.boxes[0, 0, 1]) / np.ptp(self.boxes[0, :, 1])
        shade = (0.65 + 0.35 * height) * np.array([0.85, 1.0, 0.93])[axis]
        return found * shade[:, None]


def _wrapped(tile: Float[np.ndarray, "h w 3"], places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Return a repeated texture's colours at pixel positions; between pixels they are interpolated."""
    side = int(np.ceil(np.sqrt(len(places))))
    grid = np.zeros((side * side, 2), np.float32)
    grid[: len(places)] = np.mod(places, TILE)
    maps = grid.reshape(side, side, 2)
    padded = np.pad(tile, ((0, 1), (0, 1), (0, 0)), mode="wrap").astype(np.float32)
    seen = cv2.remap(padded, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen.reshape(-1, 3)[: len(places)]


def draw_room(rng: np.random.Generator) -> Room:
    """Return a furnished room around the sitter."""
    low = np.array([-CLEARANCE_MM - rng.uniform(0, 900), -rng.uniform(1150, 1600), -rng.uniform(700, 2600)])
    high = np.array([CLEARANCE_MM + rng.uniform(0, 900), rng.uniform(850, 1250), CLEARANCE_MM + rng.uniform(0, 900)])
    boxes = [np.stack([low, high])]
    for _ in range(7):
        size = rng.uniform([250, 300, 180], [1100, 1700, 480])
        wall = rng.integers(3)  # the back wall and both sides
        corner = np.array([rng.uniform(low[0], high[0] - size[0]), low[1], low[2]])
        if wall > 0:
            size = size[[2, 1, 0]]
            corner = np.array([low[0] if wall == 1 else high[0] - size[0], low[1], rng.uniform(low[2], high[2] - 1200)])
        if rng.random() < 0.35:  # a picture or a shelf on the wall
            corner[1] = rng.uniform(-400, 300)
            size = size * [1.0, 0.35, 1.0]
            size[0 if wall else 2] = 40.0
            corner[0 if wall else 2] = low[2] if wall == 0 else low[0] if wall == 1 else high[0] - 40.0
        boxes.append(np.stack([corner, corner + size]))
    tiles = np.stack([_plain(rng), _planks(rng), *(_objects(rng) for _ in range(4))])
    chosen = [(0, 1, 0 if rng.random() < 0.7 else 2)] + [
        tuple(int(tile) for tile in rng.integers(1, len(tiles), 3)) for _ in boxes[1:]
    ]  # fmt: skip
    return Room(np.stack(boxes), tiles, tuple(chosen))  # type: ignore[arg-type]


def _plain(rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """A painted wall: nearly even, with faint stains and grain."""
    base = rng.uniform(0.25, 0.75) * (1 + rng.normal(0, 0.08, 3))
    return np.clip(base * (1 + 0.05 * _noise(rng, 24) + 0.02 * _noise(rng, 2))[..., None], 0.02, 0.95)


def _planks(rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Wooden boards with grain."""
    base = rng.uniform(0.12, 0.4) * np.array([1.25, 0.95, 0.65])
    board = np.repeat(rng.normal(0, 0.15, TILE // 32), 32)[:, None]
    grain = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)), (0, 0), sigmaX=24, sigmaY=1.0) * 6
    gap = np.where(np.arange(TILE) % 32 < 1, 0.45, 1.0)[:, None]
    return np.clip(base * ((1 + board + 0.12 * grain) * gap)[..., None], 0.01, 0.95)


def _objects(rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Books, pictures and things: rectangles of many colours upon each other."""
    tile = np.ones((TILE, TILE, 3)) * rng.uniform(0.1, 0.6, 3)
    for _ in range(170):
        x, y = rng.integers(0, TILE, 2)
        w, h = rng.integers(6, 70, 2)
        colour = np.clip(rng.uniform(0.03, 0.7) * (1 + rng.normal(0, 0.4, 3)), 0.02, 0.95)
        tile[y : y + h, x : x + w] = colour
        tile[y : y + h, x : x + 1] *= 0.4
    return np.clip(tile * (1 + 0.06 * _noise(rng, 2))[..., None], 0.01, 0.95)


def _noise(rng: np.random.Generator, grain: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise of unit deviation whose spots have about `grain` pixels."""
    small = rng.normal(0, 1, (TILE // grain, TILE // grain))
    large = cv2.resize(small, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    return large / large.std()
