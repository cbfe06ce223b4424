"""The albedo without the photos' light, on surfaces whose albedo and light are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from painted import painted, photograph
from protome.asset.asset import make_asset
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.geometry.mesh import srgb_from_linear
from protome.relief.light import fitted_light, light_on

SKIN = np.array([0.55, 0.35, 0.25])
LAMP = np.array([0.6, 0.5, 0.62]) / np.linalg.norm([0.6, 0.5, 0.62])


def lit(normals: np.ndarray) -> np.ndarray:
    """The light of an even sky and a soft lamp, which harmonics of the second order hold."""
    cosine = normals @ LAMP
    return 0.6 + 0.3 * cosine + 0.1 * (3 * cosine**2 - 1)


def skull_normals(points: np.ndarray) -> np.ndarray:
    outwards = (points - [0.0, -5.0, -85.0]) / np.array([82.0, 112.0, 98.0]) ** 2
    return outwards / np.linalg.norm(outwards, axis=1, keepdims=True)


def test_a_light_of_second_order_is_found_beside_features() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal([0, 0, 1.2], 1, (4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    linear = SKIN * lit(normals)[:, None]
    linear[rng.random(4000) < 0.08] *= 0.25  # brows
    shade = light_on(normals, fitted_light(normals, linear))
    ratio = shade / lit(normals)[:, None]
    assert (ratio.std(0) / ratio.mean(0) < 0.06).all()
    np.testing.assert_allclose(shade.mean(0), 1, atol=1e-6)


def test_the_albedo_of_a_face_under_one_lamp_is_nearly_even() -> None:
    head = painted((0.0,))
    views = photograph(head.mesh, (0.0,), lambda points: srgb_from_linear(SKIN * lit(skull_normals(points))[:, None]))
    own = [Source.of(view, view.camera) for view in views]
    options = AssetOptions(texture=1024, faces=12_000, material="pbr", delight=True)
    made = make_asset(head.mesh, replace(head, views=views).grey, own, options)
    assert made.albedo is not None
    assert made.base_colour is made.albedo
    uv = made.atlas.uv[made.atlas.faces].mean(1)
    middle = made.atlas.mesh.vertices[made.atlas.mesh.faces].mean(1)
    face = (np.abs(middle[:, 0]) < 50) & (np.abs(middle[:, 1] + 20) < 60) & (middle[:, 2] > -40)
    spread = [
        image[(uv[face, 1] * 1024).astype(int), (uv[face, 0] * 1024).astype(int)].astype(float).std(0).mean()
        for image in (made.colour, made.albedo)
    ]
    assert spread[0] > 8
    assert spread[1] < 0.3 * spread[0]
