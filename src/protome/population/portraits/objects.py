"""Things that are worn or held before a head: spectacles, hats, hands, microphones, masks and boards."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from protome.population.portraits.pieces import Material, Piece, piece

SIDES = 6


def tube(path: Float[np.ndarray, "n 3"], radius: Float[np.ndarray, "n"] | float, closed: bool) -> tuple[
    Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]
]:  # fmt: skip
    """Return a tube of six sides along a path."""
    count = len(path)
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(ahead[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(ahead, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(ahead, first)
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    vertices = path[:, None] + np.broadcast_to(radius, (count,))[:, None, None] * ring
    faces = []
    for k in range(count if closed else count - 1):
        for side in range(SIDES):
            a, b = k * SIDES + side, k * SIDES + (side + 1) % SIDES
            c, d = ((k + 1) % count) * SIDES + side, ((k + 1) % count) * SIDES + (side + 1) % SIDES
            faces += [(a, b, c), (b, d, c)]
    return vertices.reshape(-1, 3), np.array(faces)


def ball(centre: Float[np.ndarray, "3"], radii: Float[np.ndarray, "3"], rows: int = 10) -> tuple[
    Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]
]:  # fmt: skip
    """Return an ellipsoid along the axes."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, 2 * rows), indexing="ij")
    unit = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    return centre + unit.reshape(-1, 3) * radii, _grid(rows, 2 * rows)


def _grid(rows: int, columns: int) -> Int[np.ndarray, "f 3"]:
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def _solid(parts: list[tuple[np.ndarray, np.ndarray]], colour: np.ndarray, material: Material) -> Piece:
    starts = np.cumsum([0, *(len(v) for v, _ in parts)])
    vertices = np.concatenate([v for v, _ in parts])
    faces = np.concatenate([f + start for (_, f), start in zip(parts, starts, strict=False)])
    return piece(vertices, faces, material, colour)


