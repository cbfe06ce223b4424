"""MakeHuman's files: where they lie, `.mhclo` bindings to the base mesh, `.target` morphs, pictures."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from protome.errors import InputError
from protome.util.bit_depth import eight_bits

BODY_GROUP = "body"
"""The group of the base mesh that is skin; the other groups carry hair and clothes or mark joints."""
LARGEST_PICTURE = 1024
"""Pictures are read at this many pixels a side at most."""


@dataclass(frozen=True)
class Worn:
    """The files of something that is bound to the base mesh: a hair style, a pair of brows, an outfit."""

    name: str
    mesh: Path
    binding: Path
    texture: Path


@dataclass(frozen=True)
class AssetFiles:
    """Which assets a folder holds."""

    hair: tuple[Worn, ...]
    brows: tuple[Worn, ...]
    clothes: tuple[Worn, ...]
    skins: tuple[tuple[str, Path], ...]
    """Names and pictures."""

    @staticmethod
    def find(folder: Path) -> AssetFiles:
        """Find the assets in MakeHuman's own folders: `hair`, `eyebrows`, `clothes`, `skins`, or these below `base`
        (the repository `makehuman-assets`) or `data` (the program). Things without a picture are passed over.

        Raises:
            InputError: the folder holds no hair.
        """
        places = (folder, folder / "base", folder / "data", folder / "makehuman" / "data")
        root = next((place for place in places if any(place.glob("hair/*/*.mhclo"))), None)
        if root is None:
            raise InputError(f"{folder} holds no hair such as hair/*/*.mhclo: give the folder of MakeHuman's assets")
        hair, brows, clothes = (_worn(root / kind) for kind in ("hair", "eyebrows", "clothes"))
        pictures = {_entry(path, "diffuseTexture") for path in sorted((root / "skins").rglob("*.mhmat"))}
        # Without materials every picture is a skin.
        skins = sorted(path for path in pictures if path is not None) or _pictures(root / "skins")
        return AssetFiles(hair, brows, clothes, tuple((path.stem, path) for path in skins))

    def paths(self) -> list[Path]:
        """Return all files in a fixed order."""
        worn = [path for kind in (self.hair, self.brows, self.clothes) for thing in kind
                for path in (thing.mesh, thing.binding, thing.texture)]  # fmt: skip
        return worn + [path for _, path in self.skins]


def find_base_mesh(*folders: Path) -> Path:
    """Return the first `base.obj` in folders: in themselves, or where MakeHuman keeps it below them.

    Raises:
        InputError: there is none.
    """
    below = ("base.obj", "3dobjs/base.obj", "data/3dobjs/base.obj", "makehuman/data/3dobjs/base.obj")
    found = [folder / name for folder in folders for name in below if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folders[0]} has no base.obj: put MakeHuman's base mesh (data/3dobjs/base.obj) there")
    return found[0]


@dataclass(frozen=True)
class Binding:
    """How the vertices of a hair style or an outfit follow the vertices of the base mesh."""

    corners: Int[np.ndarray, "n 3"]
    """Three base vertices for each bound vertex."""
    weights: Float[np.ndarray, "n 3"]
    """They add up to one; some may be negative."""
    offsets: Float[np.ndarray, "n 3"]
    """Added on each axis, times that axis's scale."""
    scale_pairs: Int[np.ndarray, "3 2"]
    """Two base vertices whose distance along each axis measures the scale."""
    scale_lengths: Float[np.ndarray, "3"]
    """That distance at scale one."""

    @staticmethod
    def load(path: Path) -> Binding:
        """Read a `.mhclo` file.

        Raises:
            InputError: no such file, or it binds no vertices.
        """
        pairs, lengths = np.zeros((3, 2), np.int64), np.ones(3)
        rows: list[list[float]] = []
        section = ""
        for line in _lines(path):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            key = words[0]
            if key in ("verts", "delete_verts"):
                section = key
            elif key in ("x_scale", "y_scale", "z_scale") and len(words) == 4:
                axis = "xyz".index(key[0])
                pairs[axis], lengths[axis] = [int(word) for word in words[1:3]], float(words[3])
            elif section == "verts" and _numeric(words):
                rows.append([float(word) for word in words])
        # A single number stands for the vertex itself.
        full = [row if len(row) == 9 else [row[0]] * 3 + [1.0, 0, 0, 0, 0, 0] for row in rows if len(row) in (1, 9)]
        if not full or len(full) != len(rows):
            raise InputError(f"{path} binds no vertices to the base mesh: give a .mhclo file as MakeHuman ships it")
        table = np.array(full)
        return Binding(table[:, :3].astype(np.int64), table[:, 3:6], table[:, 6:], pairs, lengths)

    def apply(self, base: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, "n 3"]:
        """Return where the bound vertices lie on a base mesh (all its vertices, helpers included), in its unit.

        Raises:
            InputError: the binding names vertices that the base mesh does not have.
        """
        if max(self.corners.max(), self.scale_pairs.max()) >= len(base):
            raise InputError("the binding names vertices that the base mesh lacks: give MakeHuman's base.obj (hm08)")
        ends = base[self.scale_pairs]
        extent = np.abs(ends[:, 0] - ends[:, 1])[np.arange(3), np.arange(3)]
        # Files without scale lines keep their offsets as they are.
        scale = np.where(self.scale_pairs[:, 0] == self.scale_pairs[:, 1], 1.0, extent / self.scale_lengths)
        return (base[self.corners] * self.weights[..., None]).sum(1) + self.offsets * scale


