"""Every method is fitted: what it moves, what it leaves, and that knowing heads is worth more than knowing nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from heads import Person, draw_person, photograph, some_world
from protome.field.field import Field
from protome.fit.config import FIT_PRESETS, FitConfig, Schedule
from protome.fit.methods import METHODS, method, untrained_prior
from protome.fit.reconstruct import FitResult, fit_head
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_mesh
from protome.render.render import render
from protome.scene import Scene

BRIEF = FitConfig(size=48, rays=96, schedule=Schedule({1: 6}, {1: 24}, colours=0))
ONE_PHOTO = replace(BRIEF, rays=128, schedule=Schedule({1: 60}, {1: 0}, colours=0))
NETWORK = {"reference", "renderer"}
DEFORMED = {"deformation", "renderer"}
MOVED = {
    "idr": NETWORK,
    "idr-one-head": NETWORK,
    "h3d-net-latents": {"renderer"},
    "h3d-net": NETWORK,
    "h3d-net-pm": NETWORK,
    "deform": DEFORMED,
    "sira-short": DEFORMED,
    "sira": DEFORMED,
    "sira++-paper": DEFORMED,
    "sira++": DEFORMED,
    "protome": DEFORMED,
}
"""Networks that a method's fit moves; the others keep their weights."""


@cache
def person() -> Person:
    return draw_person(seed=4, resolution=80)


@cache
def other() -> Person:
    return draw_person(seed=6, resolution=80)


@cache
def scene() -> Scene:
    return photograph(person(), (0.0, 40.0), 64, some_world())


@cache
def fitted(name: str) -> FitResult:
    chosen = method(name)
    return fit_head(scene(), chosen.prior(), chosen.settings(BRIEF), seed=1, quiet=True)


def picture_error(field: Field, head_from_world: Similarity) -> float:
    """Return the mean colour difference between the first photo and the head rendered there, both before white."""
    view = scene().views[0].transformed(head_from_world).resized(32)
    seen = render(field, view.camera, person().prior.bounds)
    photo = torch.where(view.mask[..., None] > 0.5, view.image, 1.0)
    return float((seen.colour - photo).abs().mean())


def test_every_method_is_in_the_table() -> None:
    assert set(MOVED) == set(METHODS)


@pytest.mark.parametrize("name", MOVED)
def test_a_method_fits_its_networks_and_no_others_and_reduces_the_colour_error(name: str) -> None:
    prior, fit = method(name).prior(), fitted(name)
    before, after = prior.field.state_dict(), fit.head.field.state_dict()
    changed = {
        key.split(".")[0]
        for key, value in before.items()
        if value.shape == after[key].shape and not torch.equal(value, after[key])
    }
    assert changed == MOVED[name]
    knows_nobody = name.startswith("idr")
    assert torch.equal(fit.head.latents.z_shape, prior.shape.mean) == knows_nobody
    assert fit.cameras is None
    start = picture_error(prior.bind(prior.mean()), scene().head_from_world)
    assert picture_error(fit.head.bind(), fit.head_from_world[0]) < 0.85 * start


def one_photo_error_mm(name: str, seed: int) -> float:
    """Return the face's error after a fit to one photo of another person from the front."""
    front = photograph(other(), (0.0,), 64, some_world())
    chosen = method(name)
    fit = fit_head(front, chosen.prior(), chosen.settings(ONE_PHOTO), seed=seed, quiet=True)
    return other().aligned_face_error_mm(extract_mesh(fit.head.bind(), fit.head.bounds, 96))


def test_idrs_published_networks_can_be_built() -> None:
    field = untrained_prior(width=512).field
    distance, colour = field.reference, field.renderer
    assert field.deformation is None
    assert [layer.weight.shape for layer in (distance.first, distance.last)] == [(512, 39), (257, 512)]
    assert len(distance.hidden) == 7
    assert [layer.weight.shape for layer in (colour.first, colour.last)] == [(512, 3 + 3 + 27 + 256), (3, 512)]
    assert distance.gains is not None
    assert method("idr").prior().field.config.reference_width == 128


def test_the_papers_sira_plus_plus_keeps_cameras_pose_and_exposure_fixed() -> None:
    fit = fitted("sira++-paper")
    assert set(fit.curves) == {"colour", "mask", "eikonal"}
    # 6 + 24 steps as one run, of which the latents have a twentieth; gradients count from the first step on.
    assert {len(curve) for curve in fit.curves.values()} == {30}
    assert fit.gains is None
    torch.testing.assert_close(fit.head_from_world[0].matrix(), scene().head_from_world.matrix())
    assert fit.head.field.config == method("sira++-paper").prior().field.config
    # Adam moves no number by more than its rate a step, and the start is within a few deviations of 0.01.
    assert 0.01 < float(fit.head.latents.z_shape.abs().max()) < 0.045 + 30 * 1e-4


def test_sira_plus_plus_by_the_letter_has_the_papers_shares_and_our_time() -> None:
    for preset in FIT_PRESETS.values():
        ours, theirs = preset.schedule, method("sira++-paper").settings(preset).schedule
        for views in (1, 2, 3, 5, 8, 32):
            total = ours.latent_steps(views) + ours.network_steps(views) + ours.colours / 8
            assert theirs.latent_steps(views) == pytest.approx(0.05 * total, abs=1)
            assert theirs.latent_steps(views) + theirs.network_steps(views) == pytest.approx(total, abs=1.5)
        assert theirs.colours == 0


def test_cameras_of_two_and_more_posed_photos_are_refined_by_ours_alone() -> None:
    one = replace(scene(), views=scene().views[:1])
    unposed = replace(scene(), posed=False)
    assert [method("protome").refine_cameras(own) for own in (one, scene(), unposed)] == [False, True, False]
    assert not any(method(name).refine_cameras(scene()) for name in METHODS if name != "protome")


def test_with_one_photo_a_prior_beats_the_mean_head_which_beats_no_prior() -> None:
    prior = other().prior
    mean = other().aligned_face_error_mm(extract_mesh(prior.bind(prior.mean()), prior.bounds, 96))
    assert one_photo_error_mm("sira++", 0) < 0.95 * mean
    assert one_photo_error_mm("idr", 0) > 1.4 * mean
