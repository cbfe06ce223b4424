"""Training heads composed from the sources: shape, hair, skin, cloth and light of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from protome.face import LANDMARK_NAMES
from protome.geometry.neighbours import tree_of
from protome.population.faces import FaceModes
from protome.population.hair import HairMasks, draw_hair_colour, recoloured
from protome.population.light import Light, draw_light
from protome.population.makehuman.makehuman import MakeHuman
from protome.population.makehuman.shells import HairShell
from protome.population.people import draw_expression, draw_identity, draw_turn, region_masks, turned
from protome.population.sources.valid import EYE_CORNERS, Avatar, Part, ValidHeads

CENTRE_M = np.array([0.0, 0.0, -0.08])
"""The middle of a head, head frame."""


@dataclass(frozen=True)
class ComposedHead:
    """A head ready to be sampled: coloured parts, landmarks and its light; head frame, metres."""

    name: str
    parts: tuple[Part, ...]
    """The body first, then eyes and glands, then hair and cloth, then teeth."""
    solid: tuple[bool, ...]
    """Which parts are closed skin and not sheets of hair or cloth."""
    landmarks: Float[np.ndarray, "6 3"]
    light: Light


def carried(
    points: Float[np.ndarray, "n 3"], before: Float[np.ndarray, "v 3"], after: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, "n 3"]:
    """Move points as the nearest body vertices moved."""
    distance, index = tree_of(before).query(points, k=12)
    weight = 1.0 / (distance + 0.004) ** 2
    weight /= weight.sum(1, keepdims=True)
    return points + (weight[..., None] * (after - before)[index]).sum(1)


def draw_sliders(names: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, "m"]:
    """Return the weights of MakeHuman's sliders: a handful of details, and for some people age and sex."""
    details = np.array([not name.startswith("macro-") for name in names])
    weights = rng.normal(0, 0.35, len(names)) * (rng.random(len(names)) < 0.08) * details
    if "macro-old" in names and rng.random() < 0.25:
        weights[names.index("macro-old")] = rng.uniform(0.1, 0.9)
    if "macro-male" in names and rng.random() < 0.4:
        weights[names.index("macro-male")] = rng.normal(0, 0.3)
    return weights


