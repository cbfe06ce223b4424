"""What several photos allow to be the person: contradicted pixels and bodies of other photos are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from painted import BOUNDS, bust, camera, painted
from protome.encoder.encoder import LatentEstimate
from protome.fit.support import supported, with_one_body
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.prior.prior import Prior
from protome.scene import Scene, View
from protome.units import UNIT_MM

INNER = Similarity.scaling(1 / UNIT_MM)
INNER_BOUNDS = BOUNDS / UNIT_MM
AZIMUTHS = (0.0, 70.0, -70.0, 30.0)


@pytest.fixture(scope="module")
def views() -> tuple[View, ...]:
    return painted(AZIMUTHS, resolution=70).views


def mean(points: Tensor) -> Tensor:
    return bust(points * UNIT_MM) / UNIT_MM


def _with_mask(view: View, mask: Tensor) -> View:
    return replace(view, mask=mask)


def test_true_silhouettes_support_each_other(views: tuple[View, ...]) -> None:
    found = supported(Scene(views, INNER), INNER_BOUNDS, mean)
    assert all(view.front is None for view in found.views)


def test_what_the_other_masks_contradict_is_left_out(views: tuple[View, ...]) -> None:
    mask = views[1].mask.clone()
    # Floor before the chin in the view from the side, which the view from the front shows behind the head.
    row, column = torch.meshgrid(torch.arange(360), torch.arange(360), indexing="ij")
    spot = camera(70.0).project(torch.tensor([[0.0, -120.0, 90.0]]).double())[0]
    floor = ((column - spot[0]).abs() < 30) & ((row - spot[1]).abs() < 18) & (mask < 0.5)
    far = floor & ((column - spot[0]) < 20)
    wrong = (views[0], _with_mask(views[1], torch.where(floor, 1.0, mask)), *views[2:])
    # Within the borders of all photos, beyond which anything may be.
    seen = torch.tensor([[-140.0, -150.0, -180.0], [140.0, 150.0, 130.0]]) / UNIT_MM
    found = supported(Scene(wrong, INNER), seen, mean).views
    for view in (found[0], *found[2:]):
        assert view.front is None or float(view.front[view.mask > 0.5].mean()) < 0.02
    front = found[1].front
    assert front is not None
    assert float(front[far].mean()) > 0.8
    assert float(front[mask > 0.5].mean()) < 0.002


def test_below_the_mouth_one_mask_is_enough_to_contradict(
    views: tuple[View, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to the chin a single mask shows that nothing is there; higher up it might only miss an ear or hair."""
    mask = views[1].mask
    row, column = torch.meshgrid(torch.arange(360), torch.arange(360), indexing="ij")
    spot = camera(70.0).project(torch.tensor([[0.0, -80.0, 20.0]]).double())[0]
    floor = ((column - spot[0]).abs() < 8) & ((row - spot[1]).abs() < 8)
    assert not mask[floor].any()
    wrong = (views[0], _with_mask(views[1], torch.where(floor, 1.0, mask)), *views[2:])
    seen = torch.tensor([[-140.0, -150.0, -180.0], [140.0, 150.0, 130.0]]) / UNIT_MM

    def hidden() -> float:
        front = supported(Scene(wrong, INNER), seen, mean).views[1].front
        return 0.0 if front is None else float(front[floor].mean())

    assert hidden() > 0.8
    monkeypatch.setattr("protome.fit.support.MOUTH_MM", -200.0)
    assert hidden() < 0.2


def test_a_mask_without_the_ears_leaves_them_in_the_other_photos(views: tuple[View, ...]) -> None:
    narrow = views[0].mask.clone()
    narrow[:150, : 180 - 28] = 0.0
    narrow[:150, 180 + 28 :] = 0.0  # about 12 mm of each side of the skull
    found = supported(Scene((_with_mask(views[0], narrow), *views[1:]), INNER), INNER_BOUNDS, mean).views
    for view in found[1:]:
        assert view.front is None or float(view.front[view.mask > 0.5].mean()) < 0.01


def test_wrong_cameras_take_no_masks_away(views: tuple[View, ...]) -> None:
    turned = Similarity(
        rotation_from_vector(torch.tensor([0.0, 0.0, 1.2])), torch.tensor([150.0, 100.0, 0.0]), torch.tensor(1.0)
    ).to(torch.float64)
    wrong = replace(views[1], camera=views[1].camera.transformed(turned))
    found = supported(Scene((views[0], wrong, views[2]), INNER), INNER_BOUNDS, mean).views
    person = found[1].mask > 0.5
    front = found[1].front
    assert front is None or float(front[person].mean()) < 0.31


def test_two_photos_or_photos_without_a_common_frame_stay_as_they_are(views: tuple[View, ...]) -> None:
    for scene in (Scene(views[:2], INNER), Scene(views, INNER, posed=False)):
        assert supported(scene, INNER_BOUNDS, mean) is scene


def test_of_photos_without_a_common_frame_one_shows_the_body(views: tuple[View, ...]) -> None:
    scene = Scene(views[:2], INNER, posed=False)
    first, second = with_one_body(scene, None, shown=0).views
    assert first.front is None
    front = second.front
    assert front is not None
    places = torch.tensor([[0.0, -120.0, -10.0], [0.0, 0.0, 0.0], [0.0, -175.0, -60.0], [120.0, -230.0, -60.0]])
    x, y = camera(70.0).project(places.double()).floor().long().T
    assert front[y, x].tolist() == [0, 0, 1, 1]


def test_the_body_is_where_the_estimate_places_it(views: tuple[View, ...]) -> None:
    scene = Scene(views[:2], INNER, posed=False)
    lower = Similarity(torch.eye(3), torch.tensor([0.0, 0.5, 0.0]), torch.tensor(1.0)).to(torch.float64)
    estimate = LatentEstimate.of_prior(Prior.load(), scene)
    moved = with_one_body(scene, replace(estimate, corrections=(lower, lower)), shown=0).views[1].front
    still = with_one_body(scene, estimate, shown=0).views[1].front
    assert moved is not None
    assert still is not None
    # Half a unit lower in the world is as much lower in the picture.
    lines = [int(np.argmax(front[:, 180].numpy())) for front in (still, moved)]
    assert lines[1] - lines[0] == pytest.approx(0.5 * UNIT_MM * 2.2 * 360 / 900, rel=0.1)


def test_posed_photos_show_one_body(views: tuple[View, ...]) -> None:
    scene = Scene(views, INNER)
    assert with_one_body(scene, None, shown=0) is scene
