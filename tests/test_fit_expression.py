"""Fits of a prior with expressions: whose head it is, and which expression it has, are told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heads import NAMES, PRIOR, Person, photograph, small_prior, some_world, with_expressions
from protome.errors import InputError
from protome.evaluate.metrics import surface_distances
from protome.fit.config import FitConfig, Schedule
from protome.fit.methods import METHODS
from protome.fit.options import FitOptions
from protome.fit.photo_heads import MOVED, same_place
from protome.fit.reconstruct import FitResult, fit_head
from protome.meshing.extract import extract_mesh
from protome.pipeline import Head, head_from_fit, reconstruct
from protome.prior.prior import HeadLatents, Prior
from protome.scene import Scene, View
from protome.units import UNIT_MM

QUICK = FitConfig(size=64, rays=240, schedule=Schedule({1: 110}, {1: 0}, colours=0))
SEEN = torch.tensor([0.9, -0.5])


@pytest.fixture(scope="module")
def prior() -> Prior:
    return with_expressions(Prior.load(PRIOR))


@pytest.fixture(scope="module")
def person(prior: Prior) -> Person:
    latents = replace(prior.sample(torch.Generator().manual_seed(1), 0.6), z_expression=SEEN)
    field = prior.bind(latents)
    return Person(prior, latents, field, extract_mesh(field, prior.bounds, 72))


@pytest.fixture(scope="module")
def scene(person: Person) -> Scene:
    return photograph(person, (0.0, 50.0, -50.0), 64, some_world())


@pytest.fixture(scope="module")
def fit(scene: Scene, prior: Prior) -> FitResult:
    return fit_head(scene, prior, QUICK, seed=1, quiet=True)


@pytest.fixture(scope="module")
def heads(fit: FitResult, scene: Scene, prior: Prior) -> tuple[Head, Head]:
    """The head as in the photos, and without its expression."""
    first, second = (
        head_from_fit(fit, scene, prior, resolution=72, expression=kind, quiet=True)
        for kind in ("as-photo", "neutral")  # type: ignore[arg-type]
    )
    return first, second


def _face(prior: Prior, latents: HeadLatents) -> torch.Tensor:
    field = prior.bind(latents)
    mesh = extract_mesh(field, prior.bounds, 72)
    return torch.from_numpy(Person(prior, latents, field, mesh).face())


def test_the_expression_of_photos_is_found(fit: FitResult) -> None:
    found = fit.head.latents.z_expression
    assert found is not None
    assert float((found - SEEN).norm()) < 0.35 * float(SEEN.norm())


def test_the_head_without_it_is_the_persons_and_not_the_one_in_the_photos(
    prior: Prior, person: Person, heads: tuple[Head, Head]
) -> None:
    still = _face(prior, person.latents.neutral()).numpy() * UNIT_MM
    errors = [float(surface_distances(still, head.mesh).mean()) for head in heads]
    assert errors[1] < 0.6 * errors[0]
    assert heads[1].expression == "neutral"


def test_points_on_the_neutral_head_are_found_on_the_head_in_the_photos(fit: FitResult) -> None:
    still = fit.head.neutral()
    points = torch.from_numpy(extract_mesh(still.bind(), fit.head.bounds, 64).vertices).float()
    moved = still.points_on(fit.head, points)
    assert float((moved - points).norm(dim=1).max()) * UNIT_MM > 3
    # Where the bust is cut off the surface is not that of the field.
    assert float(fit.head.bind().sdf(moved).abs().median()) * UNIT_MM < 0.1
    back = fit.head.points_on(still, moved)
    assert float((back - points).norm(dim=1).mean()) * UNIT_MM < 0.05


def test_a_neutral_head_is_seen_where_the_photos_see_the_same_skin(heads: tuple[Head, Head]) -> None:
    seen, still = heads
    moved = still.fit.head.neutral().points_on(seen.fit.head, torch.from_numpy(still.mesh.vertices / UNIT_MM).float())
    distance = np.linalg.norm(moved.numpy()[:, None] * UNIT_MM - seen.mesh.vertices[None, ::40], axis=2)
    near = distance.argmin(1)
    close = distance.min(1) < 1.5
    assert seen.mesh.visibility is not None
    assert still.mesh.visibility is not None
    off = np.abs(still.mesh.visibility[close] - seen.mesh.visibility[::40][near[close]])
    assert float(np.median(off)) < 0.03


@pytest.fixture(scope="module")
def changing(prior: Prior, person: Person) -> tuple[FitResult, list[HeadLatents]]:
    """A fit to four photos, two of each of two expressions, and what the person's latents were."""
    moods = [replace(person.latents, z_expression=own) for own in (SEEN, torch.tensor([-0.6, 0.8]))]
    views: list[View] = []
    for latents, angles in zip(moods, ((0.0, 45.0), (-45.0, 15.0)), strict=True):
        field = prior.bind(latents)
        shown = Person(prior, latents, field, extract_mesh(field, prior.bounds, 72))
        views += photograph(shown, angles, 64, some_world()).views
    assert prior.expression is not None
    scene = Scene(tuple(views), some_world().inverse())
    shorter = replace(QUICK, schedule=Schedule({1: 70}, {1: 0}, colours=0))
    found = fit_head(scene, prior, shorter, seed=1, expressions=(prior.expression,) * 4, shown=2, quiet=True)
    return found, [moods[0], moods[0], moods[1], moods[1]]


