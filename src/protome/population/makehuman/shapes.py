"""MakeHuman's morph targets as displacements of the VALID body: faces, heads, ears, age and sex."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from trimesh import Trimesh

from protome.errors import InputError
from protome.geometry.align import Surface
from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.population.makehuman.fit import MakeHumanFit
from protome.population.makehuman.mhclo import read_target
from protome.population.sources.valid import ValidHeads

FOLDERS = ("asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("backward", "forward"), ("in", "out"), ("concave", "convex"),
    ("compress", "uncompress"), ("l", "r"),
)  # fmt: skip
"""The words that end the names of two targets which are the ends of one axis."""
LEFT_OUT = (
    *("head-trans", "head-angle", "neck-trans", "neck-scale-vert", "measure-", "asymm-"),
    *("asym-eye-5", "asym-eye-6", "asym-eye-7", "asym-eye-8", "asym-ear-3", "asym-ear-4"),
)
"""Poses and measures rather than shapes, parts below the neck, and asymmetries much like others."""
RACES, SEXES = ("african", "asian", "caucasian"), ("female", "male")
FADE_M = (-0.175, -0.115)
"""Heights on the mean body between which all displacements fade in, from the foot of the neck up."""
HEAD_Y_M = -0.10
"""Above this height the mean body is head."""
FACING = 0.3
"""Least cosine between the normals of a body vertex and of its place on the base mesh."""
REACH_M = 0.006
GREATEST_M = 0.010
"""Targets that move a point further, made for giants and fairies, are scaled down to this."""
LEAST_M = 0.0022
"""Targets that move no point as far are left out."""


@dataclass(frozen=True)
class MakeHumanShapes:
    """Displacement fields on the VALID body; weights of about -1 to 1 give people, larger ones caricatures."""

    names: tuple[str, ...]
    modes: Float[np.ndarray, "m v 3"]
    """Metres, single precision; zero below the neck."""

    @staticmethod
    def load(targets: Path, fit: MakeHumanFit, valid: ValidHeads) -> MakeHumanShapes:
        """Carry the targets of a folder (`head`, `nose`, ..., `macrodetails`) over to the VALID body.

        Two targets that are opposite ends become one axis, half their difference; those of the left and the right side
        become one. The age, sex, weight and ethnicity axes lose what only moves or turns the head.

        Raises:
            InputError: the folder has no such targets, or one cannot be read.
        """
        files = {
            path.name.split(".")[0]: path for name in FOLDERS for path in sorted((targets / name).glob("*.target*"))
        }
        files = {name: path for name, path in files.items() if not name.startswith(LEFT_OUT)}
        if not files:
            raise InputError(f"{targets} holds no targets such as nose/*.target: give MakeHuman's folder of targets")
        count = len(fit.base.vertices)
        axes: dict[str, np.ndarray] = {}
        for name, path in files.items():
            axis, sign = _axis(name, files)
            axes[axis] = axes.get(axis, np.zeros((count, 3))) + sign * read_target(path, count)
        turn = (fit.similarity.scale * fit.similarity.rotation).numpy().T
        fields = {name: moves @ turn for name, moves in axes.items()}
        for name, moves in _macro_axes(targets / "macrodetails", count).items():
            fields[name] = _without_motion(moves @ turn, fit)
        modes = _Carrier.of(fit, valid).carry(np.stack(list(fields.values())))
        extent = np.linalg.norm(modes, axis=2).max(1)
        macro = np.array([name.startswith("macro-") for name in fields])
        modes *= np.where(macro, 1.0, np.minimum(1.0, GREATEST_M / np.maximum(extent, 1e-9)))[:, None, None]
        kept = np.flatnonzero(extent > LEAST_M)
        return MakeHumanShapes(tuple(np.array(list(fields))[kept].tolist()), modes[kept].astype(np.float32))


def _axis(name: str, files: dict[str, Path]) -> tuple[str, float]:
    """Return the axis that a target belongs to, and with what weight."""
    side = name[2:] if name[:2] in ("l-", "r-") else name
    stem, _, end = side.rpartition("-")
    for low, high in OPPOSITES:
        prefix = name[: len(name) - len(end)]
        if end in (low, high) and prefix + low in files and prefix + high in files:
            return f"{stem}-{high}", 0.5 if end == high else -0.5
    return side, 1.0


def _macro_axes(folder: Path, count: int) -> dict[str, Float[np.ndarray, "b 3"]]:
    """Return differences of MakeHuman's whole people; none where the folder is missing."""
    if not folder.is_dir():
        return {}

    def people(races: tuple[str, ...], sexes: tuple[str, ...], age: str) -> Float[np.ndarray, "b 3"]:
        faces = [read_target(_target(folder, f"{race}-{sex}-{age}"), count) for race, sex in product(races, sexes)]
        return np.mean(faces, 0) + np.mean([figure(sex, age) for sex in sexes], 0)

    def figure(sex: str, age: str, muscle: str = "average", weight: str = "average") -> Float[np.ndarray, "b 3"]:
        return read_target(_target(folder, f"universal-{sex}-{age}-{muscle}muscle-{weight}weight"), count)

    young = people(RACES, SEXES, "young")
    axes = {
        "macro-old": people(RACES, SEXES, "old") - young,
        "macro-child": people(RACES, SEXES, "child") - young,
        "macro-male": (people(RACES, ("male",), "young") - people(RACES, ("female",), "young")) / 2,
        "macro-weight": sum(figure(sex, "young", weight="max") - figure(sex, "young", weight="min") for sex in SEXES)
        / 4,
        "macro-muscle": sum(figure(sex, "young", "max") - figure(sex, "young", "min") for sex in SEXES) / 4,
    }
    return axes | {f"macro-{race}": people((race,), SEXES, "young") - young for race in RACES}


