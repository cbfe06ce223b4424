"""The template: one mesh of quads that every head can be given, and how each named expression moves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from protome.errors import InputError
from protome.util.files import write_arrays
from protome.util.reading import read_arrays, reading

WHAT, ADVICE = "the template of heads", 'give a file that "protome population template" wrote'
MOST_VERTICES = 20_000
NONE = 65_535
"""Stands for the missing fourth corner of a triangle in the file."""
HAIR_CENTRE_MM = (0.0, 0.0, -85.0)
"""Head frame; from here every vertex of the shell of the hair is seen in the same direction on every head."""
GRAIN_MM = 2.0**-6
"""Expressions are stored in whole multiples of this length."""


class Part(IntEnum):
    """The groups of the template's polygons."""

    SKIN = 0
    LINING = 1
    """Inside of the mouth, and the inner edges of the lids."""
    UPPER_TEETH = 2
    LOWER_TEETH = 3
    TONGUE = 4
    LEFT_EYE = 5
    RIGHT_EYE = 6
    HAIR = 7
    """A shell around the skull that follows the outer surface where hair stands off the skin."""


TEETH = (Part.UPPER_TEETH, Part.LOWER_TEETH)
EYES = (Part.LEFT_EYE, Part.RIGHT_EYE)
"""In the order of `Template.pivots`."""


@dataclass(frozen=True)
class Template:
    """The template in the coordinates of the prior's reference head, millimetres."""

    vertices: Float[np.ndarray, "v 3"]
    polygons: Int[np.ndarray, "p 4"]
    """Quads; the fourth corner of a triangle is -1."""
    uv: Float[np.ndarray, "t 2"]
    """In [0, 1], from the image's upper left corner to the right and downwards."""
    uv_polygons: Int[np.ndarray, "p 4"]
    part: Int[np.ndarray, "p"]
    """`Part` of each polygon."""
    trust: Float[np.ndarray, "v"]
    """1 on skin that lies open, falling to 0 in folds and inside, which no outer surface shows."""
    scalp: Float[np.ndarray, "v"]
    """1 on skin where hair grows, falling to 0 at the hairline."""
    ibug68: Int[np.ndarray, "68"]
    """Vertices at the iBUG-68 landmarks."""
    lids: Int[np.ndarray, "2 _ 2"]
    """Vertices of the margins of upper and lower lid that meet when an eye closes, left eye first; padded with -1."""
    pivots: Float[np.ndarray, "2 3"]
    """Centres of the left and the right eyeball."""
    radii: Float[np.ndarray, "2"]
    names: tuple[str, ...]
    """ARKit's names of the expressions."""
    moves: Float[np.ndarray, "e v 3"]
    """How each moves the template at full strength, single precision."""

    @cached_property
    def triangles(self) -> Int[np.ndarray, "f 3"]:
        """All polygons cut into triangles: first those of the first three corners, then the rest of the quads."""
        return _fans(self.polygons)

    @cached_property
    def uv_triangles(self) -> Int[np.ndarray, "f 3"]:
        """Rows of `uv` at the corners of `triangles`."""
        return _fans(self.uv_polygons)

    @cached_property
    def triangle_part(self) -> Int[np.ndarray, "f"]:
        """`Part` of each of `triangles`."""
        return np.concatenate([self.part, self.part[self.polygons[:, 3] >= 0]])

    def has(self, *parts: Part) -> Bool[np.ndarray, "v"]:
        """Return which vertices belong to polygons of some parts."""
        marked = np.zeros(len(self.vertices), bool)
        marked[self.triangles[np.isin(self.triangle_part, parts)]] = True
        return marked

    def save(self, path: Path) -> None:
        """Write the template; expressions are rounded to `GRAIN_MM` and stored only where they move something."""
        whole = np.rint(self.moves / GRAIN_MM).astype(np.int16)
        moved = whole.any(2)
        write_arrays(
            path,
            {
                "vertices": self.vertices.astype(np.float32),
                "polygons": np.where(self.polygons < 0, NONE, self.polygons).astype(np.uint16),
                "uv": self.uv.astype(np.float32),
                "uv_polygons": np.where(self.uv_polygons < 0, NONE, self.uv_polygons).astype(np.uint16),
                "part": self.part.astype(np.uint8), "trust": np.rint(255 * self.trust).astype(np.uint8),
                "scalp": np.rint(255 * self.scalp).astype(np.uint8),
                "ibug68": self.ibug68.astype(np.uint16), "lids": self.lids.astype(np.int32),
                "pivots": self.pivots.astype(np.float32), "radii": self.radii.astype(np.float32),
                "names": np.array(self.names), "moved": np.packbits(moved), "moves": whole[moved],
            },
        )  # fmt: skip

    @staticmethod
    def load(path: Path | None = None) -> Template:
        """Read a template; without a path, the one that ships with the package.

        Raises:
            InputError: the file is missing or holds no template.
        """
        if path is None:
            return _packaged()
        stored = read_arrays(path, WHAT, ADVICE)
        with reading(path, WHAT, ADVICE):
            names, count = tuple(str(name) for name in stored["names"]), len(stored["vertices"])
            moved = np.unpackbits(stored["moved"], count=len(names) * count).astype(bool).reshape(len(names), count)
            moves = np.zeros((len(names), count, 3), np.float32)
            moves[moved] = GRAIN_MM * stored["moves"]
            polygons, uv_polygons = (_signed(stored[key]) for key in ("polygons", "uv_polygons"))
            if polygons.max() >= count or uv_polygons.max() >= len(stored["uv"]) or count > MOST_VERTICES:
                raise ValueError("polygons of vertices that it does not hold")
            return Template(
                stored["vertices"].astype(np.float64), polygons, stored["uv"].astype(np.float64), uv_polygons,
                stored["part"].astype(np.int64), stored["trust"] / 255.0, stored["scalp"] / 255.0,
                stored["ibug68"].astype(np.int64), stored["lids"].astype(np.int64),
                stored["pivots"].astype(np.float64), stored["radii"].astype(np.float64), names, moves,
            )  # fmt: skip


@lru_cache(maxsize=1)
def _packaged() -> Template:
    path = Path(str(resources.files("protome") / "assets" / "topology.npz"))
    if not path.is_file():
        raise InputError(f"{path} does not exist: install the package again")
    return Template.load(path)


def _signed(stored: np.ndarray) -> Int[np.ndarray, "p 4"]:
    whole = stored.astype(np.int64)
    return np.where(whole == NONE, -1, whole)


def _fans(polygons: Int[np.ndarray, "p 4"]) -> Int[np.ndarray, "f 3"]:
    quads = polygons[polygons[:, 3] >= 0]
    return np.concatenate([polygons[:, :3], quads[:, [0, 2, 3]]])
