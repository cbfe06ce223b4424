"""Hair and clothes that no photo shows: their colour follows the seen ones', skin and seen places keep theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from protome.asset.smooth import spanned
from protome.asset.unseen import continued
from protome.geometry.mesh import Mesh

SKIN, HAIR, BACK = (0.8, 0.6, 0.5), (0.1, 0.1, 0.12), (0.4, 0.25, 0.12)


def ball() -> tuple[Mesh, np.ndarray, np.ndarray, np.ndarray]:
    """Return a head-sized ball whose front a photo shows, its photo's colours and weights, and which vertices are hair.

    Its face is skin, the rest hair; the mesh's own hair is brown behind where the photo's is black.
    """
    sphere = trimesh.creation.icosphere(5, 100.0)
    points = sphere.vertices * [0.8, 1.0, 1.0] + [0, 0, -90.0]
    face = (np.abs(points[:, 0]) < 55) & (points[:, 1] < 40) & (points[:, 2] > -60)
    true = np.where(face[:, None], SKIN, HAIR)
    shown = points[:, 2] > -100
    own = np.where(face[:, None], SKIN, np.where(shown[:, None], HAIR, BACK))
    mesh = Mesh(points, np.asarray(sphere.faces), own.astype(float), sphere.vertices / 100.0)
    return mesh, true[:, None].astype(float), shown[:, None].astype(float), ~face


def test_the_back_of_black_hair_is_black() -> None:
    mesh, photo, weights, hair = ball()
    colours = continued(mesh, photo, weights)
    assert mesh.colours is not None
    behind = hair & (mesh.vertices[:, 2] < -150) & (mesh.vertices[:, 1] > -80)
    assert np.abs(mesh.colours[behind] - HAIR).mean() > 0.1
    np.testing.assert_allclose(np.median(colours[behind], axis=0), HAIR, atol=0.02)
    np.testing.assert_allclose(colours[~hair], np.broadcast_to(SKIN, colours[~hair].shape), atol=0.03)


@pytest.mark.parametrize("missing", ["nothing unseen", "no hair seen"])
def test_without_two_colours_nothing_is_changed(missing: str) -> None:
    mesh, photo, weights, hair = ball()
    weights = np.ones_like(weights) if missing == "nothing unseen" else np.where(hair[:, None], 0.0, weights)
    assert (continued(mesh, photo, weights) == mesh.colours).all()


@pytest.mark.parametrize("bare", [False, True])
def test_clothes_are_continued_unless_the_shoulders_are_bare(bare: bool) -> None:
    mesh, photo, weights, _ = ball()
    points = mesh.vertices * [1.0, 2.0, 1.0]  # it reaches far below the neck now
    torso, unseen = points[:, 1] < -105, weights[:, 0] == 0
    skin = torso & bare & (points[:, 0] > -20)
    assert mesh.colours is not None
    photo[torso, 0], mesh.colours[torso] = (0.2, 0.3, 0.8), (0.1, 0.15, 0.4)  # a shirt that the renderer has too dark
    mesh.colours[skin & unseen] = SKIN
    colours = continued(replace(mesh, vertices=points), photo, weights)
    behind = torso & ~skin & (points[:, 2] < -150) & (points[:, 1] < -130)
    wanted = (0.1, 0.15, 0.4) if bare else (0.2, 0.3, 0.8)
    np.testing.assert_allclose(np.median(colours[behind], axis=0), wanted, atol=0.05)


def test_arms_that_no_photo_shows_continue_the_shoulders() -> None:
    mesh, photo, weights, _ = ball()
    points = mesh.vertices * [2.9, 4.0, 1.0]  # a body's size
    sleeve, end = np.array([0.2, 0.3, 0.8]), (np.abs(points[:, 0]) > 170) & (points[:, 1] < -205)
    unseen = weights[:, 0] == 0
    photo[:, 0] = sleeve
    mesh.colours[:] = np.where((end & unseen)[:, None], (0.9, 0.5, 0.2), sleeve)  # type: ignore[index]
    colours = continued(replace(mesh, vertices=points), photo, weights)
    assert int((end & unseen).sum()) > 50
    np.testing.assert_allclose(
        colours[end & unseen], np.broadcast_to(sleeve, (int((end & unseen).sum()), 3)), atol=0.01
    )


def test_a_harmonic_function_is_linear_on_a_strip() -> None:
    strip = trimesh.creation.box((4.0, 1.0, 0.2)).subdivide().subdivide().subdivide()
    mesh = Mesh(np.asarray(strip.vertices), np.asarray(strip.faces))
    x = mesh.vertices[:, 0]
    free = np.abs(x) < 1.5
    found = spanned(mesh, np.where(free, 7.0, x)[:, None], free)
    np.testing.assert_allclose(found[:, 0], x, atol=1e-3)
