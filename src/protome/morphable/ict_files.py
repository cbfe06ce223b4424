"""The files of the ICT face model: ICT-FaceKit's own folder, or the packed `ict_facekit.npz`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.geometry.obj import ObjMesh
from protome.util.reading import read_arrays, reading

WHAT, ADVICE = "ICT's face model", "give the packed ict_facekit.npz, or ICT-FaceKit's whole FaceXModel folder"

_NEUTRAL = "generic_neutral_mesh"
ICT_HEAD = 11_248
"""ICT's vertices of the head's surface come first: face, then skull and neck; sockets, teeth and eyes follow."""


@dataclass(frozen=True)
class IctModel:
    """The ICT face model: mean, identity modes (one standard deviation each) and expressions; metres, own frame."""

    neutral: Float[np.ndarray, "t 3"]
    triangles: Int[np.ndarray, "g 3"]
    """Of the head's surface."""
    identity: Float[np.ndarray, "m t 3"]
    expression: Float[np.ndarray, "e t 3"]
    expression_names: tuple[str, ...]

    @staticmethod
    def load(folder: Path) -> IctModel:
        """Read the packed `ict_facekit.npz`, or ICT-FaceKit's own folder of OBJ files (`FaceXModel`).

        Raises:
            InputError: the folder holds neither, or files are missing.
        """
        with _read_ict(folder) as own:
            kept = own.polygons[(own.polygons[:, :3] < ICT_HEAD).all(1)]
            quads = kept[kept[:, 3] >= 0]
            return IctModel(
                own.neutral[:ICT_HEAD].astype(np.float64) / 100,
                np.concatenate([kept[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64),
                own.identity[:, :ICT_HEAD].astype(np.float64) / 100,
                own.expression[:, :ICT_HEAD].astype(np.float64) / 100,
                own.expression_names,
            )


@dataclass(frozen=True)
class IctMesh:
    """ICT's whole mesh with what lies behind the skin, as polygons with texture coordinates; metres, own frame."""

    neutral: Float[np.ndarray, "t 3"]
    polygons: Int[np.ndarray, "p 4"]
    """Triangles end with -1."""
    uv: Float[np.ndarray, "u 2"]
    """v up; each part of the head has a unit tile of its own along u."""
    uv_polygons: Int[np.ndarray, "p 4"]
    expression: Float[np.ndarray, "e t 3"]
    expression_names: tuple[str, ...]

    @staticmethod
    def load(folder: Path) -> IctMesh:
        """Read the packed `ict_facekit.npz`, or ICT-FaceKit's own folder of OBJ files (`FaceXModel`).

        Raises:
            InputError: the folder holds neither, or files are missing.
        """
        with _read_ict(folder) as own:
            if own.uv is None or own.uv_polygons is None or own.uv_polygons.shape != own.polygons.shape:
                raise ValueError("no texture coordinates")
            return IctMesh(
                own.neutral.astype(np.float64) / 100, own.polygons.astype(np.int64), own.uv.astype(np.float64),
                own.uv_polygons.astype(np.int64), own.expression.astype(np.float64) / 100, own.expression_names,
            )  # fmt: skip


@dataclass(frozen=True)
class _Files:
    """What the files hold, in centimetres."""

    neutral: np.ndarray
    polygons: np.ndarray
    uv: np.ndarray | None
    uv_polygons: np.ndarray | None
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]


@contextmanager
def _read_ict(folder: Path) -> Iterator[_Files]:
    """Read the packed file or the folder of OBJ files; what the block finds wrong with them is said of them."""
    packed = folder / "ict_facekit.npz"
    with reading(packed if packed.is_file() else folder, WHAT, ADVICE):
        own = _packed_ict(packed) if packed.is_file() else _upstream_ict(folder)
        shape = (*own.neutral.shape[:1], 3)
        moved = (len(own.expression_names), *shape)
        if own.neutral.shape != shape or own.identity.shape[1:] != shape or own.expression.shape != moved:
            raise ValueError("shapes that do not match")
        yield own


def _packed_ict(path: Path) -> _Files:
    data = read_arrays(path, WHAT, ADVICE)
    corners = data["faces"]
    return _Files(
        data["neutral"], corners[..., 0], data.get("uv"), corners[..., 1] if corners.shape[-1] > 1 else None,
        data["identity"], data["expression"], tuple(str(name) for name in data["expression_names"]),
    )  # fmt: skip


def _found(place: Path) -> bool:
    return _obj_path(place, _NEUTRAL) is not None


def _upstream_ict(folder: Path) -> _Files:
    found = next((place for place in (folder, folder / "FaceXModel") if _found(place)), None)
    if found is None:
        raise InputError(
            f"{folder} holds neither ict_facekit.npz nor generic_neutral_mesh.obj: give ICT-FaceKit's FaceXModel folder"
        )
    mesh = _read_obj(found, _NEUTRAL)
    neutral = mesh.vertices
    polygons, uv_polygons = (
        np.pad(own, ((0, 0), (0, 1)), constant_values=-1)[:, :4] for own in (mesh.polygons, mesh.uv_polygons)
    )
    stems = sorted({path.name.split(".")[0] for path in found.glob("*.obj*")} - {_NEUTRAL})
    people = [stem for stem in stems if stem.startswith("identity")]
    moves = [stem for stem in stems if not stem.startswith("identity")]
    if not people:
        raise InputError(f"{found} has no identity000.obj: give ICT-FaceKit's whole FaceXModel folder")
    delta = {stem: _read_obj(found, stem).vertices - neutral for stem in (*people, *moves)}
    empty = np.zeros((0, *neutral.shape))
    return _Files(
        neutral, polygons, mesh.uv, uv_polygons, np.stack([delta[stem] for stem in people]),
        np.stack([delta[stem] for stem in moves]) if moves else empty, tuple(moves),
    )  # fmt: skip


def _read_obj(folder: Path, stem: str) -> ObjMesh:
    return ObjMesh.load(_obj_path(folder, stem) or folder / f"{stem}.obj")


def _obj_path(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / f"{stem}.obj", folder / f"{stem}.obj.gz") if path.is_file()), None)
