"""A person as a portrait shows them: with an expression, a gaze, hair, a beard, clothes and things; as pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.population.expressions import draw_familiar
from protome.population.people import turned
from protome.population.portraits import objects
from protome.population.portraits.person import Person
from protome.population.portraits.pieces import BEARD, LASH, LOCAL, MOUTH, SCALP, SKY, UV, Material, Piece, piece
from protome.population.portraits.places import MOUTH_M, fitted_sphere
from protome.population.portraits.wardrobe import Wardrobe

CENTRE_M = np.array([0.0, 0.0, -0.08])
"""The middle of a head, head frame."""


@dataclass(frozen=True)
class Look:
    """Colours and patterns of a dressed person that are looked up while shading."""

    person: Person
    gaze: Float[np.ndarray, "2 3"]
    """Unit directions of the eyes, right one first."""
    eye_centres: Float[np.ndarray, "2 3"]
    pupil: float
    """Radius over the iris's."""
    brow: int
    brow_strength: float
    brow_colour: Float[np.ndarray, "3"]
    scalp_alpha: float
    """Opacity of hair that is too short to stand off the scalp."""
    beard_alpha: float
    scalp_edge: float
    beard_edge: float
    hair_colour: Float[np.ndarray, "3"]
    tips_colour: Float[np.ndarray, "3"]
    curl: float
    frizz: float
    """Share of transparency near the border of hair."""
    cloth: Float[np.ndarray, "2 3"]
    """Two colours, linear."""
    stripes: float
    """Stripes per metre; 0 for none."""
    cloth_kept: float
    """Share of the texture's own colours in the cloth."""
    blush: float
    pale: float
    """Share of the skin's colour that is taken away."""
    gloss: float
    lips: Float[np.ndarray, "3"]
    """Gain of the lips' colour."""
    bumps: float
    noise: Float[np.ndarray, "2"]
    """Offsets in the noise pictures."""


@dataclass(frozen=True)
class Dressed:
    """A person's pieces in the head frame, metres."""

    pieces: list[Piece]
    body: Float[np.ndarray, "v 3"]
    """The body's vertices, the first piece's."""
    look: Look


def dress(wardrobe: Wardrobe, person: Person, rng: np.random.Generator, simple: bool = False) -> Dressed:
    """Return a person with a drawn expression and appearance; with `simple`, without things before the face."""
    expression = np.tensordot(draw_familiar(wardrobe.expression_names, rng), wardrobe.expression, 1)
    neutral = wardrobe.mean + person.moves
    body = neutral + expression
    body_piece = Piece(body, wardrobe.faces, Material.BODY, _body_attributes(wardrobe), wardrobe.weld)
    pieces, over = [body_piece], []
    # The eyeballs keep still while lids and brows move.
    eyes = [worn.carried(person.moves) for worn in wardrobe.eyes]
    eyes = [_rounded(eye) if k < 2 else eye for k, eye in enumerate(eyes)]
    for k, (worn, vertices) in enumerate(zip(wardrobe.eyes, eyes, strict=True)):
        pieces.append(piece(vertices, worn.faces, Material.EYE if k < 2 else Material.GLAND))
    order = np.argsort([eye[:, 0].mean() for eye in eyes[:2]])
    centres = np.stack([fitted_sphere(eyes[k])[0] for k in order])
    mouth = MOUTH_M + (person.moves[wardrobe.places.lips]).mean(0)
    teeth = rng.uniform(0.45, 0.85)
    pieces.append(objects.arch(mouth, True, teeth))
    lower = objects.arch(mouth, False, teeth)
    pieces.append(lower.moved(lower.vertices + expression[wardrobe.places.chin].mean(0)))

    hair, scalp_alpha = _hair(wardrobe, body, person, rng)
    over += hair
    beard, beard_alpha = _beard(wardrobe, body, person, rng)
    pieces += beard
    if rng.random() < 0.4:
        k = int(rng.integers(len(wardrobe.outfits)))
        worn = wardrobe.outfits[k]
        colours = (wardrobe.outfit_colours[k] / 255.0) ** 2.2
        over.append(piece(worn.carried(person.moves), worn.faces, Material.CLOTH, colours))
    if not simple:
        hat = rng.random() < 0.09
        if hat:
            over = [item for item in over if item.material != Material.HAIR]
            over += [trimmed for item in hair if (trimmed := _under_hat(item)) is not None] + _hat(wardrobe, body, rng)
        if rng.random() < 0.22:
            over += objects.spectacles(centres, body, float(body[wardrobe.places.ear, 2].mean()), rng)
        over += _held(person, mouth, body, rng)
    turn = Rotation.from_euler("yxz", np.clip(rng.normal(0, [9, 6, 4]), -22, 22), degrees=True)
    moved = [item.moved(turned(item.vertices, turn).astype(np.float32)) for item in (*pieces, *over)]
    return Dressed(moved, moved[0].vertices, _look(person, centres, wardrobe, scalp_alpha, beard_alpha, rng))