def test_photos_of_different_expressions_have_one_person_and_an_expression_each(
    prior: Prior, changing: tuple[FitResult, list[HeadLatents]]
) -> None:
    found, truth = changing
    assert found.expressions is not None
    assert found.head.latents.z_expression is not None
    assert torch.equal(found.expressions[2], found.head.latents.z_expression)
    for own, true in zip(found.expressions, truth, strict=True):
        assert true.z_expression is not None
        assert float((own - true.z_expression).norm()) < 0.45 * float(true.z_expression.norm())
    # With one expression for all of them none of the photos would be right.
    assert float((found.expressions[0] - found.expressions[2]).norm()) > 1.2


def test_skin_that_an_expression_moves_is_not_the_same_in_other_photos(
    prior: Prior, changing: tuple[FitResult, list[HeadLatents]]
) -> None:
    _, truth = changing
    field, photo = prior.field, torch.tensor([0, 1, 2])
    points = torch.tensor([[0.0, -0.3, 0.0]]).expand(3, 3)
    alike = same_place(field, truth, points, photo)
    places = [field.displacement(points[:1][None], own.condition(field))[0, 0] for own in truth]
    far = [float((place - places[0]).norm()) >= MOVED for place in places]
    assert far == [False, False, True, True]
    assert alike.tolist() == [[True, True, False, False], [True, True, False, False], [False, False, True, True]]


def test_the_coefficients_are_written_by_name(heads: tuple[Head, Head]) -> None:
    for head, kind in zip(heads, ("as-photo", "neutral"), strict=True):
        facts = head._expression_facts()
        assert facts is not None
        assert facts["written"] == kind
        assert list(facts["coefficients"]) == list(NAMES)  # type: ignore[call-overload]


def test_a_prior_without_expressions_has_none_to_take_away(tmp_path: Path) -> None:
    small_prior().save(tmp_path / "plain.safetensors")
    options = FitOptions(prior=tmp_path / "plain.safetensors", expression="neutral")
    with pytest.raises(InputError, match="no expressions to take away"):
        reconstruct([tmp_path / "unread.png"], options=options, quiet=True)


def test_a_prior_of_ones_own_takes_the_place_of_the_packages(tmp_path: Path, prior: Prior) -> None:
    prior.save(tmp_path / "own.safetensors")
    own = METHODS["protome"].with_prior(tmp_path / "own.safetensors", None)
    assert own.prior().expression_names == NAMES
    with pytest.raises(InputError, match="brings a prior of its own"):
        METHODS["h3d-net"].with_prior(tmp_path / "own.safetensors", None)
