"""The VALID avatars that training heads are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8

from protome.errors import InputError
from protome.util.reading import read_arrays, reading

ADVICE = 'give the folder that "protome population busts" wrote'

EYE_CORNERS = ("right_eye", "left_eye", "right_eye_outer", "left_eye_outer")
HOLDOUT_VALID = ("White_M_2", "Black_F_1", "Hispanic_M_2", "Asian_M_3", "X_AIAN_F_1", "Hispanic_F_3")
"""VALID people that no prior is trained on: every other face is at least 1.2 mm away from each of them (mean over
the face after similarity alignment), so each is a whole group of its own among near-duplicates."""


@dataclass(frozen=True)
class Part:
    """A coloured piece of an avatar: its body, an eye, its hair."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """Texture coordinates, v up."""
    texture: UInt8[np.ndarray, "h w 3"]
    tint: Float[np.ndarray, "v 4"] | None = None
    """A colour over the texture (sRGB in [0, 1]) and its opacity, per vertex: beards, cropped hair."""
    template: Float[np.ndarray, "v 3"] | None = None
    """Where the same points lie on the common template, metres; nothing for hair, which has no counterpart."""


@dataclass(frozen=True)
class Avatar:
    """One VALID avatar cropped to a bust, head frame, metres."""

    name: str
    body: Part
    small: tuple[Part, ...]
    """Left eye, right eye, and the tear glands; they share the body's texture."""
    wig: Part | None
    bald: bool
    """Whether the body's own scalp is bare skin (under a wig, or without any hair)."""


def _part(geometry: trimesh.Trimesh) -> Part:
    texture = np.asarray(geometry.visual.material.baseColorTexture.convert("RGB"))
    return Part(
        np.array(geometry.vertices), np.array(geometry.faces), np.array(geometry.visual.uv, np.float64), texture
    )


@dataclass(frozen=True)
class ValidHeads:
    """The folder of VALID busts: one body topology for all of them."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("bodies.npz", "landmarks.json", "index.json"):
            if not (self.folder / name).is_file():
                raise InputError(f'{self.folder} has no {name}: give the folder that "protome population busts" wrote')

    @cached_property
    def _bodies(self) -> dict[str, np.ndarray]:
        path = self.folder / "bodies.npz"
        arrays = read_arrays(path, "the bodies of VALID's people", ADVICE)
        with reading(path, "the bodies of VALID's people", ADVICE):
            bodies, names = arrays["vertices_arms_down"], arrays["names"]
            count = bodies.shape[1]
            shapes = (
                bodies.shape == (len(names), count, 3), arrays["uv"].shape == (count, 2), names.ndim == 1,
                arrays["weld"].shape == (count,), arrays["faces"].shape[1:] == (3,), len(names) > 0,
            )  # fmt: skip
            indices = [arrays[key] for key in ("faces", "weld")]
            if not all(shapes) or not np.isfinite(bodies.astype(float)).all():
                raise ValueError("shapes that do not match")
            if any(index.min() < 0 or index.max() >= count for index in indices):
                raise ValueError("indices beyond the body")
        return arrays

    @cached_property
    def _hair(self) -> dict[str, dict[str, str]]:
        path = self.folder / "index.json"
        with reading(path, "the list of VALID's people", ADVICE):
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            hair = {
                row["file"].removesuffix(".glb"): {
                    "geometry": row["hair"]["geometry"], "style": row["hair"].get("style") or "plain"
                }
                for row in files
            }  # fmt: skip
            if not all(isinstance(words, str) for own in hair.values() for words in own.values()):
                raise ValueError("hair is not described in words")
            return hair

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names `<identity>_<outfit>` in the order of `bodies`."""
        return tuple(str(name).removesuffix(".glb") for name in self._bodies["names"])

    @property
    def training_names(self) -> tuple[str, ...]:
        """The names that are not held out."""
        return tuple(name for name in self.names if identity(name) not in HOLDOUT_VALID)

    @property
    def holdout_names(self) -> tuple[str, ...]:
        """The names that are held out."""
        return tuple(name for name in self.names if identity(name) in HOLDOUT_VALID)

    @cached_property
    def bodies(self) -> Float[np.ndarray, "heads v 3"]:
        """Body vertices with the arms down, metres."""
        return self._bodies["vertices_arms_down"].astype(np.float64)

    def body(self, name: str) -> Float[np.ndarray, "v 3"]:
        """Return one avatar's body vertices."""
        return self.bodies[self.names.index(name)]

    @cached_property
    def mean(self) -> Float[np.ndarray, "v 3"]:
        """The mean body of the training people."""
        return self.bodies[[self.names.index(name) for name in self.training_names]].mean(0)

    @property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Triangles of the body."""
        return self._bodies["faces"].astype(np.int64)

    @property
    def uv(self) -> Float[np.ndarray, "v 2"]:
        """Texture coordinates of the body, v down."""
        return self._bodies["uv"].astype(np.float64)

    @property
    def weld(self) -> Int[np.ndarray, "v"]:
        """For each vertex the representative of its position (seams merged)."""
        return self._bodies["weld"].astype(np.int64)

    @cached_property
    def landmarks(self) -> dict[str, int]:
        """Vertex index of each named landmark on the body."""
        path = self.folder / "landmarks.json"
        with reading(path, "landmarks of the body", ADVICE):
            found = json.loads(path.read_text(encoding="utf-8"))["landmarks"]
            count = self.bodies.shape[1]
            if not all(isinstance(vertex, int) and 0 <= vertex < count for vertex in found.values()):
                raise ValueError("no vertices of the body")
            return found

    def is_bald(self, name: str) -> bool:
        """Return whether the body's scalp is bare: bald people, and those whose hair is a wig."""
        return self._hair[name]["geometry"] in ("wig", "none")

    def wears_wig(self, name: str) -> bool:
        """Return whether the avatar's hair is a mesh of its own."""
        return self._hair[name]["geometry"] == "wig"

    def hair_style(self, name: str) -> str:
        """Return what the avatar's hair is called; "plain" where the list does not say."""
        return self._hair[name]["style"]

    def avatar(self, name: str) -> Avatar:
        """Read one avatar; its body takes the arms-down shape."""
        path = self.folder / f"{name}.glb"
        with reading(path, "an avatar", ADVICE):
            scene = trimesh.load(path, process=False)
            parts = {key: _part(geometry) for key, geometry in scene.geometry.items()}
            body = Part(self.body(name), parts["body"].faces, parts["body"].uv, parts["body"].texture)
        small = tuple(parts[key] for key in ("eye_left", "eye_right", "gland_left", "gland_right") if key in parts)
        return Avatar(name, body, small, parts.get("wig"), self.is_bald(name))


def identity(name: str) -> str:
    """Return whose avatar `<identity>_<outfit>` is."""
    return name.rsplit("_", 1)[0]
