"""Training heads composed from the sources: blended shape, hair, skin, light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from protome.population.sources import EYE_CORNERS, LANDMARK_NAMES, Avatar, IctModes, Part, ValidHeads


@dataclass(frozen=True)
class Light:
    """Ambient light and a few distant lamps; no shadows."""

    ambient: Float[np.ndarray, "3"]
    directions: Float[np.ndarray, "k 3"]
    """Unit vectors towards the lamps."""
    colours: Float[np.ndarray, "k 3"]

    def shade(self, albedo: UInt8[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
        """Return sRGB colours of a matt surface; the lamps are soft, so their cosine reaches past the horizon."""
        cosine = np.clip(0.75 * (normals @ self.directions.T) + 0.25, 0, None)
        energy = self.ambient + cosine @ self.colours
        linear = (albedo / 255.0) ** 2.2 * energy
        return np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)


@dataclass(frozen=True)
class ComposedHead:
    """A head ready to be sampled: textured parts, landmarks and its light; head frame, metres."""

    name: str
    parts: tuple[Part, ...]
    """The body first."""
    landmarks: Float[np.ndarray, "6 3"]
    light: Light


def _carried(points: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Move points as the nearest body vertices moved."""
    distance, index = cKDTree(before).query(points, k=12)
    weight = 1.0 / (distance + 0.004) ** 2
    weight /= weight.sum(1, keepdims=True)
    return points + (weight[..., None] * (after - before)[index]).sum(1)


def _toned(texture: UInt8[np.ndarray, "h w 3"], gain: np.ndarray, exponent: float) -> UInt8[np.ndarray, "h w 3"]:
    """Change a texture's colour and brightness."""
    table = 255 * np.clip((np.arange(256) / 255.0) ** exponent, 0, 1)
    return np.clip(np.rint(table[texture] * gain), 0, 255).astype(np.uint8)


def _hair_coloured(texture: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Give a wig one of the natural hair colours, keeping its strands."""
    natural = np.array([[38, 30, 28], [70, 48, 36], [110, 74, 48], [166, 124, 78], [205, 170, 120], [150, 72, 38],
                        [170, 168, 165]])  # fmt: skip
    target = natural[rng.choice(len(natural), p=[0.3, 0.22, 0.16, 0.1, 0.08, 0.06, 0.08])] * rng.uniform(0.8, 1.2)
    luminance = texture.astype(np.float64).mean(2, keepdims=True)
    relative = np.clip(luminance / max(luminance.mean(), 1.0), 0, 2.5) ** 0.7
    return np.clip(np.rint(relative * target), 0, 255).astype(np.uint8)


def draw_light(rng: np.random.Generator) -> Light:
    """Return one to three soft lamps of nearly white colour, as in portraits."""
    count = int(rng.integers(1, 4))
    azimuth = rng.uniform(-1.9, 1.9, count)
    elevation = rng.uniform(-0.2, 1.3, count)
    directions = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], 1
    )
    power = rng.dirichlet(np.ones(count)) * rng.uniform(0.4, 1.1)
    tint = 1 + rng.normal(0, 0.06, (count, 3))
    ambient = rng.uniform(0.25, 0.7) * (1 + rng.normal(0, 0.04, 3))
    return Light(ambient, directions, power[:, None] * tint)


class Composer:
    """Draws heads: VALID avatars as they are, then blends of them warped by ICT identities."""

    def __init__(self, valid: ValidHeads, ict: IctModes | None) -> None:
        self.valid = valid
        self.ict = ict
        self.bodies = valid.bodies
        self._avatars: dict[str, Avatar] = {}
        self._bald = [name for name in valid.names if self.avatar(name).wig is None]
        self._wigged = [name for name in valid.names if self.avatar(name).wig is not None]

    def avatar(self, name: str) -> Avatar:
        """Read an avatar once."""
        if name not in self._avatars:
            self._avatars[name] = self.valid.avatar(name)
        return self._avatars[name]

    def original(self, index: int, rng: np.random.Generator) -> ComposedHead:
        """Return avatar number `index` unchanged, in a random light."""
        avatar = self.avatar(self.valid.names[index])
        wig = () if avatar.wig is None else (avatar.wig,)
        return self._finished(avatar.name, (avatar.body, *avatar.small, *wig), avatar.body.vertices, rng)

    def blend(self, rng: np.random.Generator) -> ComposedHead:
        """Return a new person: a donor's clothes and skin, several people's shapes, an ICT identity, maybe a wig."""
        names = self.valid.names
        donor = self.avatar(names[rng.integers(len(names))])
        partners = rng.integers(0, len(names), 2)
        shares = rng.dirichlet([2.0, 1.0, 1.0])
        shape = shares[0] * donor.body.vertices + shares[1] * self.bodies[partners[0]]
        shape += shares[2] * self.bodies[partners[1]]

        gain, exponent = 1 + rng.normal(0, 0.05, 3), float(np.exp(rng.normal(0, 0.15)))
        texture = _toned(donor.body.texture, gain, exponent)
        body = replace(donor.body, vertices=shape, texture=texture)
        small = [
            replace(part, vertices=_carried(part.vertices, donor.body.vertices, shape), texture=texture)
            for part in donor.small
        ]
        wearer = donor
        if donor.wig is None and rng.random() < 0.2:
            wearer = self.avatar(self._wigged[rng.integers(len(self._wigged))])
        wigs = []
        if wearer.wig is not None:
            vertices = _carried(wearer.wig.vertices, wearer.body.vertices, shape)
            wigs = [replace(wearer.wig, vertices=vertices, texture=_hair_coloured(wearer.wig.texture, rng))]
        parts = [body, *small, *wigs]
        if self.ict is not None:
            weights = 0.9 * rng.normal(size=len(self.ict.modes))
            moves = rng.uniform(0, 1.2) * self.ict.towards_mean + np.tensordot(weights, self.ict.modes, 1)
            warp = RBFInterpolator(self.ict.controls, moves, kernel="linear", smoothing=1e-4)
            parts = [replace(part, vertices=part.vertices + warp(part.vertices)) for part in parts]
        name = f"{donor.name}+{names[partners[0]]}+{names[partners[1]]}"
        return self._finished(name, tuple(parts), parts[0].vertices, rng)

    def _finished(self, name: str, parts: tuple[Part, ...], body: np.ndarray, rng: np.random.Generator) -> ComposedHead:
        origin = body[[self.valid.landmarks[key] for key in EYE_CORNERS]].mean(0)
        landmarks = body[[self.valid.landmarks[key] for key in LANDMARK_NAMES]] - origin
        moved = tuple(replace(part, vertices=part.vertices - origin) for part in parts)
        return ComposedHead(name, moved, landmarks, draw_light(rng))