def draw_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Return an albedo, linear: often black, white or grey, else any colour."""
    if rng.random() < 0.45:
        return np.full(3, rng.choice([0.02, 0.05, 0.15, 0.4, 0.75])) * rng.uniform(0.7, 1.2, 3)
    return np.clip(rng.uniform(0.02, 0.85) * rng.dirichlet([0.8, 0.8, 0.8]) * 2.2, 0.01, 0.9)


def spectacles(
    eyes: Float[np.ndarray, "2 3"], body: Float[np.ndarray, "v 3"], ears_z: float, rng: np.random.Generator
) -> list[Piece]:
    """Return spectacles or sunglasses before two eyes of a body; the first is the right one (negative x)."""
    half = 0.5 * float(eyes[1, 0] - eyes[0, 0])
    width, height = half * rng.uniform(0.66, 0.9), half * rng.uniform(0.42, 0.78)
    power, thick = rng.choice([2.0, 2.6, 4.0]), float(np.exp(rng.uniform(np.log(0.0006), np.log(0.0028))))
    drop = rng.uniform(-0.007, 0.002)
    # Before brows and cheeks, which the rims touch.
    away = np.abs(body[:, None, :2] - eyes[None, :, :2] - [0, drop])
    covered = ((away[..., 0] < width) & (away[..., 1] < height)).any(1) & (np.abs(body[:, 0]) > 0.35 * half)
    front = max(float(eyes[:, 2].mean()) + 0.017, float(body[covered, 2].max()) + 0.001) + rng.uniform(0, 0.004)
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    round_ = np.stack([np.cos(turn), np.sin(turn)], 1)
    shape = np.sign(round_) * np.abs(round_) ** (2 / power)
    frames, lenses = [], []
    for eye in eyes:
        side = float(np.sign(eye[0]))
        ring = np.stack([width * shape[:, 0], height * shape[:, 1], np.zeros(len(turn))], 1)
        ring[:, 2] = -0.35 * np.clip(side * ring[:, 0], 0, None)
        ring += np.array([eye[0] + side * 0.002, eye[1] + drop, front])
        frames.append(tube(ring, thick, True))
        fan = np.stack([np.arange(28), (np.arange(28) + 1) % 28, np.full(28, 28)], 1)
        lenses.append((np.vstack([ring, ring.mean(0)]), fan))
        outer = ring[np.argmax(side * ring[:, 0])]
        end = np.array([side * (abs(outer[0]) + 0.008), outer[1] + 0.004, ears_z - 0.01])
        knee = np.array([side * (abs(outer[0]) + 0.007), outer[1] + 0.003, outer[2] - 0.012])
        frames.append(tube(np.stack([outer, knee, 0.5 * (knee + end), end]), 1.2 * thick, False))
    middle = np.array([[-1.0, 0.2, 0], [-0.4, 0.45, 0.1], [0.4, 0.45, 0.1], [1.0, 0.2, 0]])
    gap = half - width
    bridge = np.array([0.5 * (eyes[0, 0] + eyes[1, 0]), eyes[:, 1].mean() + drop, front])
    frames.append(tube(bridge + middle * [gap + 0.001, height * 0.5, 0.01], thick, False))
    metal = np.array([0.55, 0.45, 0.3]) if rng.random() < 0.3 else draw_colour(rng) * 0.6
    tint = np.full(3, rng.choice([0.0, 0.06, 0.5, 0.92, 0.97], p=[0.3, 0.4, 0.06, 0.12, 0.12]))
    return [_solid(frames, metal, Material.SOLID), _solid(lenses, tint, Material.LENS)]


def microphone(mouth: Float[np.ndarray, "3"], rng: np.random.Generator) -> list[Piece]:
    """Return a microphone held before or beside a mouth."""
    away = Rotation.from_euler("yx", [rng.normal(0, 35), rng.uniform(-10, 45)], degrees=True).apply([0, 0, 1.0])
    head = mouth + away * rng.uniform(0.035, 0.10)
    down = away * rng.uniform(0.2, 1.0) + np.array([rng.normal(0, 0.3), -1.0, 0])
    down /= np.linalg.norm(down)
    size = rng.uniform(0.014, 0.03)
    body = tube(np.stack([head + 0.01 * down, head + 0.2 * down]), size * np.array([0.75, 0.55]), False)
    colour = np.full(3, rng.uniform(0.02, 0.1)) if rng.random() < 0.7 else draw_colour(rng)
    return [
        _solid([ball(head, np.full(3, size) * rng.uniform(0.9, 1.3, 3))], colour, Material.SOLID),
        _solid([body], draw_colour(rng), Material.SOLID),
    ]


def hand(place: Float[np.ndarray, "3"], skin: Float[np.ndarray, "3"], rng: np.random.Generator) -> list[Piece]:
    """Return a hand and forearm whose fingers end near a place of the face: a palm and bent fingers of capsules."""
    scale = rng.uniform(0.85, 1.15)
    parts = [ball(np.array([0.0, -0.05, 0.0]), np.array([0.042, 0.052, 0.016]))]
    curl, spread = rng.uniform(0.0, 1.3), rng.uniform(0.02, 0.16)
    for k, (x, length) in enumerate(zip((-0.03, -0.01, 0.01, 0.03), (0.07, 0.08, 0.076, 0.06), strict=True)):
        joints, position, bend = [np.array([x, -0.012, 0.0])], np.array([x, -0.012, 0.0]), 0.0
        for share in (0.45, 0.32, 0.23):
            bend += curl * rng.uniform(0.3, 0.7)
            aim = np.array([spread * (k - 1.5), np.cos(bend), np.sin(bend)])
            position = position + share * length * aim / np.linalg.norm(aim)
            joints.append(position)
        radius = 0.0085 * np.array([1.05, 1.0, 0.92, 0.7])
        parts += [tube(np.stack(joints), radius, False), ball(position, np.full(3, 0.0062), 6)]
    thumb = np.stack([[-0.035, -0.06, 0.0], [-0.06, -0.03, 0.012], [-0.066, 0.0, 0.02]])
    parts += [tube(thumb, np.array([0.013, 0.011, 0.008]), False), ball(thumb[-1], np.full(3, 0.008), 6)]
    parts.append(tube(np.array([[0.0, -0.09, 0.0], [0.0, -0.35, -0.01]]), np.array([0.027, 0.04]), False))
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    turn = Rotation.from_euler("zyx", [rng.normal(0, 45), rng.normal(0, 40), rng.uniform(-40, 25)], degrees=True)
    moved = [(place + turn.apply(v * mirror * scale), f) for v, f in parts]
    return [_solid(moved, np.clip(skin * rng.uniform(0.85, 1.15), 0, 1), Material.SOLID)]


def board(place: Float[np.ndarray, "3"], rng: np.random.Generator) -> list[Piece]:
    """Return a thin box of any colour: a telephone, a book, a sign, a glass."""
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.16), 2))
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [*size, 0.005]
    faces = np.array([
        (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6), (1, 5, 7), (1, 7, 3),
        (0, 2, 6), (0, 6, 4),
    ])  # fmt: skip
    turn = Rotation.from_euler("zyx", rng.normal(0, 25, 3), degrees=True)
    return [_solid([(place + turn.apply(corners), faces)], draw_colour(rng), Material.SOLID)]


def layer(
    body: Float[np.ndarray, "v 3"],
    outwards: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    height: Float[np.ndarray, "v"],
    keep: Float[np.ndarray, "v"],
) -> tuple[Float[np.ndarray, "u 3"], Int[np.ndarray, "g 3"], Int[np.ndarray, "u"]]:
    """Return the part of a body where `keep` is positive, lifted by a height; and which vertices those are."""
    chosen = faces[(keep[faces] > 0).any(1)]
    used, local = np.unique(chosen, return_inverse=True)
    return body[used] + height[used, None] * outwards[used], local.reshape(-1, 3), used


def brim(front: Float[np.ndarray, "3"], width: float, rng: np.random.Generator) -> tuple[
    Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]
]:  # fmt: skip
    """Return the peak of a cap, whose back edge curves around the forehead."""
    angle, reach = np.meshgrid(np.linspace(-1.2, 1.2, 15), np.linspace(0, 1, 5), indexing="ij")
    length = rng.uniform(0.05, 0.075)
    x = width * np.sin(angle)
    z = front[2] - width * 1.1 * (1 - np.cos(angle)) + reach * length * np.cos(angle) ** 0.5
    y = front[1] - 0.25 * reach * length - 0.35 * x**2 / width + 0 * reach
    return np.stack([front[0] + x, y, z], -1).reshape(-1, 3), _grid(15, 5)


def arch(mouth: Float[np.ndarray, "3"], upper: bool, colour: float) -> Piece:
    """Return a row of teeth behind the lips."""
    t, h = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(0, 1, 4), indexing="ij")
    tall = 0.0095 if upper else 0.008
    y = mouth[1] + ((0.0015 + tall * h) if upper else (-0.0015 - tall * h))
    bulge = 0.0012 * np.abs(np.sin(12.5 * t)) ** 0.5
    points = np.stack([0.025 * t, y, mouth[2] - 0.0125 - 0.024 * np.abs(t) ** 2.2 + bulge], -1).reshape(-1, 3)
    shade = colour * (0.75 + 0.25 * np.abs(np.sin(12.5 * t)) ** 0.4).ravel()
    return piece(points, _grid(25, 4), Material.TEETH, shade[:, None])
