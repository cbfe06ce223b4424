"""The prior: files that come back the same, files that are refused, and people drawn from its statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from protome.errors import InputError
from protome.field.field import Field
from protome.field.head import HeadField, HeadFieldConfig
from protome.prior.prior import (
    FittedHead,
    HeadLatents,
    LatentStatistics,
    Prior,
    cross_covariance_of,
    interpolate,
    load_fitted,
    load_head,
    people_of,
    save_head,
)  # fmt: skip

CONFIG = HeadFieldConfig(
    latent=4, feature=3, deformation_width=8, deformation_depth=3, deformation_frequencies=2, reference_width=12,
    reference_depth=3, reference_frequencies=2, renderer_width=8, renderer_depth=2, renderer_frequencies=2,
    view_frequencies=1, centre=(0.05, -0.1, -0.2), radius=0.4,
)  # fmt: skip
HEADS = 7
BOUNDS = torch.tensor([[-1.0, -1.1, -1.2], [1.0, 0.9, 0.8]])


def _latents(seed: int = 0) -> Tensor:
    """Correlated shape and appearance latents of some heads."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(2, 4, 4, generator=generator)
    return torch.randn(2, HEADS, 4, generator=generator) @ mixing + torch.tensor([1.0, -2.0, 0.5, 0.0])


def _prior(seed: int = 0) -> Prior:
    torch.manual_seed(seed)
    field = HeadField(CONFIG)
    with torch.no_grad():
        assert field.deformation is not None
        field.deformation.last.weight.normal_(std=0.1)
        field.renderer.last.weight.normal_()
    shape, appearance = (LatentStatistics.of(latents) for latents in _latents(seed))
    cross_covariance = 0.1 * torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
    return Prior(field, shape, appearance, torch.randn(6, 3), BOUNDS, cross_covariance)


def _values(field: Field) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad():
        at = field.surface(points)
        return field.sdf(points), at.gradient, field.colour(points, at.normals, -at.normals, at.feature)


def _same(first: Field, second: Field) -> None:
    for ours, theirs in zip(_values(first), _values(second), strict=True):
        assert torch.equal(ours, theirs)


def test_a_prior_that_goes_to_a_device_also_stays_where_it_is() -> None:
    prior = _prior()
    weights = {key: value.clone() for key, value in prior.field.state_dict().items()}
    moved = prior.to("meta")
    assert {value.device.type for value in moved.field.state_dict().values()} == {"meta"}
    assert moved.bounds.is_meta
    assert all(torch.equal(value, weights[key]) for key, value in prior.field.state_dict().items())
    assert prior.to("cpu").field is prior.field


def test_saved_prior_comes_back_exactly(tmp_path: Path) -> None:
    prior = _prior()
    prior.save(tmp_path / "deep" / "own.safetensors")
    loaded = Prior.load(tmp_path / "deep" / "own.safetensors")
    assert loaded.field.config == CONFIG
    for key in ("landmarks", "bounds", "cross_covariance"):
        assert torch.equal(getattr(loaded, key), getattr(prior, key)), key
    for key in ("shape", "appearance"):
        assert torch.equal(getattr(loaded, key).mean, getattr(prior, key).mean)
        assert torch.equal(getattr(loaded, key).axes, getattr(prior, key).axes)
    own, back = prior.field.state_dict(), loaded.field.state_dict()
    assert own.keys() == back.keys()
    assert all(torch.equal(own[key], back[key]) for key in own)
    for head in range(2):
        latents = HeadLatents(*_latents()[:, head])
        _same(loaded.bind(latents), prior.bind(latents))
    assert not any(parameter.requires_grad for parameter in loaded.field.parameters())
    # Two heads are two heads, so the comparison means something.
    assert not torch.equal(_values(loaded.bind(latents))[0], _values(loaded.bind(loaded.mean()))[0])
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["own.safetensors"]


def test_saving_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    _prior(0).save(path)
    _prior(1).save(path)
    assert torch.equal(Prior.load(path).shape.axes, _prior(1).shape.axes)


