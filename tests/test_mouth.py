"""Open lips: the membrane between them, what a fit takes from it, and heads that carry it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from heads import PRIOR
from protome.errors import InputError
from protome.field.analytic import box, field_of, sphere
from protome.field.field import SdfFn
from protome.fit.mouth import INNER_LIPS, between_lips, with_membrane
from protome.fit.rays import pixel_table
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_surface, zero_level
from protome.meshing.solid import genus
from protome.prior.membrane import Membrane
from protome.prior.prior import FittedHead, Prior, load_fitted, save_head
from protome.scene import Scene, View

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 0.7]])
MIDDLE = torch.tensor([0.0, -0.3, 0.0])
WIDE, TALL = 0.125, 0.04
"""Half axes of the opening: 5 cm wide, 16 mm high."""


def camera(turned: float = 0.0) -> Camera:
    away = torch.tensor([np.sin(turned), 0.0, np.cos(turned)], dtype=torch.float32)
    return Camera.look_at(2.5 * away, MIDDLE, 1500.0, 400, 300)


def landmarks(seen: Camera, tall: float = TALL) -> Tensor:
    """The inner lips on an ellipse in the plane of the face, in the order of MediaPipe."""
    angle = torch.pi - torch.arange(20) * (2 * torch.pi / 20)
    rim = MIDDLE + torch.stack([WIDE * torch.cos(angle), tall * torch.sin(angle), torch.zeros(20)], 1)
    found = seen.project(MIDDLE[None]).expand(478, 2).clone()
    found[list(INNER_LIPS)] = seen.project(rim)
    return found


def flat(points: Tensor) -> Tensor:
    """A face as flat as a wall, at z = 0."""
    return box((0.0, 0.0, -0.4), (0.9, 0.9, 0.4))(points)


def folded(points: Tensor) -> Tensor:
    """The same with a lip that hangs 4 mm before the opening, and a tunnel behind it that is open at both ends."""
    lip = box((0.0, -0.285, 0.01), (0.06, 0.018, 0.01))
    bend = ((-0.05, 0.02), (-0.05, -0.01), (-0.025, -0.03), (0.0, -0.03), (0.025, -0.03), (0.05, -0.01), (0.05, 0.02))
    tunnel = torch.stack([sphere((x, -0.3, z), 0.02)(points) for x, z in bend])
    return torch.maximum(torch.minimum(flat(points), lip(points)), -tunnel.amin(0))


def membrane(sdf: SdfFn = folded) -> Membrane:
    found = between_lips(sdf, BOUNDS, camera(), landmarks(camera()))
    assert found is not None
    return found


def test_between_open_lips_lies_a_film_behind_their_rim() -> None:
    closed = membrane().over(field_of(folded))
    # The film lies two fifths of the opening's mean height behind the face: its area (of 20 corners) by its width.
    deepest = -0.4 * 20 / 2 * np.sin(2 * np.pi / 20) * TALL / 2
    depth = torch.linspace(-0.06, 0.06, 401)
    for x in (-0.05, 0.0, 0.05):
        along = torch.stack([torch.full_like(depth, x), torch.full_like(depth, -0.3), depth], 1)
        inside = closed.sdf(along) < 0
        assert int(inside.long().diff().abs().sum()) == 1  # neither the lip nor the tunnel is left
        assert float(depth[inside].max()) == pytest.approx(deepest, abs=1.2e-3)


def test_tunnels_between_lips_are_closed() -> None:
    before = zero_level(folded, BOUNDS, 120)
    after = extract_surface(membrane().over(field_of(folded)).sdf, BOUNDS, 120)
    assert genus(before.faces) == 1
    assert genus(after.faces) == 0


def test_away_from_the_lips_the_field_is_as_it_was() -> None:
    closed, own = membrane().over(field_of(folded)), field_of(folded)
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    away = ((points[:, :2] - MIDDLE[:2]).abs() > torch.tensor([WIDE + 0.02, TALL + 0.02])).any(1)
    away |= points[:, 2] < -0.22
    assert int(away.sum()) > 3000
    assert torch.equal(closed.sdf(points[away]), own.sdf(points[away]))
    torch.testing.assert_close(closed.surface(points[away]).gradient, own.surface(points[away]).gradient)


def test_gradients_are_those_of_the_distances() -> None:
    def smooth(points: Tensor) -> Tensor:
        return points[:, 2] - 0.015 * torch.sin(16 * points[:, 0]) + 0.1 * points[:, 1]

    closed = membrane(smooth).over(field_of(smooth))
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([2.2 * WIDE, 2.4 * TALL, 0.08])
    points = (MIDDLE + (torch.rand(3000, 3, generator=generator) - 0.5) * spread).double()
    found = closed.surface(points.float()).gradient.double()
    step = 2e-4
    for axis in range(3):
        shift = torch.zeros(3).double()
        shift[axis] = step
        ahead, back = (closed.sdf((points + sign * shift).float()).double() for sign in (1, -1))
        error = ((ahead - back) / (2 * step) - found[:, axis]).abs().detach()
        # The maps are bilinear: across their cells' borders slopes jump a little.
        assert float(error.median()) < 5e-3
        assert float(error.quantile(0.95)) < 0.08


def test_closed_lips_stay_as_they_are() -> None:
    assert between_lips(flat, BOUNDS, camera(), landmarks(camera(), tall=0.005)) is None


def test_a_photo_from_the_front_says_what_is_between_the_lips(head: FittedHead) -> None:
    side, front = camera(1.3), camera()
    views = [_view(landmarks(own), own) for own in (side, front)]
    assert with_membrane(head, views[:1], [side]) is head
    assert with_membrane(head, [replace(views[1], landmarks=None)], [front]).membrane is None


def _view(marks: Tensor, seen: Camera) -> View:
    return View("a.png", torch.rand(300, 400, 3), torch.ones(300, 400), seen, marks)


def test_the_shape_does_not_explain_what_is_between_the_lips() -> None:
    scene = Scene((_view(landmarks(camera()), camera()),), Similarity.identity()).in_head_frame()
    table = pixel_table(scene, BOUNDS, 400)
    # Rays meet the plane of the face inside the ellipse, or they do not.
    depth = -table.rays.origins[:, 2] / table.rays.directions[:, 2]
    at = (table.rays.at(depth) - MIDDLE)[:, :2] / torch.tensor([WIDE, TALL])
    radius = at.norm(dim=1)
    assert int((radius < 0.9).sum()) > 500
    assert bool(table.between_lips[radius < 0.9].all())
    assert not bool(table.between_lips[radius > 1.01].any())
    assert not bool(pixel_table(scene, BOUNDS, 400, weighed=False).between_lips.any())  # as published


@pytest.fixture(scope="module")
def head() -> FittedHead:
    prior = Prior.load(PRIOR)
    return FittedHead(prior.field, prior.sample(torch.Generator().manual_seed(1)), prior.bounds)


def test_a_head_keeps_its_membrane_until_it_is_neutral(head: FittedHead, tmp_path: Path) -> None:
    with_one = replace(head, membrane=membrane())
    save_head(tmp_path / "field.safetensors", with_one, [torch.eye(4)])
    back = load_fitted(tmp_path / "field.safetensors")
    points = MIDDLE + 0.05 * torch.randn(200, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(back.bind().sdf(points), with_one.bind().sdf(points))
    assert not torch.equal(with_one.bind().sdf(points), head.bind().sdf(points))
    assert torch.equal(with_one.neutral().bind().sdf(points), head.neutral().bind().sdf(points))


@pytest.mark.parametrize(
    ("key", "value"),
    [("membrane_inside", torch.zeros(3, 4)), ("membrane_K", torch.eye(2)), ("membrane_pose", None)],
)
def test_a_damaged_membrane_is_named(head: FittedHead, tmp_path: Path, key: str, value: Tensor | None) -> None:
    class Damaged(Membrane):
        def tensors(self) -> dict[str, Tensor]:
            own = super().tensors() | ({} if value is None else {key: value})
            return {name: tensor for name, tensor in own.items() if name != key or value is not None}

    whole = membrane()
    damaged = Damaged(whole.camera, whole.depth, whole.inside)
    path = tmp_path / "field.safetensors"
    save_head(path, replace(head, membrane=damaged), [torch.eye(4)])
    with pytest.raises(InputError, match=r"field\.safetensors"):
        load_fitted(path)
