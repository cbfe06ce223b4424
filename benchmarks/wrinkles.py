"""Fine geometry that head models lack: folds, lines and pores as displacements of a dense face, and photos of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.path import Path
from scipy.spatial import cKDTree

from protome.geometry.align import Surface
from protome.geometry.camera import Camera, direction
from protome.geometry.mesh import Mesh
from protome.geometry.refine import refine
from protome.morphable.face import face_triangles
from protome.morphable.model import MorphableModel
from protome.scene import View
from protome.sider.thick import vertex_normals
from raster import Light, Lighting, Subject, render

LEVELS = 3
"""Levels of subdivision of the truth's triangles: finer than the reconstruction."""
DISTANCE_MM = 700.0
FACE_MM = 240.0
"""Height and width of the photo at the face."""
LIP_EDGE_MM = 0.7
LIPS = np.array([0.62, 0.33, 0.30])
SKIN = np.array([0.80, 0.60, 0.50])


@dataclass(frozen=True)
class Wrinkled:
    """A person of the model with fine geometry; head frame, millimetres."""

    plain: Mesh
    """The model's own mesh."""
    landmarks: Float[np.ndarray, "68 3"]
    base: Mesh
    """The plain face subdivided, with normals."""
    height: Float[np.ndarray, "v"]
    """Displacement along the base's normals."""
    truth: Mesh
    identity: Float[torch.Tensor, "i"]


def wrinkled(model: MorphableModel, seed: int, strength: float = 1.0) -> Wrinkled:
    """Return a random person of the model with folds, lines and pores."""
    rng = np.random.default_rng(seed)
    identity = torch.from_numpy(rng.normal(size=len(model.identity))).float()
    vertices = model.with_shape(identity).vertices
    plain = Mesh(vertices.double().numpy(), model.faces.numpy())
    landmarks = model.landmarks.on(vertices, model.faces).double().numpy()
    fine = refine(plain.faces, len(plain.vertices), face_triangles(plain, landmarks), LEVELS)
    places, normals = fine.curved(plain.vertices, vertex_normals(plain))
    base = Mesh(places, fine.faces, normals=normals)
    height = strength * (_lines(base, landmarks, rng) + _pores(base, landmarks, rng))
    truth = Mesh(places + height[:, None] * normals, fine.faces)
    return Wrinkled(plain, landmarks, base, height, truth, identity)