def read_target(path: Path, count: int) -> Float[np.ndarray, "count 3"]:
    """Return the displacements of all `count` base vertices that a `.target` or `.target.gz` file holds.

    Raises:
        InputError: no such file, or lines other than `index dx dy dz` with an index below `count`.
    """
    moves = np.zeros((count, 3))
    try:
        rows = [line.split() for line in _lines(path) if line.strip() and not line.startswith("#")]
        table = np.array(rows, np.float64).reshape(-1, 4)
        moves[table[:, 0].astype(int)] = table[:, 1:]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is no morph target of the base mesh: give a file as MakeHuman ships it") from error
    return moves


def read_image(path: Path, mode: Literal["RGB", "RGBA"]) -> UInt8[np.ndarray, "h w c"]:
    """Return a picture's pixels, with or without its transparency.

    Raises:
        InputError: no such file, or no picture.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give MakeHuman's assets with all their files")
    try:
        with Image.open(path) as picture:
            converted = eight_bits(picture).convert(mode)
    except OSError as error:
        raise InputError(f"{path} is no picture ({error}): fetch MakeHuman's assets with `git lfs pull`") from error
    converted.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    return np.array(converted)


def _worn(folder: Path) -> tuple[Worn, ...]:
    """Return what the `.mhclo` files of a folder's folders name."""
    found = []
    for binding in sorted(folder.glob("*/*.mhclo")):
        mesh = _entry(binding, "obj_file") or binding.with_suffix(".obj")
        material = _entry(binding, "material")
        texture = _entry(material, "diffuseTexture") if material is not None and material.is_file() else None
        beside = [texture] if texture is not None else _pictures(binding.parent)
        if beside:
            found.append(Worn(binding.stem, mesh, binding, beside[0]))
    return tuple(found)


def _pictures(folder: Path) -> list[Path]:
    """Return a folder's pictures, those of plain colours first."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return sorted(found, key=lambda path: "diffuse" not in path.stem)


def _entry(path: Path, key: str) -> Path | None:
    """Return the file that a line such as `material bob01.mhmat` names, relative to its own file."""
    named = [line.split(maxsplit=1)[1] for line in _lines(path) if line.split()[:1] == [key] and len(line.split()) > 1]
    return Path(os.path.normpath(path.parent / named[0].strip())) if named else None


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path} does not exist: give MakeHuman's assets with all their files")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): copy MakeHuman's assets again") from error
    return content.decode("utf-8", errors="replace").splitlines()


def _numeric(words: list[str]) -> bool:
    try:
        [float(word) for word in words]
    except ValueError:
        return False
    return True
