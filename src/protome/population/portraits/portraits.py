"""Portraits without end: number `index` of a seed is the same whenever and wherever it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.population.portraits.backdrops import draw_backdrop
from protome.population.portraits.camera import PortraitCamera, draw_camera
from protome.population.portraits.dressed import Dressed, dress
from protome.population.portraits.lighting import draw_lighting
from protome.population.portraits.person import Person, draw_person
from protome.population.portraits.photograph import Caster, Portrait, Studio
from protome.population.portraits.pieces import Piece, joined
from protome.population.portraits.points import FACE_POINTS, HeadPoints
from protome.population.portraits.wardrobe import Wardrobe

SIZE = 208
"""Pixels of a side; training cuts smaller squares out of it."""
FACE_SHARE = (0.41, 0.66)
"""Extent of the face's landmarks over the picture's side."""
TAKES = 4
"""Portraits of a scene: other cameras, light and backdrop, the same people."""
NEIGHBOURS = (0.52, 0.33, 0.15)
"""Frequencies of no, one and two other people."""


@dataclass(frozen=True)
class Labelled:
    """A portrait and who it shows."""

    portrait: Portrait
    person: Person
    camera: PortraitCamera


class Photographer:
    """Draws people from a wardrobe and takes their portraits."""

    def __init__(self, wardrobe: Wardrobe, size: int = SIZE, points: HeadPoints | None = None) -> None:
        self.wardrobe = wardrobe
        self.points = points or HeadPoints.of(wardrobe)
        self.size = size

    def scene(self, seed: int, index: int) -> list[Labelled]:
        """Return the portraits of scene number `index`; they depend on the seed and these alone."""
        rng = np.random.default_rng([seed, index])
        wardrobe = self.wardrobe
        person = draw_person(wardrobe, rng)
        subject = dress(wardrobe, person, rng)
        people, looks = [subject.pieces], [subject.look]
        for _ in range(int(rng.choice(3, p=NEIGHBOURS))):
            other = dress(wardrobe, draw_person(wardrobe, rng), rng, simple=rng.random() < 0.8)
            people.append(_placed(other, rng))
            looks.append(other.look)
        soup = joined(people)
        studio = Studio(wardrobe, soup, tuple(looks), Caster(soup))
        landmarks = self.points.on(subject.body, _irises(subject))
        taken = []
        for _ in range(TAKES):
            share = float(np.exp(rng.uniform(*np.log(FACE_SHARE))))
            camera = draw_camera(landmarks[:FACE_POINTS], self.size, share, rng)
            away = camera.position / np.linalg.norm(camera.position)
            lighting = draw_lighting(away, rng)
            backdrop = draw_backdrop(rng, self.size)
            taken.append(Labelled(studio.portrait(camera, lighting, backdrop, landmarks, rng), person, camera))
        return taken


def _irises(subject: Dressed) -> Float[np.ndarray, "2 3"]:
    """Return the middles of the irises: in the direction of the gaze on the eyeballs, as the head is."""
    radius = 0.0118
    return subject.look.eye_centres + radius * subject.look.gaze


def _placed(other: Dressed, rng: np.random.Generator) -> list[Piece]:
    """Return another person's pieces beside, behind or a little before the subject, turned anywhere."""
    side = rng.choice([-1.0, 1.0])
    far = rng.random() < 0.35
    shift = np.array([
        side * rng.uniform(0.15, 0.6 if far else 0.32), rng.normal(-0.01, 0.08),
        rng.uniform(-1.6, -0.35) if far else rng.uniform(-0.3, 0.04),
    ])  # fmt: skip
    yaw = rng.uniform(-180, 180) if far and rng.random() < 0.4 else rng.normal(0, 35)
    turn = Rotation.from_euler("yxz", [yaw, rng.normal(0, 8), rng.normal(0, 9)], degrees=True)
    return [item.moved((turn.apply(item.vertices) + shift).astype(np.float32)) for item in other.pieces]