def _save_fitted(path: Path) -> tuple[Prior, HeadLatents]:
    prior = _prior()
    latents = HeadLatents(_latents()[0, 2], _latents()[1, 3])
    placements = [torch.eye(4), 2 * torch.eye(4)]
    save_head(path, FittedHead(prior.field, latents, BOUNDS), placements)
    return prior, latents


def test_saved_head_comes_back_exactly(tmp_path: Path) -> None:
    prior, latents = _save_fitted(tmp_path / "field.safetensors")
    field, bounds = load_head(tmp_path / "field.safetensors")
    assert torch.equal(bounds, BOUNDS)
    _same(field, prior.bind(latents))
    fitted = load_fitted(tmp_path / "field.safetensors")
    assert torch.equal(fitted.latents.z_shape, latents.z_shape)
    assert torch.equal(fitted.latents.z_appearance, latents.z_appearance)
    assert torch.equal(fitted.bounds, BOUNDS)
    _same(fitted.field.bind(fitted.latents.z_shape, fitted.latents.z_appearance), field)


def test_a_normalised_head_without_latents_comes_back_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, latent=0, deformed=False, weight_norm=True)
    field, nothing = HeadField(config), torch.zeros(0)
    head = FittedHead(field, HeadLatents(nothing, nothing), BOUNDS)
    save_head(tmp_path / "field.safetensors", head, [torch.eye(4)])
    fitted = load_fitted(tmp_path / "field.safetensors")
    assert fitted.field.config.weight_norm
    _same(fitted.bind(), head.bind())