def ruffled(points: Float[np.ndarray, "n 3"], rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Make a head of hair fuller or flatter, differently in different places, by some per cent of its reach."""
    outwards = points - CENTRE_M
    waves = rng.normal(0, 18.0, (4, 3)) @ points.T + rng.uniform(0, 2 * np.pi, (4, 1))
    stretch = rng.normal(0, 0.03) + 0.02 * np.sin(waves).mean(0)
    return CENTRE_M + outwards * (1 + np.clip(stretch, -0.05, 0.08))[:, None]


def toned(texture: UInt8[np.ndarray, "h w 3"], gain: np.ndarray, exponent: float) -> UInt8[np.ndarray, "h w 3"]:
    """Change a texture's colour and brightness."""
    table = np.clip((np.arange(256) / 255.0) ** exponent, 0, 1)
    tables = np.clip(np.rint(255 * table[:, None] * gain), 0, 255).astype(np.uint8)
    return np.stack([tables[texture[..., channel], channel] for channel in range(3)], -1)


def draw_shell(shells: Sequence[HairShell], rng: np.random.Generator) -> HairShell:
    """Draw one of the volumes of hair.

    Few people's hair hangs over an eye as some styles do, which therefore come with their fringe cut, too.
    """
    names = {shell.name for shell in shells}
    shares = np.array([0.2 if f"{shell.name}-cut" in names else 1.0 for shell in shells])
    return shells[int(rng.choice(len(shells), p=shares / shares.sum()))]


class Composer:
    """Draws heads: VALID avatars as they are, and new people who wear their skin, cloth and hair."""

    def __init__(self, valid: ValidHeads, faces: FaceModes | None, makehuman: MakeHuman | None = None) -> None:
        self.valid = valid
        self.faces = faces
        self.makehuman = makehuman
        self.avatars: dict[str, Avatar] = {name: valid.avatar(name) for name in valid.names}
        self.masks = HairMasks.of(valid, {name: self.avatars[name] for name in valid.training_names})
        self.template = valid.mean if faces is None else valid.mean + faces.face[:, None] * faces.towards_mean
        self.template = self.template - self.template[[valid.landmarks[key] for key in EYE_CORNERS]].mean(0)
        self.regions = region_masks(self.template)
        eyes = self.avatars[valid.training_names[0]]
        self._small = [carried(part.vertices, eyes.body.vertices, self.template) for part in eyes.small]
        self.bald = [name for name in valid.training_names if valid.is_bald(name)]
        self.haired = [name for name in valid.training_names if not valid.is_bald(name)]
        self.wigs = [name for name in valid.training_names if valid.wears_wig(name)]

    def original(self, name: str, rng: np.random.Generator) -> ComposedHead:
        """Return an avatar unchanged, in a random light."""
        avatar = self.avatars[name]
        parts = [self.registered(avatar.body), *self.registered_small(avatar)]
        return self._finished(name, parts, [] if avatar.wig is None else [avatar.wig], rng)

    def person(self, rng: np.random.Generator, pure: bool = False) -> ComposedHead:
        """Return a new person; with `pure`, one with the face model's own face and nothing of an avatar's in it."""
        masks = self.masks
        has_own_hair = rng.random() < 0.4
        names = self.haired if has_own_hair else self.bald
        name = names[rng.integers(len(names))]
        donor = self.avatars[name]
        before = donor.body.vertices
        shape = before + self._features(before, rng, pure)

        hair_colour = draw_hair_colour(rng)
        gain = np.clip(1 + rng.normal(0, 0.025, 3), 0.92, 1.08)
        texture, cloth = self.skin(donor, shape, rng)
        texture = toned(texture, gain, float(np.exp(np.clip(rng.normal(0, 0.22), -0.4, 0.5))))
        body = self.registered(replace(donor.body, vertices=shape, texture=texture))
        small = self.carried_small(donor, shape, texture)
        if not pure and "_M_" in name and rng.random() < 0.35:
            length = float(rng.choice([0.0006, 0.004, 0.012], p=[0.4, 0.4, 0.2]) * rng.uniform(0.6, 1.5))
            body = masks.bearded(body, length, 0.85 * hair_colour, rng)
        hair: list[Part] = []
        if not has_own_hair:
            body, hair = self._hair(donor, body, before, shape, hair_colour, rng)
        turn = draw_turn(rng)
        parts = [replace(part, vertices=turned(part.vertices, turn)) for part in (body, *small)]
        over = [replace(part, vertices=turned(part.vertices, turn)) for part in (*hair, *cloth)]
        return self._finished(f"new {name}", parts, over, rng)

    def _features(self, before: np.ndarray, rng: np.random.Generator, pure: bool) -> Float[np.ndarray, "v 3"]:
        """Return how a new person's body departs from the avatar's."""
        valid = self.valid
        names = valid.training_names
        partners = [valid.body(names[k]) for k in rng.integers(0, len(names), 2)]
        shares = rng.dirichlet([2.0, 1.0, 1.0])
        own = shares[0] * before + shares[1] * partners[0] + shares[2] * partners[1]
        if self.faces is None:
            return own - before
        faces = self.faces
        # Almost half of the faces are the face model's, a quarter the avatars' own with smaller moves upon them.
        kept = 0.0 if pure or rng.random() < 0.45 else float(rng.choice([rng.uniform(0, 0.6), 1.0], p=[0.55, 0.45]))
        if pure:
            moves = np.tensordot(rng.normal(size=len(faces.identity)), faces.identity, 1)
        else:
            moves = (1 - 0.5 * kept) * draw_identity(faces, self.regions, self.template, rng)
            moves = moves + draw_expression(faces, rng)
        if self.makehuman is not None and self.makehuman.shapes is not None and not pure:
            moves = moves + np.tensordot(draw_sliders(self.makehuman.shapes.names, rng), self.makehuman.shapes.modes, 1)
        target = (1 - kept) * (valid.mean + faces.towards_mean) + kept * (own + 0.3 * faces.towards_mean)
        face = faces.face[:, None]
        return face * (target - before) + moves

    def skin(
        self, donor: Avatar, shape: Float[np.ndarray, "v 3"], rng: np.random.Generator, share: float = 0.3
    ) -> tuple[UInt8[np.ndarray, "h w 3"], list[Part]]:
        """Return the body's texture, and cloth over it: the donor's own, or another skin where the scalp is bare.

        `share` is that of other skins among bare scalps. With another skin the person may also wear another outfit,
        over shoulders that are then skin throughout.
        """
        if self.makehuman is None or not self.makehuman.skins or not donor.bald or rng.random() > share:
            return donor.body.texture, []
        skins, clothes = self.makehuman.skins, self.makehuman.clothes
        skin = skins[rng.integers(len(skins))]
        if not clothes or rng.random() < 0.5:
            return skin.worn_over(donor.body.texture), []
        outfit = clothes[rng.integers(len(clothes))]
        vertices = carried(outfit.vertices, self.valid.mean, shape)
        painted = np.where(skin.mask[..., None], skin.texture, donor.body.texture)
        return painted, [Part(vertices, outfit.faces, outfit.uv, outfit.texture)]

    def _hair(
        self, donor: Avatar, body: Part, before: np.ndarray, shape: np.ndarray, colour: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[Part, list[Part]]:  # fmt: skip
        """Dress a bare scalp: a wig, a volume of hair, cropped hair, or nothing."""
        shells = () if self.makehuman is None else self.makehuman.hair
        kinds = np.array([0.28, 0.42 if shells else 0.0, 0.25, 0.1])
        kind = rng.choice(["wig", "shell", "cropped", "bald"], p=kinds / kinds.sum())
        if kind == "wig":
            wearer = donor if donor.wig is not None else self.avatars[self.wigs[rng.integers(len(self.wigs))]]
            return body, [self.wig_on(wearer, shape, colour, rng)]
        if kind == "shell":
            return body, [self.shell_on(draw_shell(shells, rng), shape, colour, rng)]
        if kind == "cropped":
            length = float(np.exp(rng.uniform(np.log(0.0015), np.log(0.028))))
            return self.masks.cropped(body, length, colour, rng), []
        return body, []

    def wig_on(
        self, wearer: Avatar, shape: Float[np.ndarray, "v 3"], colour: np.ndarray, rng: np.random.Generator
    ) -> Part:
        """Return an avatar's wig in another colour on another body."""
        assert wearer.wig is not None
        vertices = carried(ruffled(wearer.wig.vertices, rng), wearer.body.vertices, shape)
        return replace(wearer.wig, vertices=vertices, texture=recoloured(wearer.wig.texture, colour))

    def shell_on(
        self, shell: HairShell, shape: Float[np.ndarray, "v 3"], colour: np.ndarray, rng: np.random.Generator
    ) -> Part:
        """Return a volume of hair in a colour on a body."""
        vertices = carried(ruffled(shell.vertices, rng), self.valid.mean, shape)
        relative = recoloured(shell.colours[None], colour)[0] / 255.0
        tint = np.concatenate([relative, np.ones((len(relative), 1))], 1)
        return Part(vertices, shell.faces, np.zeros((len(vertices), 2)), np.zeros((1, 1, 3), np.uint8), tint)

    def carried_small(
        self, donor: Avatar, shape: Float[np.ndarray, "v 3"], texture: UInt8[np.ndarray, "h w 3"]
    ) -> list[Part]:
        """Return an avatar's eyes and glands in another body."""
        return [
            replace(part, vertices=carried(part.vertices, donor.body.vertices, shape), texture=texture)
            for part in self.registered_small(donor)
        ]

    def registered(self, body: Part) -> Part:
        """Return a body that knows its places on the template."""
        return replace(body, template=self.template)

    def registered_small(self, avatar: Avatar) -> list[Part]:
        """Return an avatar's eyes and glands, which know their places on the template."""
        return [replace(part, template=place) for part, place in zip(avatar.small, self._small, strict=True)]

    def _finished(self, name: str, parts: list[Part], over: list[Part], rng: np.random.Generator) -> ComposedHead:
        body = parts[0].vertices
        origin = body[[self.valid.landmarks[key] for key in EYE_CORNERS]].mean(0)
        landmarks = body[[self.valid.landmarks[key] for key in LANDMARK_NAMES]] - origin
        moved = tuple(replace(part, vertices=part.vertices - origin) for part in (*parts, *over))
        solid = (True,) * len(parts) + (False,) * len(over)
        return ComposedHead(name, moved, solid, landmarks, draw_light(rng))
