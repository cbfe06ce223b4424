"""Surface that no camera sees, on shapes where that is known."""

from __future__ import annotations

import pytest
import torch

from protome.field.analytic import field_of, sphere
from protome.fit.unseen import AWAY, unseen_points

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
FRONT = torch.tensor([[0.0, 0.0, 5.0]])


def test_unseen_points_lie_on_the_surface_and_face_away() -> None:
    found = unseen_points(field_of(sphere((0, 0, 0), 0.5)), BOUNDS, FRONT, torch.Generator().manual_seed(0), 2000)
    assert len(found.points) > 200
    torch.testing.assert_close(found.points.norm(dim=1), torch.full((len(found.points),), 0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.normals, found.points / 0.5, atol=5e-3, rtol=0)
    # A camera in front: what faces away lies behind, and all of the far pole's surroundings are among it.
    away = torch.nn.functional.normalize(found.points - FRONT, dim=1)
    assert float((found.normals * away).sum(1).min()) > AWAY
    assert float(found.points[:, 2].max()) < -0.5 * AWAY + 0.06
    assert float(found.points[:, 2].min()) < -0.49


def test_cameras_all_around_leave_nothing_unseen() -> None:
    around = 5.0 * torch.cat([torch.eye(3), -torch.eye(3)])
    found = unseen_points(field_of(sphere((0, 0, 0), 0.5)), BOUNDS, around, torch.Generator().manual_seed(0), 2000)
    assert len(found.points) == 0
    assert float(found.draw(10, torch.Generator()).change(field_of(sphere((0, 0, 0), 0.3)), 1.0, 1.0)) == 0


def test_change_is_the_shift_of_the_surface_and_of_its_colour() -> None:
    def coloured(radius: float, value: float):
        return field_of(sphere((0, 0, 0), radius), lambda points, normals, views, features: value + 0 * points)

    generator = torch.Generator().manual_seed(0)
    found = unseen_points(coloured(0.5, 0.2), BOUNDS, FRONT, generator, 2000).draw(300, generator)
    assert float(found.change(coloured(0.5, 0.2), 1.0, 1.0).detach()) < 1e-3
    assert float(found.change(coloured(0.55, 0.2), 2.0, 1.0).detach()) == pytest.approx(2.0 * 0.05, abs=1e-3)
    # Three channels, each 0.1 off.
    assert float(found.change(coloured(0.5, 0.3), 0.0, 0.5).detach()) == pytest.approx(0.5 * 0.3, abs=1e-4)
