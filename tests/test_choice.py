"""Which photo each vertex of a mesh takes its details from."""

from __future__ import annotations

import numpy as np
import trimesh

from protome.asset.choice import choose
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