def _target(folder: Path, name: str) -> Path:
    plain = folder / f"{name}.target"
    return plain if plain.is_file() else folder / f"{name}.target.gz"


def _without_motion(moves: Float[np.ndarray, "b 3"], fit: MakeHumanFit) -> Float[np.ndarray, "b 3"]:
    """Return displacements less the small rigid motion that explains most of them on the head."""
    head = fit.fitted & (fit.vertices[:, 1] > HEAD_Y_M)
    middle = fit.vertices[head].mean(0)
    arms = fit.vertices - middle
    # A turn by r moves a point by r x arm, which is linear in r.
    turning = np.stack([np.cross(axis, arms) for axis in np.eye(3)], -1)
    design = np.concatenate([turning, np.broadcast_to(np.eye(3), turning.shape)], -1)
    motion = np.linalg.lstsq(design[head].reshape(-1, 6), moves[head].ravel(), rcond=None)[0]
    return moves - design @ motion


@dataclass(frozen=True)
class _Carrier:
    """Carries displacements of the base mesh's vertices over to those of the VALID body."""

    corners: Int[np.ndarray, "v 3"]
    shares: Float[np.ndarray, "v 3"]
    """Zero where a body vertex has no place on the base mesh."""
    smoothness: csr_matrix
    fade: Float[np.ndarray, "v"]
    weld: Int[np.ndarray, "v"]

    @staticmethod
    def of(fit: MakeHumanFit, valid: ValidHeads) -> _Carrier:
        mean, weld = valid.mean, valid.weld
        base_faces = fit.faces
        surface = Surface(Mesh(fit.vertices, base_faces))
        foot = surface.closest(mean)
        corners = base_faces[foot.faces]
        shares = np.clip(barycentric(fit.vertices[corners], foot.points), 0, 1)
        welded = weld[valid.faces]
        normals = np.array(Trimesh(mean, welded, process=False).vertex_normals)[weld]
        agrees = (surface.face_normals()[foot.faces] * normals).sum(1) > FACING
        shares *= (agrees & (foot.distances < REACH_M))[:, None]
        rise = np.clip((mean[:, 1] - FADE_M[0]) / (FADE_M[1] - FADE_M[0]), 0, 1)
        return _Carrier(corners, shares, laplacian(welded, len(mean)), rise**2 * (3 - 2 * rise), weld)

    def carry(self, fields: Float[np.ndarray, "m b 3"]) -> Float[np.ndarray, "m v 3"]:
        """Return fields on the body; mouth, nostrils and eye sockets, which have no counterpart, go along."""
        found = (self.shares.sum(1) > 0.5) & (self.weld == np.arange(len(self.weld)))
        known = np.stack([(moves[self.corners] * self.shares[..., None]).sum(1) for moves in fields], 1)
        flat = known.reshape(len(known), -1)
        smooth = smooth_extension(self.smoothness, 20.0 * found, flat, 1.0)[self.weld] * self.fade[:, None]
        return smooth.reshape(len(known), len(fields), 3).transpose(1, 0, 2)