def test_a_file_older_than_an_option_is_read_with_its_default(tmp_path: Path) -> None:
    _save_fitted(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        meta, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(meta["config"])
    assert config.pop("weight_norm") is False
    save_file(tensors, tmp_path / "old.safetensors", meta | {"config": json.dumps(config)})
    _same(load_head(tmp_path / "old.safetensors")[0], load_head(tmp_path / "new.safetensors")[0])


def test_a_file_with_an_option_that_there_was_once_is_read_where_it_was_off(tmp_path: Path) -> None:
    _save_fitted(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        meta, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for name, modulated in (("off", False), ("on", True)):
        config = json.dumps(json.loads(meta["config"]) | {"modulated": modulated})
        save_file(tensors, tmp_path / f"{name}.safetensors", meta | {"config": config})
    _same(load_head(tmp_path / "off.safetensors")[0], load_head(tmp_path / "new.safetensors")[0])
    with pytest.raises(InputError, match="has latents that scale layers, which are read no more"):
        load_head(tmp_path / "on.safetensors")


LOADERS: dict[str, Callable[[Path], object]] = {"prior": Prior.load, "head": load_head}
MAKERS = {"prior": "`protome train`", "head": "`protome reconstruct`"}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_missing_file_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(InputError) as caught:
        LOADERS[kind](path)
    assert str(caught.value) == f"{path} does not exist: give a file written by {MAKERS[kind]}"


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("content", [b"no tensors here, only text", b"\x08" + b"\0" * 7 + b"{broken}"])
def test_a_file_that_is_no_safetensors_is_named(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        LOADERS[kind](path)
    assert str(caught.value) == f"{path} cannot be read as safetensors: give a file written by {MAKERS[kind]}"


def test_an_empty_file_is_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(InputError, match=r"empty\.safetensors cannot be read as safetensors"):
        Prior.load(tmp_path / "empty.safetensors")


def _write_plain(path: Path) -> None:
    save_file({"weights": torch.zeros(3)}, path)


def _write_prior(path: Path) -> None:
    _prior().save(path)


@pytest.mark.parametrize(
    ("kind", "write"),
    [("prior", _save_fitted), ("head", _write_prior), ("prior", _write_plain), ("head", _write_plain)],
)
def test_a_file_of_another_kind_is_refused(kind: str, write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write(path)
    with pytest.raises(InputError) as caught:
        LOADERS[kind](path)
    assert str(caught.value) == f"{path} is of another kind: give a file written by {MAKERS[kind]}"


def test_samples_have_the_mean_and_covariance_of_the_latents() -> None:
    prior, generator, count = _prior(), torch.Generator().manual_seed(5), 6_000
    drawn = [prior.sample(generator) for _ in range(count)]
    shape = torch.stack([latents.z_shape for latents in drawn]).double()
    appearance = torch.stack([latents.z_appearance for latents in drawn]).double()
    for samples, latents in zip((shape, appearance), _latents(), strict=True):
        truth = torch.cov(latents.double().T)
        spread = truth.diagonal().sqrt()
        # The mean of n draws is off by about sigma / sqrt(n), a covariance by sigma_i sigma_j sqrt(2 / n).
        gap = (samples.mean(0) - latents.double().mean(0)) / spread
        assert float(gap.abs().max()) < 5 / count**0.5
        difference = (torch.cov(samples.T) - truth) / (spread[:, None] * spread)
        assert float(difference.abs().max()) < 5 * (2 / count) ** 0.5
        assert float((truth / (spread[:, None] * spread)).fill_diagonal_(0).abs().max()) > 0.2
    # Shape and appearance have the prior's cross-covariance.
    both = torch.corrcoef(torch.cat([shape, appearance], 1).T)[:4, 4:]
    truth = (prior.shape.axes.T @ prior.cross_covariance @ prior.appearance.axes).double()
    spreads = [torch.cov(latents.double().T).diagonal().sqrt() for latents in _latents()]
    truth = truth / (spreads[0][:, None] * spreads[1])
    assert float((both - truth).abs().max()) < 5 / count**0.5
    assert float(truth.abs().max()) > 0.1


def test_samples_follow_the_seed_and_the_temperature() -> None:
    prior = _prior()

    def draw(seed: int, temperature: float = 1.0) -> HeadLatents:
        return prior.sample(torch.Generator().manual_seed(seed), temperature)

    assert torch.equal(draw(1).z_shape, draw(1).z_shape)
    assert not torch.equal(draw(1).z_shape, draw(2).z_shape)
    torch.testing.assert_close(draw(1, 0.0).z_shape, prior.mean().z_shape)
    torch.testing.assert_close(draw(1, 0.0).z_appearance, _latents()[1].mean(0))
    full, half = draw(1).z_shape - prior.mean().z_shape, draw(1, 0.5).z_shape - prior.mean().z_shape
    torch.testing.assert_close(half, 0.5 * full)


def test_axes_are_the_covariances_principal_ones() -> None:
    for latents in _latents():
        statistics = LatentStatistics.of(latents)
        torch.testing.assert_close(statistics.mean, latents.mean(0))
        torch.testing.assert_close(statistics.axes.T @ statistics.axes, torch.cov(latents.T), rtol=1e-4, atol=1e-5)
        products = statistics.axes @ statistics.axes.T
        lengths = products.diagonal().sqrt()
        torch.testing.assert_close(products, torch.diag(lengths**2), rtol=1e-4, atol=1e-4)
        assert bool((lengths[:-1] >= lengths[1:]).all())
        torch.testing.assert_close(
            statistics.latent(torch.tensor([0.0, 2.0, 0.0, 0.0])), latents.mean(0) + 2 * statistics.axes[1]
        )


def test_few_heads_have_few_axes() -> None:
    latents = _latents()[0, :3]
    statistics = LatentStatistics.of(latents)
    assert statistics.axes.shape == (2, 4)
    torch.testing.assert_close(statistics.axes.T @ statistics.axes, torch.cov(latents.T), rtol=1e-4, atol=1e-5)


def test_a_prior_of_one_head_samples_that_head() -> None:
    latents = _latents()[:, :1]
    shape, appearance = (LatentStatistics.of(own) for own in latents)
    assert shape.axes.shape == (1, 4)
    alone = replace(_prior(), shape=shape, appearance=appearance, cross_covariance=cross_covariance_of(*latents))
    found = alone.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.z_shape, latents[0, 0])
    torch.testing.assert_close(found.z_appearance, latents[1, 0])


def _correlated(heads: int) -> tuple[Tensor, Tensor]:
    """Latents whose largest appearance axis and second shape axis correlate by 0.8; all else is independent."""
    free = torch.randn(2, heads, 3, generator=torch.Generator().manual_seed(5)) * torch.tensor([3.0, 1.0, 0.3])
    shape, appearance = free
    appearance[:, 0] = 3.0 * (0.8 * shape[:, 1] + 0.6 * appearance[:, 0] / 3.0)
    return shape, appearance + 7.0


def test_the_cross_covariance_is_that_of_the_training_latents() -> None:
    latents = _correlated(20_000)
    cross_covariance = cross_covariance_of(*latents)
    wanted = torch.zeros(3, 3)
    wanted[1, 0] = 0.8 / 1.2  # shrunk
    torch.testing.assert_close(cross_covariance.abs(), wanted, rtol=0, atol=0.02)  # axes may point either way


def test_a_few_heads_have_no_cross_covariance() -> None:
    assert not cross_covariance_of(*_latents()).any()


def test_a_prior_without_a_cross_covariance_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    _prior().save(path)
    with safe_open(path, "pt") as file:
        kept = {key: file.get_tensor(key) for key in file.keys() if key != "coupling"}  # noqa: SIM118  (not a dict)
        save_file(kept, path, file.metadata())
    assert torch.equal(Prior.load(path).cross_covariance, torch.zeros(4, 4))


def test_the_shipped_prior_is_small_and_is_the_default() -> None:
    path = Path(str(resources.files("protome") / "assets" / "prior.safetensors"))
    assert path.stat().st_size < 25e6
    named, default = Prior.load(path).field.state_dict(), Prior.load().field.state_dict()
    assert named.keys() == default.keys()
    assert all(torch.equal(named[name], value) for name, value in default.items())


def test_interpolation_meets_its_ends_and_its_middle() -> None:
    first, second = (HeadLatents(*_latents()[:, head]) for head in (0, 1))
    start, end = interpolate(first, second, 0.0, 0.0), interpolate(first, second, 1.0, 1.0)
    assert torch.equal(start.z_shape, first.z_shape)
    assert torch.equal(start.z_appearance, first.z_appearance)
    assert torch.equal(end.z_shape, second.z_shape)
    assert torch.equal(end.z_appearance, second.z_appearance)
    mixed = interpolate(first, second, 0.25, 0.5)
    torch.testing.assert_close(mixed.z_shape, 0.75 * first.z_shape + 0.25 * second.z_shape)
    torch.testing.assert_close(mixed.z_appearance, (first.z_appearance + second.z_appearance) / 2)


# Expressions


def _expressive() -> Prior:
    plain = _prior()
    torch.manual_seed(2)
    field = HeadField(replace(CONFIG, expression=("jawOpen", "mouthSmile_L"), expression_width=3))
    with torch.no_grad():
        assert field.deformation is not None
        field.deformation.last.weight.normal_(std=0.1)
    statistics = LatentStatistics.around_zero(torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.0, 0.8], [0.4, 0.0]]))
    return replace(plain, field=field.requires_grad_(False), expression=statistics)


