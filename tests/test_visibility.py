"""Visibility of vertices in photos, on shapes for which it is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.visibility import vertex_visibility


def _ball(centre: tuple[float, float, float] = (0.0, 0.0, 0.0), radius: float = 1.0) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    normals = np.array(ball.vertices) / radius
    return Mesh(np.array(ball.vertices) + centre, np.array(ball.faces), None, normals)


def _camera(x: float, y: float, z: float, focal: float = 60.0) -> Camera:
    return Camera.look_at(torch.tensor([x, y, z]), torch.zeros(3), focal, 100, 100)


def test_visibility_on_a_ball_is_the_cosine_of_the_angle_to_the_camera() -> None:
    mesh = _ball()
    found = vertex_visibility(mesh, [_camera(0.0, 0.0, 5.0)])
    ways = np.array([0.0, 0.0, 5.0]) - mesh.vertices
    cosine = (ways * mesh.normals).sum(1) / np.linalg.norm(ways, axis=1)
    clear = np.abs(cosine) > 0.05  # along the outline the flat triangles occlude one another
    np.testing.assert_allclose(found[clear], np.maximum(cosine, 0)[clear], atol=2e-3)


def test_the_best_camera_counts() -> None:
    mesh, front, side = _ball(), _camera(0.0, 0.0, 5.0), _camera(5.0, 0.0, 0.0)
    both = vertex_visibility(mesh, [front, side])
    np.testing.assert_allclose(
        both, np.maximum(vertex_visibility(mesh, [front]), vertex_visibility(mesh, [side])), atol=1e-12
    )
    assert both[mesh.vertices[:, 0] + mesh.vertices[:, 2] < -0.8].max() == 0


def test_occluded_vertices_are_not_visible() -> None:
    far, near = _ball((0.0, 0.0, -3.0)), _ball()
    joined = Mesh(
        np.concatenate([near.vertices, far.vertices]),
        np.concatenate([near.faces, far.faces + len(near.vertices)]),
        None,
        np.concatenate([near.normals, far.normals]),  # type: ignore[list-item]
    )
    # The near ball occludes the cone that touches it: all of the far one's middle, which alone would be visible.
    middle = np.flatnonzero((np.hypot(*far.vertices[:, :2].T) < 0.9) & (far.vertices[:, 2] > -3))
    assert vertex_visibility(far, [_camera(0.0, 0.0, 5.0)])[middle].min() > 0.2
    assert vertex_visibility(joined, [_camera(0.0, 0.0, 5.0)])[len(near.vertices) + middle].max() == 0


def test_vertices_outside_the_image_are_not_visible() -> None:
    mesh = _ball()
    found = vertex_visibility(mesh, [_camera(0.0, 0.0, 5.0, focal=1000.0)])
    spot = 1000.0 * mesh.vertices[:, :2] / (5.0 - mesh.vertices[:, 2:])
    outside = (np.abs(spot) > 51).any(1)
    assert found[outside].max() == 0
    assert found[(np.abs(spot) < 49).all(1) & (mesh.vertices[:, 2] > 0)].min() > 0.9


def test_ply_files_keep_the_visibility(tmp_path: Path) -> None:
    mesh = replace(_ball(), visibility=np.linspace(0, 1, 2562))
    mesh.save(tmp_path / "ball.ply")
    kept = Mesh.load(tmp_path / "ball.ply").visibility
    assert kept is not None
    assert mesh.visibility is not None
    np.testing.assert_allclose(kept, mesh.visibility, atol=1e-6)
    mesh.save(tmp_path / "ball.obj")
    assert Mesh.load(tmp_path / "ball.obj").visibility is None
