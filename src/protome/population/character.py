"""A person who wears several expressions: drawn once, with what is known about them, then moved by named units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.population.compose import ComposedHead, Composer, carried, draw_shell, toned
from protome.population.expressions import expression_units
from protome.population.faces import FaceModes
from protome.population.hair import draw_hair_colour
from protome.population.lids import BLINKS, Lids
from protome.population.light import Light, draw_light
from protome.population.people import draw_identity, draw_turn, turned
from protome.population.portraits import objects
from protome.population.portraits.person import AGE_SHARES, AGES, drawn_sliders
from protome.population.portraits.places import MOUTH_M, Places, fitted_sphere
from protome.population.portraits.wardrobe import MOUTH_M as MOUTH_BOX_M
from protome.population.portraits.wardrobe import inside_mouth
from protome.population.sources.valid import EYE_CORNERS, Avatar, Part, identity

CLEARANCE_M, SLIDE_M = 0.0005, 0.001
"""A lid that an expression moves by the second keeps the first from the eyeball: the face model's own lids were made
for other eyeballs."""
TEETH_M = 0.0145
"""How far before the place that portraits put them at the teeth stand here: a centimetre behind closed lips, which a
smile draws back."""
THROAT_M = 0.01
"""How far the throat's wall lies behind the opening at the back of the body's mouth."""
THROAT_RGB = (70, 26, 24)
GREY = (0.25, 0.1)
"""Hair is grey if it is brighter than the first and its channels differ by less than the second, sRGB in [0, 1]."""
WOMEN_S_STYLES = ("bob", "braid", "long", "ponytail", "afro")
MEN_S_STYLES = ("short", "afro")
OWN_LENGTH_MM = {"short": 30.0, "short_cropped": 8.0, "short_tousled": 50.0, "updo_bun": 60.0, "bob_tucked": 180.0}
"""Length of hair that is modelled on the avatars' bodies, by its style, roughly."""
OTHER_OWN_MM = 150.0


@dataclass(frozen=True)
class Facts:
    """What is known about a person, for classifiers and for drawing people in given proportions."""

    sex: str
    """"female" or "male"."""
    age: str
    """One of `protome.population.portraits.person.AGES`."""
    hair: str
    """"bald", "cropped", or "own", "wig" or "shell" with the style's name behind a colon."""
    hair_mm: float
    """Length of cropped hair; else from the top of the head down to the lowest hair, roughly for "own" hair."""


@dataclass(frozen=True)
class Character:
    """One person in neutral, head turned, before the head is placed in its frame."""

    name: str
    facts: Facts
    shape: Float[np.ndarray, "v 3"]
    """The neutral body without hair that stands off it and without the turn, metres."""
    body: Part
    small: tuple[Part, ...]
    """Eyes and glands, which keep still under moving lids."""
    over: tuple[Part, ...]
    """Hair and cloth, which keep still too."""
    turn: Rotation
    light: Light
    size: float
    teeth: int
    """Brightness of the teeth, 0 to 255."""


