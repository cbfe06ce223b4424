"""Training on people in several expressions: one identity each, named coefficients, growing populations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ellipsoids import SMALL, SMALL_EXPRESSIVE, UNITS, one_thread, write_expressive_population, write_population
from protome.errors import InputError
from protome.field.head import HeadField
from protome.population.store import Population
from protome.prior.inversion import InversionConfig, ShapeSamples, invert_samples
from protome.prior.prior import HeadLatents, Prior
from protome.training.distributed import ProcessGroup
from protome.training.people import PersonLatents, PrincipalScores
from protome.training.train import Run, fine_weights, started_from, train, training_loss
from protome.units import UNIT_MM

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def _run(folder: Path, steps: int = 30, start: Prior | None = None) -> Run:
    return Run(Population(folder), replace(SMALL_EXPRESSIVE, steps=steps), 0, CPU, ProcessGroup(), start)


def test_heads_of_a_person_share_latents_and_differ_by_the_coefficients_alone(tmp_path: Path) -> None:
    weights = write_expressive_population(tmp_path, people=4, each=3)
    people = Population(tmp_path)
    assert people.persons.tolist() == np.repeat(np.arange(4), 3).tolist()
    np.testing.assert_array_equal(people.expressions.numpy(), weights)
    assert people.first_heads.tolist() == [0, 3, 6, 9]
    run = _run(tmp_path)
    for _ in range(12):
        run.step()
    latents = run.heads_latents()
    assert latents["shape"].shape == (4, SMALL_EXPRESSIVE.field.latent)
    assert run.latents["shape"].visits.sum() == 12 * 3
    assert float((latents["shape"][0] - latents["shape"][1]).abs().max()) > 0.01


def test_a_trained_prior_knows_the_expressions_apart(tmp_path: Path) -> None:
    write_expressive_population(tmp_path, people=4, each=4, count=1024)
    run = _run(tmp_path, 500)
    for _ in range(500):
        run.step()
    prior, people = run.prior(), Population(tmp_path)
    assert prior.expression_names == UNITS
    gone, errors = torch.zeros(len(UNITS)), []
    for head in range(4, 8):
        given, e = people.samples(head), people.expressions[head]
        who = HeadLatents(run.heads_latents()["shape"][1], prior.appearance.mean, e)
        with torch.no_grad():
            own, flat = (
                float(prior.bind(replace(who, z_expression=weights)).sdf(given.points[0]).abs().mean()) * UNIT_MM
                for weights in (e, gone)
            )
        errors.append((own, flat, float(e.max())))
    strong = [(own, flat) for own, flat, strength in errors if strength > 0.3]
    assert strong
    # A coefficient of 1 lengthens a radius of some ten centimetres by a third.
    assert np.mean([flat for _, flat in strong]) > 4
    assert np.mean([own for own, _ in strong]) < 0.5 * np.mean([flat for _, flat in strong])
    # Fitted to samples of an expressive head, the prior finds the expression's distances too.
    head = 4 + int(np.argmax([strength for _, _, strength in errors]))
    given = people.samples(head)
    samples = ShapeSamples(given.points[0], given.space[0], given.distances[0])
    config = InversionConfig(surface=400, space=200)
    found, without = (
        invert_samples(prior, samples, replace(config, expression=fitted)).latents for fitted in (True, False)
    )
    assert without.z_expression is None
    assert found.z_expression is not None
    with torch.no_grad():
        near, far = (float(prior.bind(own).sdf(given.points[0]).abs().mean()) for own in (found, without))
    assert near < 0.8 * far


def test_an_interrupted_run_ends_where_the_unbroken_run_does(tmp_path: Path) -> None:
    write_expressive_population(tmp_path, people=5)
    whole = _run(tmp_path)
    for _ in range(10):
        whole.step()
    broken = _run(tmp_path)
    for _ in range(4):
        broken.step()
    broken.save(tmp_path / "state")
    again = _run(tmp_path)
    again.restore(tmp_path / "state")
    for _ in range(6):
        again.step()
    for one, two in (
        (whole.field.state_dict(), again.field.state_dict()),
        (whole.maps["shape"].state(), again.maps["shape"].state()),
    ):
        assert all(torch.equal(value, two[key]) for key, value in one.items())
    assert torch.equal(whole.prior().shape.axes, again.prior().shape.axes)


def test_a_growing_population_goes_on_after_an_interruption_with_the_same_bits(tmp_path: Path) -> None:
    write_expressive_population(tmp_path, people=5, shards=3)
    partial = Population(tmp_path, unfinished=True)
    assert (partial.count, partial.total_people) == (3, 5)
    with pytest.raises(InputError, match="missing"):
        Population(tmp_path)
    config = replace(SMALL_EXPRESSIVE, steps=30)

    def begun() -> Run:
        return Run(Population(tmp_path, unfinished=True).first(9), config, 0, CPU, ProcessGroup())

    run = begun()
    for _ in range(3):
        run.step()
    assert run.heads_latents()["shape"].shape[0] == 3
    before = run.maps["shape"].scores[:3].clone()
    run.save(tmp_path / "state")
    write_expressive_population(tmp_path, people=5)
    again = begun()
    again.restore(tmp_path / "state")
    for one in (run, again):
        one.step()
        one.admit(Population(tmp_path))
        assert torch.equal(one.maps["shape"].scores[:3], before)
        for _ in range(3):
            one.step()
        assert one.heads_latents()["shape"].shape[0] == 5
    assert torch.equal(run.prior().shape.axes, again.prior().shape.axes)


def test_a_start_from_a_prior_is_that_prior_on_neutral_heads(tmp_path: Path) -> None:
    write_population(tmp_path / "plain", 4)
    plain = Run(Population(tmp_path / "plain"), replace(SMALL, steps=5), 0, CPU, ProcessGroup())
    for _ in range(5):
        plain.step()
    prior = plain.prior()
    new = started_from(prior.field, HeadField(SMALL_EXPRESSIVE.field))
    points, z = torch.randn(1, 50, 3) * 0.3, torch.randn(1, SMALL.field.latent)
    torch.testing.assert_close(new.sdf(points, z), prior.field.sdf(points, z))
    # What the coefficients act through is zero at first, and is learned.
    moved = new.shape_condition(z, torch.rand(1, len(UNITS)))
    torch.testing.assert_close(new.sdf(points, moved), prior.field.sdf(points, z))
    write_expressive_population(tmp_path / "people", people=4)
    run = Run(
        Population(tmp_path / "people"), replace(SMALL_EXPRESSIVE, hold=2, steps=9), 0, CPU, ProcessGroup(), prior
    )
    torch.testing.assert_close(run.heads_latents()["shape"], prior.shape.mean.expand(4, -1), atol=0.06, rtol=0)
    kept = {key: value.clone() for key, value in run.field.state_dict().items()}
    for _ in range(2):
        run.step()
    assert all(torch.equal(value, kept[key]) for key, value in run.field.state_dict().items())
    run.step()
    assert not torch.equal(run.field.state_dict()["deformation.first.weight"], kept["deformation.first.weight"])
    with pytest.raises(InputError, match="other sizes"):
        started_from(HeadField(replace(SMALL.field, deformation_width=40)), HeadField(SMALL_EXPRESSIVE.field))


def test_latents_are_a_map_of_descriptors_and_a_rest() -> None:
    descriptors = torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    known = PrincipalScores.of(descriptors, 6)
    scores = known(descriptors)
    # The first component has deviation 1, the others the root of their share of it, and they are uncorrelated.
    covariance = scores.T @ scores / 29
    deviations = torch.linalg.svdvals(descriptors - descriptors.mean(0))[:6]
    torch.testing.assert_close(covariance, torch.diag(deviations / deviations[0]), atol=1e-5, rtol=1e-4)
    people = PersonLatents(known, 40, 0, None)
    people.add(descriptors[:20])
    people.add(descriptors)
    torch.testing.assert_close(people.all(), scores + people.table.latents[:30])
    rest = people.table.rows(torch.tensor([3, 21]))
    torch.testing.assert_close(people.of(torch.tensor([3, 21]), rest), people.all()[[3, 21]])


def test_mouth_and_eyes_weigh_more(tmp_path: Path) -> None:
    places = torch.tensor(
        [[0.0, -67, 0], [25, -67, 0], [35, -67, 0], [-32, 1, 5], [32, 1, -40], [0, 30, 0], [0, -67, 0]]
    )
    registered = torch.tensor([[True] * 6 + [False]])
    assert fine_weights(places[None] / UNIT_MM, registered, 3.0).tolist() == [[3, 3, 1, 3, 1, 1, 1]]
    write_expressive_population(tmp_path, people=3)
    batch = Population(tmp_path).samples(1)
    head, z = HeadField(SMALL.field), torch.zeros(1, SMALL.field.latent)

    def loss(**changed: float) -> float:
        with torch.no_grad():
            head.renderer.last.weight.zero_()
        config = replace(SMALL, sloped=0.1, **changed)  # type: ignore[arg-type]
        return float(training_loss(head, z, z, batch, config).total.detach())

    with torch.no_grad():
        own = head.sdf(batch.points, z).abs()
        grey = (batch.colours - 0.5).abs().sum(-1)
        more = 2 * (fine_weights(batch.template, batch.registered, 3.0) > 1)
    assert bool(more.any())
    wanted = float((more * own).mean() + SMALL.colour * (more * grey).mean())
    assert loss(fine=3.0) - loss() == pytest.approx(wanted, rel=1e-3)


def test_new_components_leave_everybody_s_latent_as_it_was() -> None:
    generator = torch.Generator().manual_seed(1)
    descriptors = torch.randn(60, 12, generator=generator)
    people = PersonLatents(PrincipalScores.of(descriptors[:20], 6), 60, 0, None)
    people.add(descriptors[:20])
    with torch.no_grad():
        people.map.weight.normal_(generator=generator)
        people.map.bias.normal_(generator=generator)
    assert not people.grow(descriptors[:30])
    before, rest = people.all(), people.table.latents.clone()
    assert people.grow(descriptors)
    torch.testing.assert_close(people.all()[:30], before)
    torch.testing.assert_close(people.scores, PrincipalScores.of(descriptors, 6)(descriptors))
    # Most of the latents is still said by the map.
    assert float((people.table.latents[:30] - rest[:30]).std()) < 0.9 * float(before.std())
    assert not people.grow(descriptors)


def test_the_command_s_run_leaves_latents_of_people_and_a_log(tmp_path: Path) -> None:
    write_expressive_population(tmp_path / "people", people=3)
    config = replace(SMALL_EXPRESSIVE, steps=4, field=replace(SMALL_EXPRESSIVE.field, expression=()))
    prior = train(tmp_path / "people", tmp_path / "own.safetensors", config=config, device="cpu", quiet=True)
    read = Prior.load(tmp_path / "own.safetensors")
    assert read.expression_names == prior.expression_names == UNITS
    assert read.expression is not None
    assert prior.expression is not None
    assert torch.equal(read.expression.axes, prior.expression.axes)
    assert load_file(tmp_path / "own.latents.safetensors")["shape"].shape == (3, SMALL.field.latent)
    line = json.loads((tmp_path / "own.log").read_text().splitlines()[-1])
    assert (line["step"], line["people"]) == (4, 3)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    write_population(tmp_path / "plain", 3)
    write_expressive_population(tmp_path / "people", people=3)
    out = tmp_path / "own.safetensors"
    with pytest.raises(InputError, match="has no expressions"):
        train(tmp_path / "plain", out, config="tiny-expressive", device="cpu", quiet=True)
    with pytest.raises(InputError, match="only a configuration with expressions"):
        train(tmp_path / "plain", out, config="tiny", unfinished=True, device="cpu", quiet=True)