def _look(
    person: Person, centres: np.ndarray, wardrobe: Wardrobe, scalp_alpha: float, beard_alpha: float,
    rng: np.random.Generator,
) -> Look:  # fmt: skip
    hair = person.hair_colour
    yaw, pitch = np.clip(rng.normal(0, [14, 7]), -35, 25)
    gaze = Rotation.from_euler("yx", [[yaw + 1, pitch], [yaw - 1, pitch]], degrees=True).apply([0, 0, 1.0])
    strength = rng.uniform(0.25, 1.0) if rng.random() < 0.94 else 0.0
    made_up = not person.male and person.age != "child" and rng.random() < 0.35
    lips = np.array([1.0, rng.uniform(0.35, 0.8), rng.uniform(0.4, 0.85)]) * rng.uniform(0.7, 1.1) if made_up else 1.0
    return Look(
        person, gaze, centres, float(rng.uniform(0.25, 0.55)), int(rng.integers(len(wardrobe.brows))), strength,
        np.clip(hair * rng.uniform(0.3, 0.9), 0, 0.35), scalp_alpha, beard_alpha, float(rng.uniform(0.3, 0.6)),
        float(rng.uniform(0.1, 0.4)), hair, np.clip(hair * np.exp(rng.normal(0.05, 0.25)), 0, 0.9),
        float(rng.uniform(0, 1)), float(rng.uniform(0.0, 1.0)), np.stack([objects.draw_colour(rng) for _ in range(2)]),
        float(rng.choice([0, 0, 0, rng.uniform(8, 120)])), float(rng.choice([0.0, 0.5, 1.0])),
        float(rng.uniform(0, 1)), float(rng.uniform(0, 0.5)), float(rng.uniform(0.0, 1.0)),
        np.broadcast_to(np.asarray(lips, float), (3,)),
        float(rng.uniform(0.2, 1.0) * (0.4 if person.age == "child" else 1.3 if person.age == "old" else 0.9)),
        rng.uniform(0, 1, 2),
    )  # fmt: skip


def _body_attributes(wardrobe: Wardrobe) -> Float[np.ndarray, "v 12"]:
    attributes = np.zeros((len(wardrobe.mean), 12), np.float32)
    attributes[:, UV], attributes[:, LOCAL], attributes[:, SKY] = wardrobe.uv, wardrobe.template, wardrobe.sky
    attributes[:, SCALP], attributes[:, BEARD], attributes[:, MOUTH] = wardrobe.scalp, wardrobe.beard, wardrobe.mouth
    attributes[:, LASH] = wardrobe.places.lids
    return attributes


def _rounded(eye: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return an eyeball that moving with the skin around has deformed as the sphere nearest to it."""
    centre, radius = fitted_sphere(eye)
    away = eye - centre
    return (centre + radius * away / (np.linalg.norm(away, axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def _waves(points: Float[np.ndarray, "n 3"], scale: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random function of place, about -1 to 1."""
    phase = rng.normal(0, 1 / scale, (count, 3)).astype(np.float32) @ points.T.astype(np.float32)
    phase += rng.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)
    return np.sin(phase).sum(0) / float(np.sqrt(count))


