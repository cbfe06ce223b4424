"""The files of the ICT face model: ICT-FaceKit's own folder, or the packed `ict_facekit.npz`."""

from __future__ import annotations

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
        packed = folder / "ict_facekit.npz"
        with reading(packed if packed.is_file() else folder, WHAT, ADVICE):
            if packed.is_file():
                data = read_arrays(packed, WHAT, ADVICE)
                polygons, names = data["faces"][..., 0], tuple(str(name) for name in data["expression_names"])
                neutral, modes, moves = (data[key] for key in ("neutral", "identity", "expression"))
            else:
                neutral, polygons, modes, moves, names = _upstream_ict(folder)
            shape = (*neutral.shape[:1], 3)
            if neutral.shape != shape or modes.shape[1:] != shape or moves.shape != (len(names), *shape):
                raise ValueError("shapes that do not match")
            kept = polygons[(polygons[:, :3] < ICT_HEAD).all(1)]
            quads = kept[kept[:, 3] >= 0]
            return IctModel(
                neutral[:ICT_HEAD].astype(np.float64) / 100,
                np.concatenate([kept[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64),
                modes[:, :ICT_HEAD].astype(np.float64) / 100,
                moves[:, :ICT_HEAD].astype(np.float64) / 100,
                names,
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
        packed = folder / "ict_facekit.npz"
        with reading(packed if packed.is_file() else folder, WHAT, ADVICE):
            if packed.is_file():
                data = read_arrays(packed, WHAT, ADVICE)
                corners, names = data["faces"].astype(np.int64), tuple(str(name) for name in data["expression_names"])
                neutral, uv, moves = data["neutral"], data["uv"], data["expression"]
                polygons, uv_polygons = corners[..., 0], corners[..., 1]
            else:
                neutral, polygons, _, moves, names = _upstream_ict(folder)
                mesh = _read_obj(next(place for place in (folder, folder / "FaceXModel") if _found(place)), _NEUTRAL)
                uv, uv_polygons = mesh.uv, np.pad(mesh.uv_polygons, ((0, 0), (0, 1)), constant_values=-1)[:, :4]
            if polygons.shape != uv_polygons.shape or moves.shape != (len(names), *neutral.shape):
                raise ValueError("shapes that do not match")
            return IctMesh(
                neutral.astype(np.float64) / 100, polygons.astype(np.int64), uv.astype(np.float64),
                uv_polygons.astype(np.int64), moves.astype(np.float64) / 100, names,
            )  # fmt: skip


def _found(place: Path) -> bool:
    return _obj_path(place, _NEUTRAL) is not None


def _upstream_ict(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    found = next((place for place in (folder, folder / "FaceXModel") if _found(place)), None)
    if found is None:
        raise InputError(
            f"{folder} holds neither ict_facekit.npz nor generic_neutral_mesh.obj: give ICT-FaceKit's FaceXModel folder"
        )
    mesh = _read_obj(found, _NEUTRAL)
    neutral = mesh.vertices
    polygons = np.pad(mesh.polygons, ((0, 0), (0, 1)), constant_values=-1)[:, :4]
    stems = sorted({path.name.split(".")[0] for path in found.glob("*.obj*")} - {_NEUTRAL})
    people = [stem for stem in stems if stem.startswith("identity")]
    moves = [stem for stem in stems if not stem.startswith("identity")]
    if not people:
        raise InputError(f"{found} has no identity000.obj: give ICT-FaceKit's whole FaceXModel folder")
    delta = {stem: _read_obj(found, stem).vertices - neutral for stem in (*people, *moves)}
    empty = np.zeros((0, *neutral.shape))
    return (
        neutral, polygons, np.stack([delta[stem] for stem in people]),
        np.stack([delta[stem] for stem in moves]) if moves else empty, tuple(moves),
    )  # fmt: skip


def _read_obj(folder: Path, stem: str) -> ObjMesh:
    return ObjMesh.load(_obj_path(folder, stem) or folder / f"{stem}.obj")


def _obj_path(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / f"{stem}.obj", folder / f"{stem}.obj.gz") if path.is_file()), None)
