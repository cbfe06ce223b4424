"""One piece without handles, from samples in which there are several pieces, cavities, bridges and tunnels."""

from __future__ import annotations

import numpy as np
import pytest

from protome.geometry.mesh import Mesh
from protome.meshing.solid import euler_characteristic, genus, shortest_handle, solid_surface

COUNT = 72
AT = np.stack(np.meshgrid(*[np.arange(COUNT)] * 3, indexing="ij"), -1).astype(float)
STEP = 0.5


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(AT - np.array(centre), axis=-1) - radius


def ring(centre: tuple[float, float, float], radius: float, thickness: float) -> np.ndarray:
    x, y, z = np.moveaxis(AT - np.array(centre), -1, 0)
    return np.hypot(np.hypot(x, z) - radius, y) - thickness


def tunnel(x: float, z: float, radius: float) -> np.ndarray:
    return np.hypot(AT[..., 0] - x, AT[..., 2] - z) - radius


BODY = ball((36, 36, 26), 19.0)
HANDLE = ring((36, 36, 44), 13.0, 3.0)
WITH = {
    "nothing wrong": (BODY, BODY),
    "a handle": (np.minimum(BODY, HANDLE), None),
    "a tunnel": (np.maximum(BODY, -tunnel(36, 26, 2.5)), BODY),
    "two tunnels": (np.maximum(BODY, -np.minimum(tunnel(30, 26, 2.5), tunnel(43, 24, 2.0))), BODY),
    "a second piece": (np.minimum(BODY, ball((60, 60, 60), 6.0)), BODY),
    "a cavity": (np.maximum(BODY, -ball((36, 36, 26), 6.0)), BODY),
    "all of them": (
        np.maximum(
            np.minimum(np.minimum(BODY, HANDLE), ball((60, 60, 60), 6.0)),
            -np.minimum(tunnel(36, 22, 2.5), ball((28, 36, 26), 3.0)),
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", WITH)
def test_one_closed_piece_without_handles_remains(name: str) -> None:
    values, whole = WITH[name]
    mesh = solid_surface(STEP * values, STEP)
    assert genus(mesh.faces) == 0
    assert euler_characteristic(mesh.faces) == 2
    solid = mesh.to_trimesh()
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.body_count == 1
    if whole is not None:
        # A plug thickens the sphere's wall by next to nothing, and leaves part of a tunnel's depth as a dent.
        true = 4 / 3 * np.pi * 19.0**3
        assert solid.volume == pytest.approx(true, rel=0.06)


def test_what_is_right_stays_as_it_was() -> None:
    mesh = solid_surface(STEP * BODY, STEP)
    distance = np.linalg.norm(mesh.vertices - [36, 36, 26], axis=1)
    np.testing.assert_allclose(distance, 19.0, atol=0.02)
    handle = solid_surface(STEP * np.minimum(BODY, HANDLE), STEP)
    away = np.linalg.norm(handle.vertices - [36, 36, 26], axis=1)
    assert (away > 20).sum() > 500  # a handle is cut through, or its hole is closed: it is not taken away


def test_no_two_vertices_are_at_one_place() -> None:
    x, y, z = np.moveaxis(np.abs(AT - 36), -1, 0)
    cube = np.maximum(np.maximum(x, y), z) - 12.0  # exactly zero at grid points
    vertices = solid_surface(cube, 1.0).vertices.astype(np.float32)
    assert len(np.unique(vertices, axis=0)) == len(vertices)


def test_a_body_that_the_bounds_cut_along_an_edge_has_no_two_vertices_at_one_place() -> None:
    # As the bounds of a head do with its arms: outside is a layer of large values, here on two sides.
    step = 0.005
    values = step * ball((COUNT - 2, COUNT - 2, 36), 19.3)
    values[-1], values[:, -1] = 1e4, 1e4
    mesh = solid_surface(values, step)
    assert len(np.unique(mesh.vertices.astype(np.float32), axis=0)) == len(mesh.vertices)
    assert euler_characteristic(mesh.faces) == 2
    solid = mesh.to_trimesh()
    assert solid.is_watertight
    assert solid.area_faces.min() > 0
    assert solid.volume == pytest.approx(np.pi / 3 * 19.3**3, rel=0.01)


def test_the_shortest_loop_around_a_ring_is_around_its_tube() -> None:
    values = ring((36, 36, 36), 20.0, 4.0)
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values, 0.0)
    mesh = Mesh(vertices.astype(np.float64), faces.astype(np.int64))
    assert genus(mesh.faces) == 1
    loop = shortest_handle(mesh)
    length = np.linalg.norm(loop - np.roll(loop, 1, axis=0), axis=1).sum()
    assert length < 1.4 * 2 * np.pi * 4.0
    middle = loop.mean(0) - 36
    assert np.hypot(middle[0], middle[2]) == pytest.approx(20.0, abs=2)