def _hair(wardrobe: Wardrobe, body: np.ndarray, person: Person, rng: np.random.Generator) -> tuple[list[Piece], float]:
    """Return hair, and the opacity of stubble on the scalp."""
    long = 0.62 if not person.male else 0.3
    kinds = np.array([long, 0.72 - long, 0.12, 0.16 if person.male else 0.04])
    kind = rng.choice(["shell", "grown", "shaved", "bald"], p=kinds / kinds.sum())
    if kind == "bald":
        return [], 0.0
    if kind == "shaved":
        return [], float(rng.uniform(0.25, 0.95))
    if kind == "shell":
        return [_shell(wardrobe, person, rng)], 0.9
    length = float(np.exp(rng.uniform(np.log(0.002), np.log(0.055))))
    edge = rng.uniform(0.3, 0.6)
    receding = rng.uniform(0, 1.0) if person.male and person.age in ("middle", "old") else 0.0
    template = wardrobe.template
    front = np.clip((template[:, 2] + 0.06) / 0.06, 0, 1) * np.clip((template[:, 1] - 0.03) / 0.03, 0, 1)
    mask = np.clip((wardrobe.scalp - 0.7 * receding * front - edge) / (0.9 - edge), 0, 1)
    up = np.clip((template[:, 1] + 0.02) / 0.1, 0, 1)
    taper = up ** rng.uniform(0, 2.0)
    part = _waves(template, 0.03, 5, rng)
    height = length * np.sqrt(mask) * (0.15 + 0.85 * taper) * np.clip(1 + 0.25 * part, 0.4, 1.8)
    height += 0.25 * min(length, 0.02) * _waves(template, 0.006, 8, rng) * mask
    lean = rng.normal(0, 0.6, 3) * [1, 0.3, 1]
    outwards = wardrobe.lift + 0.8 * taper[:, None] * lean * (length > 0.012)
    vertices, faces, used = objects.layer(body, outwards, wardrobe.faces, height - 0.0008, mask)
    hair = piece(vertices, faces, Material.HAIR)
    hair.attributes[:, LOCAL] = template[used]
    hair.attributes[:, SCALP] = np.clip(3 * mask[used], 0, 1)
    return [hair], 0.85


def _shell(wardrobe: Wardrobe, person: Person, rng: np.random.Generator) -> Piece:
    share = np.array([0.15 if f"{name}-cut" in wardrobe.hair_names else 1.0 for name in wardrobe.hair_names])
    share *= [0.35 if name.startswith("wig") else 1.0 for name in wardrobe.hair_names]
    if person.male:
        share *= [1.0 if "short" in name or "afro" in name else 0.25 for name in wardrobe.hair_names]
    worn = wardrobe.hair[int(rng.choice(len(share), p=share / share.sum()))]
    # The neutral body carries it: hair does not move with brows and mouth.
    rest = worn.vertices
    away = rest - CENTRE_M
    stretch = rng.normal(0.01, 0.05) + 0.02 * _waves(rest, 0.05, 4, rng)
    hang = np.clip((-0.01 - rest[:, 1]) / 0.12, 0, 1)
    outer = np.clip((np.linalg.norm(away * [1, 1, 0.9], axis=1) - 0.075) / 0.04, 0, 1)
    moves = away * (np.clip(stretch, -0.05, 0.16) * outer)[:, None]
    longer, wider = rng.uniform(-0.45, 0.55), rng.normal(0, 0.18)
    moves[:, 1] += hang * (rest[:, 1] + 0.01) * longer
    moves[:, 0] += hang * rest[:, 0] * np.clip(wider + 0.1 * _waves(rest, 0.08, 3, rng), -0.3, 0.6)
    moves[:, 2] += hang * rng.normal(0, 0.02)
    moves += 0.003 * rng.uniform(0, 1.3) * (outer * _waves(rest, 0.012, 6, rng))[:, None] * away / 0.1
    carried, faces = worn.carried(person.moves) + moves, worn.faces
    if rng.random() < 0.5:
        carried, faces, rest = carried * [-1, 1, 1], faces[:, ::-1], rest * [-1, 1, 1]
    shell = piece(carried, faces, Material.HAIR, worn.shade[:, None])
    shell.attributes[:, SCALP] = 1
    shell.attributes[:, LOCAL] = rest
    return shell