def _lines(base: Mesh, landmarks: Float[np.ndarray, "68 3"], rng: np.random.Generator) -> Float[np.ndarray, "v"]:
    """Return grooves with raised borders along curves on the face."""
    brow = (landmarks[19] + landmarks[24]) / 2
    curves: list[tuple[np.ndarray, float, float]] = []
    for number in range(3):
        x = np.linspace(-32, 32, 40)
        wave = 1.5 * np.sin(x / 9 + rng.uniform(0, 6)) - 0.004 * x**2
        line = np.stack([x, brow[1] + 14 + 8 * number + wave, np.full(40, brow[2] + 5)], 1)
        curves.append((line, rng.uniform(0.4, 0.8), rng.uniform(1.5, 2.2)))
    for side, ala, corner, eye in ((-1, 31, 48, 36), (1, 35, 54, 45)):
        start, end = landmarks[ala] + [6 * side, 4, 0], landmarks[corner] + [9 * side, -3, 4]
        middle = (start + end) / 2 + [5 * side, 2, 4]
        share = np.linspace(0, 1, 40)[:, None]
        curves.append(((1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end, 1.0, 2.8))
        for turn in (-0.5, 0.0, 0.5):
            out = np.stack([side * np.cos(turn) * np.ones(20), np.sin(turn) * np.ones(20), np.full(20, -0.5)], 1)
            curves.append((landmarks[eye] + [5 * side, 0, 0] + out * np.linspace(0, 14, 20)[:, None], 0.4, 1.4))
        under = landmarks[[eye, 41 if side < 0 else 46, 40 if side < 0 else 47]] + [0, -9, 3]
        curves.append((np.concatenate([np.linspace(under[k], under[k + 1], 15) for k in (0, 1)]), 0.6, 1.8))
        frown = landmarks[21 if side < 0 else 22] + np.array([1.5 * -side, 0, 2])
        curves.append((frown + np.stack([np.zeros(20), np.linspace(-6, 12, 20), np.zeros(20)], 1), 0.6, 1.5))
    surface, height = Surface(base), np.zeros(len(base.vertices))
    for curve, depth, width in curves:
        foot = surface.closest(curve).points
        distance, nearest = cKDTree(foot).query(base.vertices)
        # Lines end softly.
        ends = np.minimum(nearest, len(foot) - 1 - nearest) / (0.15 * len(foot))
        fade = np.clip(ends, 0.15, 1)
        height -= depth * fade * np.exp(-((distance / width) ** 2))
        height += 0.35 * depth * fade * np.exp(-(((distance - 2.2 * width) / width) ** 2))
    return height


def _pores(base: Mesh, landmarks: Float[np.ndarray, "68 3"], rng: np.random.Generator) -> Float[np.ndarray, "v"]:
    """Return shallow bumps a few millimetres wide, which fade out away from the face."""
    waves = rng.normal(size=(60, 3))
    waves *= (2 * np.pi / rng.uniform(3.5, 9, 60) / np.linalg.norm(waves, axis=1))[:, None]
    ripple = np.sin(base.vertices @ waves.T + rng.uniform(0, 6.3, 60)).sum(1) / 60**0.5
    distance = np.linalg.norm(base.vertices - landmarks[30], axis=1)
    return 0.07 * ripple * np.clip((95 - distance) / 20, 0, 1)


def photograph(person: Wrinkled, seed: int, size: int = 360) -> View:
    """Return a photo of the person, posed in the head frame, its landmarks not yet found."""
    rng = np.random.default_rng([seed, 1])
    turn, up = np.radians(rng.uniform(-15, 15)), np.radians(rng.uniform(-6, 8))
    target = torch.from_numpy(person.landmarks[33])
    place = target + DISTANCE_MM * direction(turn, up)
    camera = Camera.look_at(place, target, size * DISTANCE_MM / FACE_MM, size, size)
    side = float(rng.choice([-1, 1]))
    lights = (Light((side * 0.7, 0.6, 0.8), 0.75, 10.0), Light((-side * 0.8, 0.1, 0.6), 0.2, 15.0))
    lighting = Lighting(lights, sky=0.28, ground=0.18, rays=16)
    picture = render(Subject(_skinned(person, rng)), camera, lighting, seed=seed)
    return View(
        f"person {seed}", torch.from_numpy(picture.image).float(), torch.from_numpy(picture.mask).float(),
        camera.to(torch.float32),
    )  # fmt: skip


def _between(corners: Float[np.ndarray, "n 3"], steps: int = 20) -> Float[np.ndarray, "m 3"]:
    """Return points along a line with corners."""
    share = np.arange(steps * (len(corners) - 1) + 1) / steps
    return np.stack([np.interp(share, np.arange(len(corners)), corners[:, axis]) for axis in range(3)], 1)


def _inside(loop: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "m 3"], edge: float) -> Float[np.ndarray, "m"]:
    """Return a soft mask of a loop in frontal view: 1 inside, 0 outside, in between along its edge."""
    closed = np.concatenate([loop, loop[:1]])
    away = cKDTree(_between(closed)).query(points)[0]
    within = Path(loop[:, :2]).contains_points(points[:, :2])
    return 1 / (1 + np.exp(-np.where(within, away, -away) / edge))


def _skinned(person: Wrinkled, rng: np.random.Generator) -> Mesh:
    """Return the truth with skin colours: mottled, redder on cheeks and lips."""
    vertices, landmarks = person.base.vertices, person.landmarks
    waves = rng.normal(size=(40, 3)) * 0.12
    mottle = np.sin(vertices @ waves.T + rng.uniform(0, 6.3, 40)).sum(1) / 40**0.5
    colour = SKIN * (1 + 0.03 * mottle[:, None]) * np.array([1.0, 1.0, 1.0])
    lips = _inside(landmarks[48:60], vertices, LIP_EDGE_MM)[:, None]
    cheeks = np.exp(-((cKDTree(landmarks[[2, 14]] * 0.6 + landmarks[[31, 35]] * 0.4).query(vertices)[0] / 18) ** 2))
    colour = colour * (1 - lips) + LIPS * lips
    colour = colour * (1 - 0.12 * cheeks[:, None] * np.array([0.0, 1.0, 1.0]))
    hairs = np.concatenate([_between(landmarks[brow]) for brow in (slice(17, 22), slice(22, 27))])
    brows = np.exp(-((cKDTree(hairs).query(vertices)[0] / 3.5) ** 2))[:, None]
    colour = colour * (1 - 0.6 * brows)
    return Mesh(person.truth.vertices, person.truth.faces, np.clip(colour, 0, 1))
