"""A wardrobe whose bodies are balls, for tests of portraits."""

from __future__ import annotations

import numpy as np
import trimesh

from protome.population.expressions import UNITS
from protome.population.portraits.points import HeadPoints
from protome.population.portraits.wardrobe import Wardrobe, Worn

CENTRE, RADIUS = np.array([0.0, 0.0, -0.1]), 0.1
EYE, EYES = 0.012, np.array([[-0.032, 0.0, -0.012], [0.032, 0.0, -0.012]])
TEXELS = 8


def ball(centre: np.ndarray, radius: float, fine: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an icosphere."""
    mesh = trimesh.creation.icosphere(subdivisions=fine, radius=radius)
    return (np.array(mesh.vertices) + centre).astype(np.float32), np.array(mesh.faces, np.int32)


def ball_wardrobe(fine: int = 4) -> Wardrobe:
    """Return a wardrobe of a ball with eyes, one style of hair, one outfit, and small random modes."""
    rng = np.random.default_rng(0)
    body, faces = ball(CENTRE, RADIUS, fine)
    count = len(body)
    away = (body - CENTRE) / RADIUS
    names = tuple(dict.fromkeys(unit for units, _ in UNITS.values() for unit in units))
    sliders = ("macro-male", "macro-old", "macro-child", "macro-african", "macro-asian", "macro-caucasian", "nose-up")
    smooth = (away[None] * (away @ rng.normal(size=(3, 40))).T[..., None]).astype(np.float32)

    def worn(centre: np.ndarray, radius: float) -> Worn:
        vertices, triangles = ball(centre, radius, 2)
        return Worn.on(body, vertices, triangles, np.ones(len(vertices)))

    zeros = np.zeros(count, np.float32)
    texture = np.full((2, TEXELS, TEXELS, 3), 160, np.uint8)
    outfit = worn(CENTRE - [0, 0.12, 0], 0.06)
    return Wardrobe(
        mean=body, template=body, faces=faces, uv=(0.5 + 0.4 * away[:, :2]).astype(np.float32),
        weld=np.arange(count, dtype=np.int32), bodies=np.stack([body, body]), towards_face=np.zeros_like(body),
        face=zeros, identity=0.0005 * smooth[:4], regions=np.full((2, count), 0.5, np.float32),
        expression=0.0003 * smooth[np.arange(len(names)) % 40], sliders=0.0003 * smooth[: len(sliders)],
        expression_names=names, slider_names=sliders, scalp=np.clip(3 * away[:, 1], 0, 1).astype(np.float32),
        beard=np.clip(-3 * away[:, 1], 0, 1).astype(np.float32), lift=away.astype(np.float32),
        sky=np.ones(count, np.float32), mouth=zeros, skins=texture, cloth=np.zeros((2, TEXELS, TEXELS), np.uint8),
        lightness=np.array([40.0, 60.0], np.float32), brows=np.zeros((1, TEXELS, TEXELS), np.uint8),
        eyes=(*(worn(place, EYE) for place in EYES), worn(EYES[0], 0.003), worn(EYES[1], 0.003)),
        hair=(worn(CENTRE + np.array([0, 0.03, -0.01]), 0.1),), hair_names=("short01",), outfits=(outfit,),
        outfit_colours=(np.full((len(outfit.vertices), 3), 90, np.uint8),),
    )  # fmt: skip


def ball_points(wardrobe: Wardrobe, count: int = 798) -> HeadPoints:
    """Return the vertices that lie foremost, as landmarks."""
    foremost = np.argsort(-wardrobe.template[:, 2])[:count]
    return HeadPoints(np.tile(foremost[:, None], (1, 3)), np.tile([1.0, 0.0, 0.0], (count, 1)))
