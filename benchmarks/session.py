"""What a casual capture is made of: lens, places, turns, expressions, framing and light, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from phone import Processing
from protome.capture.photo import FILM_DIAGONAL_MM
from protome.geometry.camera import Camera, direction
from protome.population.light import Light, draw_light
from protome.population.people import draw_mild
from room import Room, draw_room

Kind = Literal["moved", "turned", "days"]
"""The camera goes around the person; the person turns before a still camera, light and background; or each photo is
of another day, with its own place and light."""
FACE_MM = 150.0
NEAREST_MM, FARTHEST_MM = 330.0, 2600.0
CHIN_MM, LEAST_HEIGHT_MM = 150.0, 350.0
FIRST_COUNTS, EVEN_COUNTS, OTHER_COUNTS = 24, (1, 3, 8), (2, 4, 5, 6, 7)
FEET = (0.618034, 0.414214, 0.754878, 0.569840)
"""Steps of additive recurrences: shares of captures come out even, whatever their number."""


@dataclass(frozen=True)
class Plan:
    """What is fixed of a capture before anything is drawn."""

    index: int
    count: int
    kind: Kind
    expression: bool
    hair_cut: bool
    keeps_exif: bool

    @staticmethod
    def of(index: int) -> Plan:
        """Return the plan of capture number `index`: a third has expressions, a fifth cut hair, a fifth EXIF."""
        share = [(0.31 + index * step) % 1.0 for step in FEET]
        if index < FIRST_COUNTS:
            count = EVEN_COUNTS[index % 3]
        else:
            half = (index - FIRST_COUNTS) // 2
            chosen = OTHER_COUNTS if index % 2 else EVEN_COUNTS
            count = chosen[half % len(chosen)]
        kind: Kind = "moved" if share[0] < 0.5 else "turned" if share[0] < 0.85 else "days"
        return Plan(index, count, kind, share[1] < 1 / 3, share[2] < 0.2, share[3] < 0.2)


@dataclass(frozen=True)
class Shot:
    """One photo of a capture."""

    camera: Camera
    """Posed in the room, millimetres."""
    T_world_head: Float[np.ndarray, "4 4"]
    light: Light
    """Its directions are those of the room."""
    room: Room
    expression: Float[np.ndarray, "e"] | None
    turn: Rotation | None
    """Of the head on its neck."""
    gaze: Float[np.ndarray, "3"]
    """Place in the room that the person looks at."""
    film_mm: float
    """Focal length, 35 mm equivalent."""
    behind: bool
    """Whether the camera stands behind the person."""
    hair_cut: bool
    processing: Processing

    @property
    def head_from_camera(self) -> Float[np.ndarray, "4 4"]:
        """The camera's pose in the head frame, millimetres."""
        return np.linalg.inv(self.T_world_head) @ self.camera.T_world_camera.double().numpy()


def draw_shots(
    plan: Plan, expressions: tuple[str, ...], extent_mm: tuple[float, float], rng: np.random.Generator
) -> tuple[Shot, ...]:
    """Return the photos of a capture of a person of whom `extent_mm` above and below the eyes can be shown."""
    light, room = draw_light(rng), draw_room(rng)
    lenses = [_lens(rng)] * 2
    longest = _longest(rng)
    if rng.random() < 0.15:  # two lenses of one phone
        lenses[1] = _lens(rng)
    portrait = rng.random() < 0.75
    angles, behind = _angles(plan.count, rng)
    exposure, balance = rng.normal(0, 0.1), rng.normal(0, 0.06)
    nearness = np.exp(rng.normal(0, 0.12))
    shots = []
    for number, angle in enumerate(angles):
        if plan.kind == "days" and number:
            light, room, longest = draw_light(rng), draw_room(rng), _longest(rng)
            if rng.random() < 0.5:
                lenses = [_lens(rng)] * 2
            portrait = rng.random() < 0.75
            nearness = np.exp(rng.normal(0, 0.12))
        film = lenses[int(rng.random() < 0.5)]
        size = (round(0.75 * longest), longest) if portrait else (longest, round(0.75 * longest))
        turn, T_world_head, across = _pose(plan.kind, angle, behind[number], rng)
        expression = None
        # The first of several photos is neutral: it is what the scan is compared with.
        if plan.expression and (plan.count == 1 or (number and rng.random() < 0.75)):
            expression = draw_mild(expressions, rng)
        cut = plan.hair_cut and (plan.count == 1 or rng.random() < 0.75)
        camera = _camera(film, size, across, extent_mm, cut, nearness, T_world_head, rng)
        gaze = camera.centre.numpy().copy()
        if rng.random() < 0.2:
            gaze += 0.25 * np.linalg.norm(gaze) * rng.normal(size=3)
        shots.append(
            Shot(
                camera, T_world_head, light, room, expression, turn, gaze, film, behind[number], cut,
                _processing(film, longest, exposure, balance, rng),
            )
        )  # fmt: skip
    return tuple(shots)


def _lens(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(24.0), np.log(85.0))))


def _longest(rng: np.random.Generator) -> int:
    return 4 * round(float(np.exp(rng.uniform(np.log(1000.0), np.log(4000.0)))) / 4)


