"""Which photo each vertex of a mesh takes its details from."""

from __future__ import annotations

import numpy as np
import trimesh

from protome.asset.choice import RENDERER_WEIGHT, choose
from protome.geometry.mesh import Mesh


def test_a_lone_vertex_takes_what_shows_it() -> None:
    sphere = trimesh.creation.icosphere(4, 4.0)
    mesh = Mesh(sphere.vertices, np.asarray(sphere.faces), normals=sphere.vertex_normals)
    lone = 7
    weights = np.zeros((len(sphere.vertices), 3))
    weights[:, 1] = 1.0  # one photo shows all but a vertex, which another one shows, and nobody else
    weights[lone] = 1e6, 0.0, 0.0
    weights[:, 2] = 1e-3
    colours = np.full((len(weights), 3, 3), 0.5)
    chosen = choose(mesh, weights, colours, 2)
    assert np.isfinite(chosen.share).all()
    np.testing.assert_allclose(chosen.share.sum(1), 1.0)
    np.testing.assert_array_equal(chosen.share[lone], [1.0, 0.0, 0.0])
    assert (chosen.share[np.arange(len(weights)) != lone, 0] == 0).mean() > 0.9


def test_a_narrow_gap_has_the_colours_of_its_rims_and_a_wide_one_the_renderers() -> None:
    """A dark strip of the renderer between skin that a photo shows goes if it is 8 mm wide, and stays if it is 40."""
    ball = trimesh.creation.icosphere(subdivisions=5, radius=60.0)
    mesh = Mesh(np.add(ball.vertices, [0.0, 70.0, 0.0]), np.array(ball.faces))
    skin, dark = np.array([0.8, 0.6, 0.5]), np.full(3, 0.1)

    def middle(width: float) -> np.ndarray:
        hidden = np.abs(mesh.vertices[:, 0]) < width / 2
        weights = np.stack([~hidden, np.full(len(hidden), RENDERER_WEIGHT)], 1).astype(float)
        painted = np.where((np.abs(mesh.vertices[:, 0]) < 0.8 * width / 2)[:, None], dark, skin)
        colours = np.stack([np.broadcast_to(skin, painted.shape), painted], 1)
        return choose(mesh, weights, colours, 1).low[np.abs(mesh.vertices[:, 0]) < width / 8].mean(0)

    np.testing.assert_allclose(middle(8.0), skin, atol=0.02)
    np.testing.assert_allclose(middle(40.0), dark, atol=0.1)