def test_a_prior_with_expressions_comes_back_with_their_names(tmp_path: Path) -> None:
    prior = _expressive()
    prior.save(tmp_path / "own.safetensors")
    read = Prior.load(tmp_path / "own.safetensors")
    assert read.expression_names == ("jawOpen", "mouthSmile_L")
    assert read.expression is not None
    assert prior.expression is not None
    assert torch.equal(read.expression.axes, prior.expression.axes)
    assert not read.expression.mean.any()
    smiling = replace(prior.mean(), z_expression=torch.tensor([0.0, 1.0]))
    _same(read.bind(smiling), prior.bind(smiling))
    assert not torch.equal(read.bind(smiling).sdf(BOUNDS), read.bind(prior.mean()).sdf(BOUNDS))
    _same(read.bind(smiling.neutral()), prior.bind(prior.mean()))
    head = FittedHead(prior.field, smiling, BOUNDS)
    save_head(tmp_path / "field.safetensors", head, [torch.eye(4)])
    fitted = load_fitted(tmp_path / "field.safetensors")
    assert fitted.latents.z_expression is not None
    assert torch.equal(fitted.latents.z_expression, torch.tensor([0.0, 1.0]))
    _same(fitted.bind(), head.bind())


def test_the_statistics_of_expressions_are_about_neutral() -> None:
    weights = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    found = LatentStatistics.around_zero(weights)
    assert not found.mean.any()
    torch.testing.assert_close(found.axes.T @ found.axes, weights.T @ weights / 50)