def _angles(count: int, rng: np.random.Generator) -> tuple[list[float], list[bool]]:
    """Return degrees to the subject's left from which each photo is taken, and whether that is from behind."""
    if count == 1:
        return [float(np.clip(rng.normal(0, 18), -40, 40))], [False]
    reach = 60.0 if count <= 3 else 75.0
    even = np.linspace(-reach, reach, count) * rng.uniform(0.65, 1.0) + rng.normal(0, 8, count)
    order = rng.permutation(count)
    if rng.random() < 0.7:  # most people begin in front
        front = int(np.abs(even).argmin())
        order = np.array([front, *(k for k in order if k != front)])
    angles, behind = [float(even[k]) for k in order], [False] * count
    if count >= 6 and rng.random() < 0.2:
        angles[-1], behind[-1] = float(rng.uniform(130, 230)), True
    return angles, behind


def _pose(
    kind: Kind, angle: float, behind: bool, rng: np.random.Generator
) -> tuple[Rotation | None, Float[np.ndarray, "4 4"], float]:
    """Return the neck's turn, the head's pose in the room, and the angle at which the camera stands there."""
    turn, across = None, angle
    if kind == "turned":
        wanted = np.array([-angle, np.clip(rng.normal(0, 7), -15, 15), np.clip(rng.normal(0, 5), -12, 12)])
        share = 0.0 if behind else rng.uniform(0.3, 1.0)
        neck = np.clip(wanted * [share, 0.7, 0.7], [-18, -9, -6], [18, 9, 6])
        turn = Rotation.from_euler("yxz", neck, degrees=True)
        across, shift = float(rng.normal(0, 4)), rng.normal(0, 12, 3)
    else:
        # Nobody sits quite still.
        wanted, shift = rng.normal(0, 1.2, 3), rng.normal(0, 4, 3)
    T_world_head = np.eye(4)
    T_world_head[:3, :3] = Rotation.from_euler("yxz", wanted, degrees=True).as_matrix()
    T_world_head[:3, 3] = shift
    return turn, T_world_head, across


def _camera(
    film: float, size: tuple[int, int], across: float, extent_mm: tuple[float, float], cut: bool, nearness: float,
    T_world_head: Float[np.ndarray, "4 4"], rng: np.random.Generator,
) -> Camera:  # fmt: skip
    """Return a hand-held camera: its distance follows from the lens and from how large people take faces."""
    width, height = size
    top_mm, low_mm = extent_mm
    focal = film * float(np.hypot(width, height)) / FILM_DIAGONAL_MM
    share = float(np.clip(rng.normal(0.36, 0.08), 0.2, 0.55)) * nearness
    distance = np.clip(FACE_MM / share * focal / min(size), NEAREST_MM, FARTHEST_MM)
    least = LEAST_HEIGHT_MM if cut else CHIN_MM + top_mm + 60.0
    distance = max(float(distance), least * focal / height, 0.7 * least * focal / width)
    tall, wide = height / focal * distance, width / focal * distance
    if cut:
        above = rng.uniform(0.4, 0.75) * top_mm
    else:
        above = np.clip(rng.normal(0.42, 0.07) * tall, top_mm + 20.0, max(tall - CHIN_MM, top_mm + 20.0))
    above = max(above, tall - low_mm)
    towards = direction(float(np.radians(across)), float(np.radians(np.clip(rng.normal(2, 8), -18, 22)))).numpy()
    head = T_world_head[:3, 3] + T_world_head[:3, :3] @ np.array([0.0, 0.0, -50.0])
    place = head + (distance + 50.0) * towards
    side = np.cross([0.0, 1.0, 0.0], towards)
    side /= np.linalg.norm(side)
    up = np.cross(towards, side)
    # The frame's upper edge lies `above` the eyes.
    aim = head - (tall / 2 - above) * up + np.clip(rng.normal(0, 0.06), -0.12, 0.12) * wide * side
    roll = np.radians(np.clip(rng.normal(0, 4), -12, 12))
    upright = torch.from_numpy(np.cos(roll) * up + np.sin(roll) * side)
    return Camera.look_at(torch.from_numpy(place), torch.from_numpy(aim), focal, width, height, upright)


def _processing(film: float, longest: int, exposure: float, balance: float, rng: np.random.Generator) -> Processing:
    """Return the development of a photo; its exposure and white balance differ a little from the capture's."""
    warmth = balance + rng.normal(0, 0.03)
    tint = rng.normal(0, 0.012)
    exposed = float(np.exp(np.clip(exposure + rng.normal(0, 0.15), -0.5, 0.4)))
    contrast = float(rng.uniform(1.0, 1.5))
    noise = float(np.exp(rng.uniform(np.log(0.004), np.log(0.03))))
    blur = float(rng.uniform(0.3, 0.8) * longest / 1600)
    if rng.random() < 0.12:  # a shaken hand
        blur += float(rng.uniform(0.5, 2.5)) * longest / 2000
    return Processing(
        exposure=exposed,
        balance=np.array([1 + warmth, 1 + tint, 1 - warmth]),
        contrast=contrast,
        noise=noise,
        blur_px=blur,
        background_blur_px=float(rng.uniform(2, 12) * longest / 2000) if film > 45 and rng.random() < 0.4 else 0.0,
        quality=int(rng.integers(75, 96)),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip
