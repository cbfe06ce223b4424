"""A synthetic head recovered from its own renders."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from heads import Person, draw_person, photograph, some_world
from protome.encoder.encoder import LatentEstimate
from protome.fit import reconstruct
from protome.fit.clock import Budget
from protome.fit.config import FitConfig, Rates, Schedule, by_views
from protome.fit.methods import method
from protome.fit.reconstruct import FitResult, fit_head, padded_bounds
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.meshing.extract import extract_mesh, zero_level
from protome.prior.prior import FittedHead
from protome.render.render import render
from protome.scene import Scene
from protome.units import UNIT_MM

ONE = torch.tensor(1.0)
QUICK = FitConfig(size=96, rays=320, schedule=Schedule({1: 160}, {1: 0}, colours=0))


def quick(latents: int, steps: int, colours: int = 0) -> FitConfig:
    """Return quick settings with other numbers of steps."""
    return replace(QUICK, schedule=Schedule({1: latents}, {1: steps}, colours))


@pytest.fixture(scope="module")
def person() -> Person:
    # A likely person: a few hundred steps on small pictures do not reach the far ends of all 192 axes.
    return draw_person(seed=1, temperature=0.6)


@pytest.fixture(scope="module")
def scene(person: Person) -> Scene:
    return photograph(person, (0.0, 50.0, -50.0), 96, some_world())


@pytest.fixture(scope="module")
def fitted(person: Person, scene: Scene) -> FitResult:
    return fit_head(scene, person.prior, QUICK, seed=1, quiet=True)


def _errors_mm(person: Person, result: FitResult) -> tuple[float, float]:
    """Mean face error of the fit and of the mean head."""
    prior = person.prior
    fit = extract_mesh(result.head.bind(), prior.bounds, 128)
    mean = extract_mesh(prior.bind(prior.mean()), prior.bounds, 128)
    # The fit may also have moved the frame a little: put its mesh where its own head_from_world says it is.
    back = some_world().inverse().compose(result.head_from_world[0].inverse())
    return person.face_error_mm(fit.transformed(back)), person.face_error_mm(mean)


def test_latents_recover_a_head_from_its_own_renders(person: Person, fitted: FitResult) -> None:
    fit, mean = _errors_mm(person, fitted)
    # Distances are to vertices of 4 mm cells, which sample the surface sparsely: small errors are overestimated.
    assert fit < 0.5 * mean
    assert fit < 0.85


def test_arms_end_where_their_surface_ends_and_not_with_the_priors_volume(person: Person, fitted: FitResult) -> None:
    prior, far = person.prior, torch.tensor([0.5, 0.0, 0.5])
    assert torch.equal(fitted.head.bounds, padded_bounds(prior.bounds))
    assert torch.equal(fitted.head.bounds[:, 1], prior.bounds[:, 1])  # below, a bust is cut where it was
    more = torch.stack([fitted.head.bounds[0] - far, fitted.head.bounds[1] + far])
    mean = prior.bind(prior.mean())

    def wide(points: torch.Tensor) -> torch.Tensor:
        """A head a tenth larger than the mean."""
        return 1.1 * mean.sdf(points / 1.1)

    whole, kept, cut = (
        np.ptp(zero_level(wide, bounds, cells).vertices[:, [0, 2]], axis=0)
        for bounds, cells in ((more, 144), (fitted.head.bounds, 108), (prior.bounds, 94))
    )
    np.testing.assert_allclose(kept, whole, atol=1 / UNIT_MM)
    assert cut[0] < whole[0] - 10 / UNIT_MM


def test_every_loss_term_is_recorded_and_the_picture_gets_closer(fitted: FitResult) -> None:
    assert set(fitted.curves) == {"colour", "mask", "latent", "light"}
    assert {len(curve) for curve in fitted.curves.values()} == {QUICK.schedule.latent_steps(3)}
    colour = fitted.curves["colour"]
    assert sum(colour[-10:]) < 0.4 * sum(colour[:10])


def test_a_wrong_placement_is_corrected(person: Person, scene: Scene, fitted: FitResult) -> None:
    moved = Similarity(
        rotation_from_vector(torch.tensor([0.0, 0.05, 0.02])), torch.tensor([0.02, -0.015, 0.0]), torch.tensor(1.0)
    )
    wrong = replace(scene, head_from_world=moved.compose(scene.head_from_world))
    short = quick(90, 0)
    result = fit_head(wrong, person.prior, short, seed=1, quiet=True)
    truth, found = scene.head_from_world, result.head_from_world[0]

    def gap(placed: Similarity) -> float:
        face = torch.tensor([[0.0, -0.2, 0.15], [0.15, 0.0, 0.0], [-0.15, 0.0, 0.0], [0.0, -0.5, 0.0]])
        return float((placed.compose(truth.inverse()).apply(face) - face).norm(dim=1).mean())

    assert gap(found) < 0.5 * gap(wrong.head_from_world)


def test_photos_with_frames_of_their_own_keep_the_cameras_that_an_estimate_gave_them(
    person: Person, scene: Scene
) -> None:
    head = scene.head_from_world
    moves = [
        Similarity(rotation_from_vector(torch.tensor([0.1, 0.05 * k, 0.0])), torch.tensor([0.1, -0.1 * k, 0.0]), ONE)
        for k in range(3)
    ]
    apart = [
        replace(view, camera=view.camera.transformed(head.inverse().compose(move.inverse()).compose(head)))
        for view, move in zip(scene.views, moves, strict=True)
    ]
    wrong = replace(scene, views=tuple(apart), posed=False)
    estimate = replace(
        LatentEstimate.of_prior(person.prior, wrong), corrections=tuple(m.to(torch.float64) for m in moves)
    )
    still = replace(quick(1, 0), rates=Rates(placement=0.0))
    result = fit_head(wrong, person.prior, still, estimate=estimate, seed=1, quiet=True)
    for view, own, place in zip(scene.views, apart, result.head_from_world, strict=True):
        found, true = own.camera.transformed(place), view.camera.transformed(head)
        assert torch.allclose(found.T_world_camera, true.T_world_camera, atol=1e-4)


def test_the_same_seed_gives_the_same_head_and_another_seed_another(person: Person, scene: Scene) -> None:
    short = quick(4, 4)
    first, again, other = (fit_head(scene, person.prior, short, seed=seed, quiet=True) for seed in (1, 1, 2))
    assert torch.equal(first.head.latents.z_shape, again.head.latents.z_shape)
    assert first.curves == again.curves
    assert not torch.equal(first.head.latents.z_shape, other.head.latents.z_shape)


def test_a_fit_leaves_the_callers_random_state_as_it_was(person: Person, scene: Scene) -> None:
    before = torch.get_rng_state()
    for name in ("protome", "idr"):
        chosen = method(name)
        fit_head(scene, chosen.prior(), chosen.settings(quick(1, 1, 1)), seed=3, quiet=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_second_phase_fits_deformation_and_renderer_but_not_the_reference(person: Person, scene: Scene) -> None:
    short = quick(2, 3)
    result = fit_head(scene, person.prior, short, seed=1, quiet=True)
    assert len(result.curves["eikonal"]) == 3  # distances can only go wrong while the networks move
    before, after = person.prior.field.state_dict(), result.head.field.state_dict()
    for name, value in before.items():
        if name.startswith(("reference.", "centre")):
            assert torch.equal(value, after[name]), name
    moved = [name for name, value in before.items() if value.shape == after[name].shape
             and not torch.equal(value, after[name])]  # fmt: skip
    assert any(name.startswith("deformation.") for name in moved)
    assert any(name.startswith("renderer.") for name in moved)


def test_a_method_of_latents_only_keeps_the_weights_of_the_shape(person: Person, scene: Scene) -> None:
    short = method("h3d-net-latents").settings(quick(2, 3))
    result = fit_head(scene, person.prior, short, seed=1, quiet=True)
    before, after = person.prior.field.shape_network.state_dict(), result.head.field.shape_network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not torch.equal(result.head.latents.z_shape, person.prior.mean().z_shape)
    assert not torch.equal(person.prior.field.renderer.last.weight, result.head.field.renderer.last.weight)


def test_added_colour_frequencies_change_nothing_initially(person: Person) -> None:
    finer = person.prior.field.with_finer_colour(9)
    generator = torch.Generator().manual_seed(0)
    points, normals, views = (torch.randn(1, 50, 3, generator=generator) for _ in range(3))
    feature = torch.randn(1, 50, finer.config.feature, generator=generator)
    shape, appearance = person.latents.z_shape[None], person.latents.z_appearance[None]
    old = person.prior.field.colour(points, normals, views, feature, appearance)
    torch.testing.assert_close(finer.colour(points, normals, views, feature, appearance), old)
    assert torch.equal(finer.sdf(points, shape), person.prior.field.sdf(points, shape))


def test_the_last_phase_fits_only_the_renderer_and_reduces_the_colour_loss(person: Person, scene: Scene) -> None:
    without = fit_head(scene, person.prior, quick(30, 0), seed=1, quiet=True)
    result = fit_head(scene, person.prior, quick(30, 0, 60), seed=1, quiet=True)
    before, after = without.head.field.state_dict(), result.head.field.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"renderer"}
    assert torch.equal(without.head.latents.z_shape, result.head.latents.z_shape)
    curve = result.curves["colour alone"]
    assert len(curve) == 60
    assert sum(curve[-10:]) < 0.7 * sum(curve[:10])


def test_more_photos_get_more_steps() -> None:
    schedule = Schedule({1: 20}, {1: 100, 3: 450, 8: 1000, 32: 4000})
    wanted = {1: 100, 2: 275, 3: 450, 4: 560, 8: 1000, 16: 2000, 32: 4000, 40: 4000}
    assert {views: schedule.network_steps(views) for views in wanted} == wanted
    assert {schedule.latent_steps(views) for views in wanted} == {20}


def test_more_photos_let_the_deformation_learn_faster() -> None:
    rates = Rates(deformation={1: 1e-4, 3: 3e-4})
    assert [by_views(rates.deformation, views) for views in (1, 2, 3, 32)] == pytest.approx([1e-4, 2e-4, 3e-4, 3e-4])


def test_hidden_colours_are_kept_while_visible_ones_are_fitted(person: Person) -> None:
    front = photograph(person, (0.0,), 96, some_world())
    moved = {}
    for side, sign in (("front", 1.0), ("back", -1.0)):
        points = person.mesh.vertices[sign * person.mesh.normals[:, 2] > 0.8]  # type: ignore[index]
        moved[side] = torch.from_numpy(points).float()
    before, after = (
        fit_head(front, person.prior, quick(0, 0, steps), seed=1, quiet=True).head.bind() for steps in (0, 120)
    )
    change = {}
    for side, points in moved.items():
        with torch.no_grad():
            at = before.surface(points)
            colours = [field.colour(points, at.normals, -at.normals, at.feature) for field in (before, after)]
        change[side] = float((colours[0] - colours[1]).abs().mean())
    assert change["front"] > 0.03
    assert change["back"] < 0.4 * change["front"], change


def test_gains_of_photos_with_unequal_exposure_are_found(person: Person, scene: Scene) -> None:
    gains = torch.tensor([[1.15, 1.1, 1.0], [0.9, 0.92, 1.05], [1.0, 1.0, 1.0]])
    gains = gains / gains.log().mean(0).exp()
    # Dimmed first, so that no colour is cut off at white.
    views = [
        replace(view, image=torch.where(view.mask[..., None] > 0.5, 0.8 * view.image * gain, view.image))
        for view, gain in zip(scene.views, gains, strict=True)
    ]
    result = fit_head(replace(scene, views=tuple(views)), person.prior, quick(80, 0), seed=1, quiet=True)
    assert result.gains is not None
    # A gain and light from one side are partly interchangeable, so gains are not recovered exactly.
    assert float((result.gains / gains).log().abs().mean()) < 0.4 * float(gains.log().abs().mean())


def test_a_head_in_three_lights_has_one_colour(person: Person, scene: Scene) -> None:
    lights = 0.5 * torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    lights = lights - lights.mean(0)
    views = []
    for view, light in zip(scene.views, lights, strict=True):
        camera = view.transformed(scene.head_from_world).camera
        normals = render(person.field, camera, person.prior.bounds).normal
        lit = 0.6 * view.image * torch.exp(normals @ light)[..., None]
        views.append(replace(view, image=torch.where(view.mask[..., None] > 0.5, lit, view.image)))
    lit_scene, errors = replace(scene, views=tuple(views)), {}
    for shaded in (False, True):
        config = replace(quick(50, 20, 40), match_lights=shaded)
        result = fit_head(lit_scene, person.prior, config, seed=1, quiet=True)
        after, before = result.head.bind(), person.field
        points = torch.from_numpy(person.face()).float()
        with torch.no_grad():
            at = before.surface(points)
            colours = [field.colour(points, at.normals, -at.normals, at.feature) for field in (before, after)]
        # The lights of all photos together are the head's colour: of the truth only its level is not known.
        ratio = (colours[1] + 0.02).log() - (colours[0] + 0.02).log()
        errors[shaded] = float((ratio - ratio.median(0).values).abs().mean())
        if shaded:
            assert result.shading is not None
            found = result.shading[:, :3].mean(2)
            # Where only one photo shows a part, its light and the part's colour are interchangeable.
            assert float((found * lights).sum() / found.norm() / lights.norm()) > 0.85, found
        else:
            assert result.shading is None
    assert errors[True] < 0.7 * errors[False], errors


def test_a_budget_of_steps_shortens_every_phase(person: Person, scene: Scene) -> None:
    config = FitConfig(size=48, rays=64, schedule=Schedule({1: 20}, {1: 60}, colours=160))
    result = fit_head(scene, person.prior, config, budget=Budget(steps=10), seed=1, quiet=True)
    # 100 steps of the first kind became 10
    assert len(result.curves["colour"]) == 8
    assert len(result.curves["eikonal"]) == 6
    assert len(result.curves["colour alone"]) == 16


def test_a_budget_of_seconds_is_kept(person: Person, scene: Scene) -> None:
    config = FitConfig(size=48, rays=64, schedule=Schedule({1: 2000}, {1: 6000}, colours=16000))
    began = time.monotonic()
    result = fit_head(scene, person.prior, config, budget=Budget(seconds=4), seed=1, quiet=True)
    # Preparations come on top, and the last step of each phase may end late.
    assert 4 <= time.monotonic() - began < 30
    assert 0 < len(result.curves["eikonal"]) < len(result.curves["colour"]) < 8000


def test_a_fit_can_be_watched_and_is_not_changed_by_it(
    person: Person, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruct, "WATCH_EVERY_S", 0.0)
    seen: list[FittedHead] = []
    watched, alone = (
        fit_head(scene, person.prior, quick(3, 3), seed=1, shown=1, watch=watch, quiet=True)
        for watch in (seen.append, None)
    )
    assert torch.equal(watched.head.latents.z_shape, alone.head.latents.z_shape)
    steps = [float((one.latents.z_shape - seen[0].latents.z_shape).norm()) for one in seen]
    assert len(steps) == 6
    assert steps[-1] > steps[1] > 0
    # What was handed out is a copy, which later steps leave alone.
    first, last = (dict(one.field.named_parameters()) for one in (seen[0], seen[-1]))
    assert any(not torch.equal(first[name], last[name]) for name in first)