def test_corresponding_points_of_an_expressive_head_meet_in_the_reference() -> None:
    prior = _expressive()
    smiling = replace(prior.mean(), z_expression=torch.tensor([0.5, 1.0]))
    mean = 0.3 * torch.randn(6, 3)
    found = prior.points_of(prior.field, smiling, mean, rounds=200)
    condition = prior.field.shape_condition(smiling.z_shape[None], smiling.expression_row)
    here = found + prior.field.displacement(found[None], condition)[0]
    torch.testing.assert_close(
        here, mean + prior.field.displacement(mean[None], prior.shape.mean[None])[0], atol=1e-4, rtol=0
    )
    assert float((found - mean).abs().max()) > 1e-3


def test_an_expression_is_interpolated_with_the_shape_and_nothing_means_neutral() -> None:
    smiling = HeadLatents(torch.zeros(4), torch.zeros(4), torch.tensor([1.0, 0.4]))
    middle = interpolate(smiling.neutral(), smiling, 0.5, 0.0)
    assert middle.z_expression is not None
    torch.testing.assert_close(middle.z_expression, torch.tensor([0.5, 0.2]))
    assert interpolate(smiling.neutral(), smiling.neutral(), 0.5, 0.5).z_expression is None


# Drawing among people


def _two_kinds(count: int = 60) -> Prior:
    """Return a prior whose people are of two kinds: far apart, with nothing between them."""
    prior, generator = _prior(), torch.Generator().manual_seed(5)
    kind = (torch.arange(count) % 2 * 2 - 1.0)[:, None]
    shape, appearance = (
        kind * own.axes[:1] / own.axes[0].norm() + 0.05 * torch.randn(count, own.axes.shape[1], generator=generator)
        for own in (prior.shape, prior.appearance)
    )
    known = [(LatentStatistics.of(own), own) for own in (shape, appearance)]
    people = people_of(*known)
    return replace(prior, shape=known[0][0], appearance=known[1][0], people=people)


def test_new_people_are_of_the_kinds_that_there_are_in_their_proportions() -> None:
    prior, generator = _two_kinds(), torch.Generator().manual_seed(0)
    drawn = [prior.sample(generator) for _ in range(300)]
    axis = torch.nn.functional.normalize(prior.shape.axes[0], dim=0)
    along = torch.stack([own.z_shape - prior.shape.mean for own in drawn]) @ axis
    look = torch.stack([own.z_appearance - prior.appearance.mean for own in drawn]) @ prior.appearance.axes[0]
    # Nobody is between the kinds, where a Gaussian has most of its people, and shape and appearance belong together.
    assert float(along.abs().min()) > 0.7
    sides = (along > 0) == (look > 0)
    assert sides.all() or not sides.any()
    assert 0.4 < float((along > 0).float().mean()) < 0.6
    gaussian = replace(prior, people=None)
    between = [(gaussian.sample(generator).z_shape - prior.shape.mean) @ axis for _ in range(300)]
    assert float((torch.stack(between).abs() < 0.5).float().mean()) > 0.2


def test_new_people_are_new_and_nearer_to_the_mean_at_lower_temperatures() -> None:
    prior = _two_kinds()
    assert prior.people is not None
    drawn = prior.sample(torch.Generator().manual_seed(3))
    own = prior.shape.coefficients(drawn.z_shape[None])[:, : prior.people.shape.shape[1]]
    assert float((prior.people.shape - own).norm(dim=1).min()) > 0.05
    half = prior.sample(torch.Generator().manual_seed(3), 0.5)
    torch.testing.assert_close(half.z_shape - prior.shape.mean, 0.5 * (drawn.z_shape - prior.shape.mean))


def test_people_come_back_from_the_file(tmp_path: Path) -> None:
    prior = _two_kinds()
    prior.save(tmp_path / "own.safetensors")
    read = Prior.load(tmp_path / "own.safetensors")
    assert read.people is not None
    assert prior.people is not None
    torch.testing.assert_close(read.people.shape, prior.people.shape, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(
        read.sample(torch.Generator().manual_seed(1)).z_appearance,
        prior.sample(torch.Generator().manual_seed(1)).z_appearance, atol=5e-3, rtol=1e-2,
    )  # fmt: skip
