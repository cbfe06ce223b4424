"""Training on a few ellipsoids: initial latents and their updates, the loss, and that each head is learnt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ellipsoids import SMALL, UNITS, ellipsoid_distance, one_thread, write_expressive_population, write_population
from protome.errors import InputError
from protome.field.head import HeadField
from protome.population.store import Population, SampleBatch
from protome.population.surface import BOUNDS_M
from protome.prior.prior import HeadLatents, Prior
from protome.training.distributed import ProcessGroup
from protome.training.latents import LatentTable, principal_start
from protome.training.train import CONFIGS, Run, TrainingConfig, train, training_loss
from protome.units import UNIT_MM
from protome.util import device


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def test_ellipsoid_distance_is_right() -> None:
    radii = np.array([0.1, 0.1, 0.1])
    points = np.array([[0.0, 0.03, 0.04], [0.3, 0.0, 0.4], [0.06, 0.0, 0.08]])
    np.testing.assert_allclose(ellipsoid_distance(points, radii), [-0.05, 0.4, 0.0], atol=1e-6)
    on_axis = np.array([[0.0, 0.0, 0.25], [0.0, 0.3, 0.0]])
    np.testing.assert_allclose(ellipsoid_distance(on_axis, np.array([0.08, 0.1, 0.2])), [0.05, 0.2], atol=1e-6)


# Latents


def test_latents_start_as_principal_components_of_the_descriptors() -> None:
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(40, 3)) * [5.0, 1.0, 0.2]
    mixing = np.linalg.qr(rng.normal(size=(7, 7)))[0][:3]
    latents = principal_start(torch.from_numpy(traits @ mixing + 3).float(), 6, 0)
    assert latents.shape == (40, 6)
    deviations = latents.std(0)
    assert float(deviations[0]) == pytest.approx(1.0, abs=0.02)
    sizes = np.linalg.svd(traits - traits.mean(0), compute_uv=False)
    np.testing.assert_allclose(deviations[:3], np.sqrt(sizes / sizes[0]), atol=0.02)
    # They are the traits themselves, uncorrelated; the rest is the noise that everything starts with.
    assert float(torch.corrcoef(latents[:, :3].T).fill_diagonal_(0).abs().max()) < 0.05
    for k in range(3):
        assert abs(np.corrcoef(latents[:, k], traits[:, k])[0, 1]) > 0.9
    assert 0.005 < float(latents[:, 3:].std()) < 0.015
    # More traits than room: the largest stay.
    short = principal_start(torch.from_numpy(traits @ mixing).float(), 2, 0)
    assert abs(np.corrcoef(short[:, 0], traits[:, 0])[0, 1]) > 0.9


@pytest.mark.parametrize("latent_init", [torch.zeros(5, 3), torch.ones(5, 3), torch.zeros(5, 0), torch.ones(1, 3)])
def test_constant_descriptors_leave_noise(latent_init: Tensor) -> None:
    latents = principal_start(latent_init, 4, 0)
    assert latents.shape == (len(latent_init), 4)
    assert 0 < float(latents.abs().max()) < 0.05


def test_latents_drawn_in_every_step_are_updated_as_by_adam() -> None:
    start = torch.randn(3, 4)
    table, theirs = LatentTable(start), nn.Parameter(start.clone())
    adam = torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99), eps=1e-10)
    for number in range(12):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
        table.step(torch.tensor([2, 0, 1]), gradient[[2, 0, 1]], 0.01)
        theirs.grad = gradient
        adam.step()
    torch.testing.assert_close(table.latents, theirs.detach())
    assert float((table.latents - start).abs().min()) > 1e-3


def test_latents_that_a_step_does_not_draw_keep_their_value_and_moments() -> None:
    start = torch.randn(4, 2)
    table, alone = LatentTable(start), LatentTable(start[1:2])
    for number in range(9):
        gradient = torch.randn(2, 2, generator=torch.Generator().manual_seed(number))
        before = table.latents.clone()
        drawn = [1, 3] if number % 3 == 0 else [0, 2]
        table.step(torch.tensor(drawn), gradient, 0.1)
        others = [head for head in range(4) if head not in drawn]
        assert torch.equal(table.latents[others], before[others])
        if number % 3 == 0:
            alone.step(torch.tensor([0]), gradient[:1], 0.1)
    torch.testing.assert_close(table.latents[1], alone.latents[0])


# The loss


def _naive_loss(
    head: HeadField, shape: Tensor, appearance: Tensor, batch: SampleBatch, config: TrainingConfig, done: float
) -> Tensor:
    """The paper's sum, term by term, with autograd's gradient at every point."""
    count, space = batch.points.shape[1], batch.space.shape[1]
    on, around = round(config.sloped * count), round(config.sloped * space)
    at = torch.cat([batch.points, batch.space], 1).requires_grad_(True)
    values = head.values(at, shape)
    (gradient,) = torch.autograd.grad(values.sdf.sum(), at, create_graph=True)
    norm = torch.linalg.vector_norm
    surface_gradient = gradient[:, :on]
    normals = surface_gradient / norm(surface_gradient, dim=-1, keepdim=True)
    loss = values.sdf[:, :count].abs().mean() + (values.sdf[:, count:] - batch.distances).abs().mean()
    loss = loss + config.normal * (1 - (normals * batch.normals[:, :on]).sum(-1)).mean()
    loss = loss + config.eikonal * ((norm(gradient[:, count : count + around], dim=-1) - 1) ** 2).mean()
    moved, reference = values.displacement[:, :count], values.reference[:, :count]
    loss = loss + config.deformation * (norm(moved, dim=-1).mean() + norm(moved.mean(1), dim=-1).mean())
    places, pairs = head.values(batch.landmarks, shape).reference, []
    for i in range(len(places)):
        pairs += [norm(places[i] - places[j], dim=-1).sum() for j in range(i)]
    loss = loss + config.landmark * torch.stack(pairs).mean()
    gaps = [norm((reference[i] - batch.template[i])[batch.registered[i]], dim=-1).mean() for i in range(len(reference))]
    loss = loss + config.registration * config.registration_fall**done * torch.stack(gaps).mean()
    given = torch.cat([normals, batch.normals[:, on:]], 1)
    colours = head.colour(reference, given, batch.views, values.feature[:, :count], appearance)
    loss = loss + config.colour * (colours - batch.colours).abs().sum(-1).mean()
    return loss + config.embedding * ((shape**2).sum(-1).mean() + (appearance**2).sum(-1).mean())


@pytest.mark.parametrize("sloped", [0.25, 1.0])
def test_the_loss_is_the_sum_of_its_terms(tmp_path: Path, sloped: float) -> None:
    write_population(tmp_path, 3, count=64)
    # Full weights, so that no term hides in the rounding of the others.
    config = replace(SMALL, sloped=sloped, deformation=1.0, landmark=1.0, colour=1.0, embedding=0.1)
    batch = Population(tmp_path).batch(np.arange(3), 16, 12, np.random.default_rng(0))
    exact = SampleBatch(**{key: v.double() if v.is_floating_point() else v for key, v in vars(batch).items()})
    head = HeadField(config.field).double()
    with torch.no_grad():
        assert head.deformation is not None
        head.deformation.last.weight.normal_(std=0.1)
        head.reference.first.weight.normal_(std=0.3)
    shape, appearance = (torch.randn(3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    wanted = [shape, appearance, *head.parameters()]
    found = training_loss(head, shape, appearance, exact, config, done=0.5)
    truth = _naive_loss(head, shape, appearance, exact, config, 0.5)
    torch.testing.assert_close(found.total, truth, rtol=1e-6, atol=1e-7)
    on_surface = head.sdf(exact.points, shape).abs().mean() * UNIT_MM
    torch.testing.assert_close(found.surface_mm, on_surface.detach())
    own, theirs = (torch.autograd.grad(loss, wanted, allow_unused=True) for loss in (found.total, truth))
    for ours, their in zip(own, theirs, strict=True):
        assert (ours is None) == (their is None)
        if ours is not None:
            torch.testing.assert_close(ours, their, rtol=1e-5, atol=1e-6)
    # The registration fades as the run goes on.
    assert float(training_loss(head, shape, appearance, exact, config, done=1.0).total.detach()) < float(
        found.total.detach()
    )


# Runs


@pytest.mark.parametrize(
    ("flags", "pays"), [("fma avx2 avx512f", False), ("avx2 avx512_bf16 x", True), ("amx_bf16", True)]
)
def test_bfloat16_pays_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, pays: bool
) -> None:
    facts = tmp_path / "cpuinfo"
    monkeypatch.setattr(device, "PROCESSOR_FACTS", facts)
    assert not device.bfloat16_pays(torch.device("cpu"))
    facts.write_text(f"model name\t: some\nflags\t\t: {flags}\n")
    assert device.bfloat16_pays(torch.device("cpu")) == pays
    assert device.bfloat16_pays(torch.device("cuda"))


def test_training_learns_each_head(tmp_path: Path) -> None:
    heads = write_population(tmp_path)
    people = Population(tmp_path)
    run = Run(people, replace(SMALL, steps=300, rate=3e-3, latent_rate=1e-2), 0, torch.device("cpu"), ProcessGroup())
    losses = [float(run.step().total) for _ in range(300)]
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    prior = run.prior()
    torch.testing.assert_close(prior.bounds, torch.from_numpy(BOUNDS_M * 1000 / UNIT_MM).float())
    mean_landmarks = np.mean([head.landmarks for head in heads], 0) * 1000 / UNIT_MM
    np.testing.assert_allclose(prior.landmarks.numpy(), mean_landmarks, atol=1e-6)
    mean, errors = prior.bind(prior.mean()), []
    for index, head in enumerate(heads):
        own = prior.bind(HeadLatents(*(run.latents[name].latents[index] for name in ("shape", "appearance"))))
        points = torch.from_numpy(head.points * 1000 / UNIT_MM).float()
        at = own.surface(points)
        errors.append([float(at.sdf.abs().mean()) * UNIT_MM, float(mean.sdf(points).abs().mean()) * UNIT_MM])
        # Normals point outwards, and the two halves have their colours.
        normals = torch.from_numpy(head.normals).float()
        assert float((at.normals * normals).sum(1).mean()) > 0.95
        colour = own.colour(points, at.normals, -normals, at.feature)
        clear = points[:, 0].abs() > 0.1
        assert bool(((colour[:, 0] > colour[:, 2]) == (points[:, 0] > 0))[clear].float().mean() > 0.95)
        # The same skin of everybody lands on the same place of the template.
        reference = prior.field.values(points[None], run.latents["shape"].latents[index][None]).reference[0]
        template = torch.from_numpy(head.template * 1000 / UNIT_MM).float()
        gap = (reference - template).norm(dim=1)[torch.from_numpy(head.registered)]
        assert float(gap.mean()) * UNIT_MM < 3
    own_error, mean_error = np.mean(errors, 0)
    # The heads differ from their mean by several millimetres; each is known much better than that.
    assert mean_error > 4
    assert own_error < 0.35 * mean_error


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_can_be_trained(tmp_path: Path, name: str) -> None:
    config = CONFIGS[name]
    small = replace(
        SMALL.field, deformed=config.field.deformed, reference_depth=4, deformation_depth=2, renderer_depth=2
    )
    if config.expressive:
        write_expressive_population(tmp_path, 3, count=64)
        small = replace(small, expression=UNITS)
    else:
        write_population(tmp_path, 3, count=64)
    config = replace(config, field=small, heads=3, surface=8, space=8, steps=4)
    run = Run(Population(tmp_path), config, 0, torch.device("cpu"), ProcessGroup())
    before = {key: value.clone() for key, value in run.field.state_dict().items()}
    first = run.step()
    # Without a mask every frequency is open from the start.
    assert run.field.alpha == (config.field.reference_frequencies if config.unmask == 0 else 0)
    assert bool(first.total.isfinite())
    for _ in range(3):  # the heads of one step may all be neutral
        run.step()
    moved = {key.split(".")[0] for key, value in run.field.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == ({"deformation", "reference"} if small.deformed else {"reference"}) | (
        {"renderer"} if config.colour else set()
    ) | ({"expression"} if config.expressive else set())
    run.prior().save(tmp_path / "own.safetensors")
    assert Prior.load(tmp_path / "own.safetensors").field.config == small


def test_an_unknown_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tmp_path / "people", tmp_path / "own.safetensors", config="huge", device="cpu", quiet=True)
    assert (
        str(caught.value)
        == "no training configuration is called huge: use one of sira++, h3d-net, h3d-net-pm, deform, "
        "expressive, tiny-expressive, tiny"
    )


def test_a_missing_population_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="people does not exist: build it with `protome population build`"):
        train(tmp_path / "people", tmp_path / "own.safetensors", config="tiny", device="cpu", quiet=True)