class Characters:
    """Draws people of given sex and age, and puts named expressions on them."""

    def __init__(self, composer: Composer) -> None:
        """Find the places on the template that are needed.

        Raises:
            InputError: the composer has no face model, which the expressions come from.
        """
        if composer.faces is None:
            raise InputError("expressions come from the face model: give --ict")
        self.composer = composer
        # Single precision halves the time in which a person is drawn.
        self.faces: FaceModes = replace(composer.faces, identity=composer.faces.identity.astype(np.float32))
        self.units = expression_units(composer.faces.expression_names)
        rows = [composer.faces.expression_names.index(name) for name in self.units]
        self.modes: Float[np.ndarray, "e v 3"] = composer.faces.expression[rows].astype(np.float32)
        valid = composer.valid
        first = composer.avatars[valid.training_names[0]]
        eyes = [carried(part.vertices, first.body.vertices, valid.mean) for part in first.small[:2]]
        self.places = Places.of(composer.template, valid.mean, eyes)
        # Behind the lips nothing of the reference corresponds: there the template lies inside the head.
        self.inside: Bool[np.ndarray, "v"] = inside_mouth(composer)
        self.template = np.where(self.inside[:, None], np.nan, composer.template)
        self.throat = _rim_of_mouth(composer)
        self.lids = Lids.of(composer.template, valid.mean, eyes)
        self.blinks = tuple(self.units.index(name) for name in BLINKS if name in self.units)

    def original(self, name: str, rng: np.random.Generator) -> Character:
        """Return an avatar as it is, looking ahead, in a random light."""
        composer = self.composer
        avatar = composer.avatars[name]
        body = replace(avatar.body, template=self.template)
        over = () if avatar.wig is None else (avatar.wig,)
        facts = Facts(_sex(name), "young", *self._hair_of(avatar))
        small = tuple(composer.registered_small(avatar))
        still = Rotation.identity()
        light = draw_light(rng)
        return Character(name, facts, body.vertices, body, small, over, still, light, 1.0, _teeth(rng))

    def draw(self, rng: np.random.Generator, pure: bool = False) -> Character:
        """Return a new person in neutral; with `pure`, one with the face model's own face and nothing of an avatar's.

        Both sexes are equally frequent, and ages are those of portraits. Hair is drawn by sex and age.
        """
        composer = self.composer
        male, age = bool(rng.random() < 0.5), str(rng.choice(AGES, p=AGE_SHARES))
        has_own_hair = rng.random() < (0.45 if male else 0.35)
        sex = "_M_" if male else "_F_"
        known = composer.haired if has_own_hair else composer.bald
        names = [name for name in known if sex in name] or known
        name = names[int(rng.integers(len(names)))]
        donor = composer.avatars[name]
        before = donor.body.vertices
        size = 1.0 if pure else 1 + np.clip(rng.normal(0, 0.025), -0.06, 0.06)
        size -= rng.uniform(0.03, 0.12) if age == "child" and not pure else 0.0
        shape = size * (before + self._features(donor, male, age, pure, rng))
        colour = _hair_colour(age, rng)
        texture, cloth = composer.skin(donor, shape, rng, 0.55)
        gain = np.clip(1 + rng.normal(0, 0.025, 3), 0.92, 1.08)
        texture = toned(texture, gain, float(np.exp(np.clip(rng.normal(0, 0.22), -0.4, 0.5))))
        body = replace(donor.body, vertices=shape, texture=texture, template=self.template)
        small = tuple(composer.carried_small(donor, shape, texture))
        if male and age != "child" and rng.random() < 0.4:
            length = float(rng.choice([0.0006, 0.004, 0.012], p=[0.4, 0.4, 0.2]) * rng.uniform(0.6, 1.5))
            body = composer.masks.bearded(body, length, 0.85 * colour, rng)
        over: list[Part] = []
        hair, length_mm = self._hair_of(donor)
        if not has_own_hair:
            body, over, hair, length_mm = self._hair(body, shape, colour, male, age, rng)
        turn = draw_turn(rng)
        facts = Facts("male" if male else "female", age, hair, length_mm)
        light = draw_light(rng)
        return Character(f"new {name}", facts, shape, body, small, (*over, *cloth), turn, light, size, _teeth(rng))

    def head(self, who: Character, weights: Float[np.ndarray, "e"]) -> ComposedHead:
        """Return a person with an expression, given as weights of `units`; all zero is the neutral head.

        The frame is that of the neutral head, so that the skull keeps still. Teeth are there while a mouth may open.
        """
        body, small = who.body, who.small
        corners = [self.composer.valid.landmarks[key] for key in EYE_CORNERS]
        turned_shape = turned(who.shape, who.turn)
        origin = turned_shape[corners].mean(0)
        solid, more = [True] * (1 + len(small)) + [False] * len(who.over), []
        if weights.any():
            moves = self._moves(who, weights)
            body = replace(body, vertices=body.vertices + moves)
            more = self._teeth(who, moves)
            solid += [True] * len(more)
        parts = [
            replace(part, vertices=turned(part.vertices, who.turn) - origin)
            for part in (body, *small, *who.over, *more)
        ]
        bare = turned(who.shape + (body.vertices - who.body.vertices), who.turn) - origin
        landmarks = bare[[self.composer.valid.landmarks[key] for key in LANDMARK_NAMES]]
        return ComposedHead(who.name, tuple(parts), tuple(solid), landmarks, who.light)

    def _moves(self, who: Character, weights: Float[np.ndarray, "e"]) -> Float[np.ndarray, "v 3"]:
        """Return how an expression moves the body; a blink at full strength closes this person's lids."""
        weights = weights.astype(np.float64)
        for eye, unit in zip(who.small[:2], self.blinks, strict=False):
            if weights[unit]:
                blink = who.size * self.modes[unit].astype(np.float64)
                weights[unit] *= self.lids.gain(who.shape, blink, eye.vertices)
        moves = who.size * np.tensordot(weights.astype(np.float32), self.modes, 1).astype(np.float64)
        return self._over_eyeballs(who, moves)

    def _over_eyeballs(self, who: Character, moves: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
        """Return an expression's moves with lids that slide over the eyeballs."""
        moves = moves.copy()
        for eye in who.small[:2]:
            centre, radius = fitted_sphere(eye.vertices)
            near = np.flatnonzero(np.linalg.norm(who.body.vertices - centre, axis=1) < 1.8 * radius)
            away = who.body.vertices[near] + moves[near] - centre
            distance = np.linalg.norm(away, axis=1)
            share = np.clip(np.linalg.norm(moves[near], axis=1) / SLIDE_M, 0, 1)
            lift = np.clip(radius + CLEARANCE_M - distance, 0, None) * share * (away[:, 2] > 0.3 * radius)
            moves[near] += (lift / np.maximum(distance, 1e-9))[:, None] * away
        return moves

    def _teeth(self, who: Character, moves: Float[np.ndarray, "v 3"]) -> list[Part]:
        """Return rows of teeth and the throat: the upper row keeps still, the lower one moves with the chin."""
        template = self.composer.template
        behind = MOUTH_M + np.array([0, 0, TEETH_M]) - template[self.places.lips].mean(0)
        mouth = who.shape[self.places.lips].mean(0) + who.size * behind
        jaw = moves[self.places.chin].mean(0)
        found = []
        for upper, shift in ((True, np.zeros(3)), (False, jaw)):
            row = objects.arch(mouth, upper, 1.0)
            vertices = mouth + who.size * (row.vertices.astype(np.float64) - mouth) + shift
            texture = np.full((1, 1, 3), who.teeth, np.uint8)
            faces = row.faces.astype(np.int64)
            found.append(Part(vertices, faces, np.zeros((len(vertices), 2)), texture))
        if not len(self.throat):
            return found
        used, local = np.unique(self.throat, return_inverse=True)
        rim = who.shape[used] + moves[used]
        vertices = np.vstack([rim, rim.mean(0) - [0, 0, who.size * THROAT_M]])
        faces = np.column_stack([local.reshape(-1, 2)[:, ::-1], np.full(len(self.throat), len(rim))])
        texture = np.array([[THROAT_RGB]], np.uint8)
        return [*found, Part(vertices, faces, np.zeros((len(vertices), 2)), texture)]

    def _features(
        self, donor: Avatar, male: bool, age: str, pure: bool, rng: np.random.Generator
    ) -> Float[np.ndarray, "v 3"]:
        """Return how a new person's neutral body departs from the avatar's."""
        composer, faces, valid = self.composer, self.faces, self.composer.valid
        before = donor.body.vertices
        if pure:
            moves = np.tensordot(rng.normal(size=len(faces.identity)).astype(np.float32), faces.identity, 1)
            return faces.face[:, None] * (valid.mean + faces.towards_mean - before) + moves
        names = [name for name in valid.training_names if ("_M_" in name) == male] or list(valid.training_names)
        partners = [valid.body(names[k]) for k in rng.integers(0, len(names), 2)]
        shares = rng.dirichlet([2.0, 1.0, 1.0])
        own = shares[0] * before + shares[1] * partners[0] + shares[2] * partners[1]
        kept = 0.0 if rng.random() < 0.5 else float(rng.uniform(0, 1))
        moves = (1 - 0.5 * kept) * draw_identity(faces, composer.regions, composer.template, rng)
        if composer.makehuman is not None and composer.makehuman.shapes is not None:
            shapes = composer.makehuman.shapes
            lightness = 30.0 if donor.name.startswith("Black") else 60.0
            moves = moves + np.tensordot(drawn_sliders(shapes.names, male, age, lightness, rng), shapes.modes, 1)
        target = (1 - kept) * (valid.mean + faces.towards_mean) + kept * (own + 0.3 * faces.towards_mean)
        return faces.face[:, None] * (target - before) + moves

    def _hair_of(self, avatar: Avatar) -> tuple[str, float]:
        """Return kind and length of an avatar's own hair."""
        style = self.composer.valid.hair_style(avatar.name)
        if avatar.wig is not None:
            return f"wig:{style}", _reach(avatar.wig.vertices)
        if avatar.bald:
            return "bald", 0.0
        return f"own:{style}", OWN_LENGTH_MM.get(style, OTHER_OWN_MM)

    def _hair(
        self, body: Part, shape: np.ndarray, colour: np.ndarray, male: bool, age: str, rng: np.random.Generator
    ) -> tuple[Part, list[Part], str, float]:
        """Dress a bare scalp by sex and age; return the body, the hair, its kind and its length."""
        composer = self.composer
        shells = () if composer.makehuman is None else composer.makehuman.hair
        bald = 0.03 if age == "child" else 0.3 if age == "old" else 0.12
        chances = [0.08, 0.37, 0.55 - bald, bald] if male else [0.3, 0.62, 0.06, 0.02]
        if not shells:
            chances[0], chances[1] = chances[0] + chances[1], 0.0
        kind = str(rng.choice(["wig", "shell", "cropped", "bald"], p=chances))
        if kind == "wig":
            wearer = composer.avatars[composer.wigs[int(rng.integers(len(composer.wigs)))]]
            part = composer.wig_on(wearer, shape, colour, rng)
            return body, [part], f"wig:{composer.valid.hair_style(wearer.name)}", _reach(part.vertices)
        if kind == "shell":
            styles = MEN_S_STYLES if male and rng.random() < 0.88 else WOMEN_S_STYLES
            if not male and rng.random() < 0.25:
                styles = MEN_S_STYLES
            fitting = [shell for shell in shells if shell.name.startswith(styles)] or list(shells)
            shell = draw_shell(fitting, rng)
            part = composer.shell_on(shell, shape, colour, rng)
            return body, [part], f"shell:{shell.name.removesuffix('-cut')}", _reach(part.vertices)
        if kind == "cropped":
            length = float(np.exp(rng.uniform(np.log(0.0015), np.log(0.028))))
            return composer.masks.cropped(body, length, colour, rng), [], "cropped", 1000 * length
        return body, [], "bald", 0.0


def _rim_of_mouth(composer: Composer) -> Int[np.ndarray, "k 2"]:
    """Return the directed edges of the opening at the back of the body's mouth; none where the mouth is closed."""
    faces = composer.valid.weld[composer.valid.faces]
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, first, counts = np.unique(np.sort(directed, 1), axis=0, return_index=True, return_counts=True)
    rim = directed[first[counts == 1]]
    inside = ((composer.template > MOUTH_BOX_M[0]) & (composer.template < MOUTH_BOX_M[1])).all(1)
    return rim[inside[rim].all(1)]


def _hair_colour(age: str, rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Return a natural hair colour, sRGB in [0, 1]: mostly grey or white on the old, neither on the young."""
    if age == "old" and rng.random() < 0.6:
        return np.full(3, rng.uniform(0.45, 0.85)) * [1.0, 0.98, 0.95]
    colour = draw_hair_colour(rng)
    while age in ("child", "young") and colour.mean() > GREY[0] and np.ptp(colour) < GREY[1]:
        colour = draw_hair_colour(rng)
    return colour


def _sex(name: str) -> str:
    return "male" if "_M_" in identity(name) + "_" else "female"


def _teeth(rng: np.random.Generator) -> int:
    return int(rng.integers(170, 240))


def _reach(vertices: Float[np.ndarray, "n 3"]) -> float:
    """Return how far hair hangs down from the top of the head, millimetres."""
    return float(1000 * (vertices[:, 1].max() - np.percentile(vertices[:, 1], 2)))