def _beard(wardrobe: Wardrobe, body: np.ndarray, person: Person, rng: np.random.Generator) -> tuple[list[Piece], float]:
    """Return a beard that stands off the skin, and the opacity of its stubble."""
    if not person.male or person.age == "child" or rng.random() < 0.45:
        return [], 0.0
    if rng.random() < 0.4:
        return [], float(rng.uniform(0.1, 0.6))
    template = wardrobe.template
    mask = wardrobe.beard.copy()
    kind = rng.choice(["full", "goatee", "moustache"], p=[0.65, 0.22, 0.13])
    if kind != "full":
        mask = mask * np.clip((0.04 - np.abs(template[:, 0])) / 0.012, 0, 1)
    if kind == "moustache":
        mask = mask * np.clip((template[:, 1] + 0.07) / 0.006, 0, 1)
    edge = rng.uniform(0.1, 0.35)
    mask = np.clip((mask - edge) / (0.75 - edge), 0, 1)
    length = float(np.exp(rng.uniform(np.log(0.001), np.log(0.02))))
    low = np.clip((-0.07 - template[:, 1]) / 0.03, 0, 1)
    height = length * np.sqrt(mask) * (0.35 + 0.65 * low) * np.clip(1 + 0.3 * _waves(template, 0.01, 6, rng), 0.3, 1.8)
    outwards = wardrobe.lift + np.array([0, -1.0, 0.2]) * low[:, None] * rng.uniform(0, 1.2)
    vertices, faces, used = objects.layer(body, outwards, wardrobe.faces, height - 0.0004, mask)
    beard = piece(vertices, faces, Material.BEARD)
    beard.attributes[:, LOCAL] = template[used]
    beard.attributes[:, SCALP] = np.clip(2 * mask[used], 0, 1)
    return [beard], 0.0 if kind != "full" else 0.5


def _under_hat(hair: Piece) -> Piece | None:
    local = hair.attributes[:, LOCAL]
    outside = _crown(local) < 0.0
    faces = hair.faces[outside[hair.faces].all(1)]
    return None if len(faces) < 20 else Piece(hair.vertices, faces, hair.material, hair.attributes)


def _crown(template: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return the height over the rim of a hat, metres."""
    return template[:, 1] - 0.052 - 0.12 * (template[:, 2] + 0.03)


def _hat(wardrobe: Wardrobe, body: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    """Return a cap with a peak, or a woollen one."""
    template = wardrobe.template
    rise = _crown(template) + rng.normal(0, 0.006)
    keep = (rise > 0) & (template[:, 1] > 0)
    height = 0.007 + rng.uniform(0, 0.02) * np.sqrt(np.clip(rise / 0.06, 0, 1))
    vertices, faces, used = objects.layer(body, wardrobe.lift, wardrobe.faces, height, keep.astype(np.float32))
    colour = objects.draw_colour(rng)
    hat = [piece(vertices, faces, Material.SOLID, colour)]
    if rng.random() < 0.6:
        rim = used[np.argsort(rise[used])[:80]]
        front = body[rim][np.argmax(body[rim, 2])] + [0, 0.004, 0.006]
        width = float(np.abs(body[rim, 0]).max())
        peak = objects.brim(np.array([0.0, front[1], front[2]]), 0.95 * width, rng)
        hat.append(piece(*peak, Material.SOLID, colour if rng.random() < 0.7 else objects.draw_colour(rng)))
    return hat


def _held(person: Person, mouth: Float[np.ndarray, "3"], body: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    """Return a hand, a microphone or a board before the head, for one person in eight."""
    if rng.random() > 0.14:
        return []
    kind = rng.choice(["hand", "microphone", "board"], p=[0.5, 0.25, 0.25])
    if kind == "microphone":
        return objects.microphone(mouth, rng)
    place = np.array([rng.normal(0, 0.06), rng.uniform(-0.16, 0.06), 0.0])
    ahead = np.abs(body[:, :2] - place[:2]).max(1) < 0.02
    place[2] = (float(body[ahead, 2].max()) if ahead.any() else -0.04) + rng.uniform(0.012, 0.05)
    if kind == "board":
        return objects.board(place + np.array([rng.normal(0, 0.04), -0.03, 0.02]), rng)
    skin = ((person.lightness + 16) / 116) ** 3 * np.array([1.5, 0.87, 0.6])
    return objects.hand(place, skin, rng)
