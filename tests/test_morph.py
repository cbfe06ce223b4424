"""Morphs between heads: exact at both ends, separate in shape and appearance, named by command-line arguments."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from heads import small_prior
from protome import gallery
from protome.cli_outputs import MORPH_FILES
from protome.errors import InputError, ProtomeWarning
from protome.gallery import find_head, morph_heads, random_head, sample_heads
from protome.geometry.mesh import Mesh
from protome.prior.morph import morph
from protome.prior.prior import FittedHead, Prior, load_fitted, save_head

POINTS = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)) - torch.tensor([0.5, 0.6, 0.6])


def _values(head: FittedHead) -> tuple[Tensor, Tensor]:
    """Distances and colours at some points."""
    field = head.field.bind(head.latents.z_shape, head.latents.z_appearance)
    with torch.no_grad():
        at = field.surface(POINTS)
        return at.sdf, field.colour(POINTS, at.normals, -at.normals, at.feature)


def _fitted(prior: Prior, number: int) -> FittedHead:
    """A head as a fit would leave it: finer colours, deformation and renderer moved, the reference as it was."""
    field = prior.field.with_finer_colour(4).requires_grad_(False)
    generator = torch.Generator().manual_seed(number)
    for network in (field.deformation, field.renderer):
        for value in network.parameters():  # type: ignore[union-attr]
            value.add_(0.02 * torch.randn(value.shape, generator=generator))
    return FittedHead(field, random_head(prior, number).latents, prior.bounds)


def _pairs() -> dict[str, tuple[FittedHead, FittedHead]]:
    prior = small_prior()
    return {
        "random": (random_head(prior, 1), random_head(prior, 2)),
        "fitted": (_fitted(prior, 1), _fitted(prior, 2)),
    }


@pytest.mark.parametrize("pair", ["random", "fitted"])
def test_the_ends_are_the_heads_themselves(pair: str) -> None:
    first, second = _pairs()[pair]
    for fraction, head in ((0.0, first), (1.0, second)):
        end = morph(first, second, fraction, fraction)
        assert end.field.config == head.field.config
        for ours, theirs in zip(_values(end), _values(head), strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(_values(first)[0], _values(second)[0])


def test_a_fitted_and_a_random_head_meet_in_finer_colours() -> None:
    prior = small_prior()
    plain, fitted = random_head(prior, 1), _fitted(prior, 2)
    for one, other in ((plain, fitted), (fitted, plain)):
        for fraction, head in ((0.0, one), (1.0, other)):
            end = morph(one, other, fraction, fraction)
            assert end.field.config.renderer_frequencies == 4
            for ours, theirs in zip(_values(end), _values(head), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_space_of_a_morph_holds_both_heads() -> None:
    prior = small_prior()
    first, second = random_head(prior, 1), _fitted(prior, 2)
    wide, tall = torch.tensor([[-0.2, 0, 0], [0.1, 0, 0]]), torch.tensor([[0, -0.3, 0], [0, 0, 0.4]])
    found = morph(replace(first, bounds=prior.bounds + wide), replace(second, bounds=prior.bounds + tall), 0.5, 0.5)
    torch.testing.assert_close(found.bounds, prior.bounds + wide + tall)


@pytest.mark.parametrize("pair", ["random", "fitted"])
def test_shape_and_appearance_have_separate_fractions(pair: str) -> None:
    first, second = _pairs()[pair]
    (shape_one, colour_one), (shape_two, colour_two) = _values(first), _values(second)
    shape, colour = _values(morph(first, second, 1.0, 0.0))
    assert torch.equal(shape, shape_two)
    assert not torch.allclose(colour, colour_two, atol=1e-3)
    shape, colour = _values(morph(first, second, 0.0, 1.0))
    assert torch.equal(shape, shape_one)
    assert not torch.allclose(colour, colour_one, atol=1e-3)


def test_the_middle_is_half_way_in_latents_and_weights() -> None:
    first, second = _pairs()["fitted"]
    middle = morph(first, second, 0.5, 0.25)
    torch.testing.assert_close(middle.latents.z_shape, 0.5 * (first.latents.z_shape + second.latents.z_shape))
    torch.testing.assert_close(
        middle.latents.z_appearance, 0.75 * first.latents.z_appearance + 0.25 * second.latents.z_appearance
    )
    one, other, own = (head.field.state_dict() for head in (first, second, middle))
    for key, value in own.items():
        share = 0.25 if key.startswith("renderer.") else 0.5
        torch.testing.assert_close(value, (1 - share) * one[key] + share * other[key])
    assert all(torch.equal(own[key], one[key]) for key in own if key.startswith("reference."))
    assert not any(value.requires_grad for value in middle.field.parameters())


def test_morphs_are_smooth_in_the_fraction() -> None:
    first, second = _pairs()["fitted"]
    steps = [_values(morph(first, second, t, t)) for t in np.linspace(0, 1, 21).tolist()]
    for values in zip(*steps, strict=True):
        jumps = torch.stack([(after - before).abs().mean() for before, after in pairwise(values)])
        assert float(jumps.max()) < 2 * float(jumps.mean())


def test_fractions_a_little_beyond_warn_and_far_beyond_are_refused() -> None:
    first, second = _pairs()["random"]
    with pytest.warns(ProtomeWarning, match="1.25 for shape exaggerates"):
        beyond = morph(first, second, 1.25, 1.0)
    torch.testing.assert_close(
        beyond.latents.z_shape, second.latents.z_shape + 0.25 * (second.latents.z_shape - first.latents.z_shape)
    )
    for fraction in (-0.6, 1.6, float("nan")):
        with pytest.raises(InputError, match="for appearance is too far out"):
            morph(first, second, 0.5, fraction)


@pytest.mark.parametrize("fitted", [False, True])
def test_heads_of_different_priors_are_refused(fitted: bool) -> None:
    first, other = small_prior(), small_prior(seed=1)
    second = _fitted(other, 2) if fitted else random_head(other, 2)
    with pytest.raises(InputError, match="different priors"):
        morph(random_head(first, 1), second, 0.5, 0.5)


# Heads by their names


def _save(head: FittedHead, folder: Path) -> Path:
    path = folder / "field.safetensors"
    folder.mkdir()
    save_head(path, head, [torch.eye(4)])
    return path


def test_names_find_their_heads(tmp_path: Path) -> None:
    prior = small_prior()
    fitted = _fitted(prior, 5)
    path = _save(fitted, tmp_path / "me")
    for name, head in (
        ("mean", FittedHead(prior.field, prior.mean(), prior.bounds)),
        ("7", random_head(prior, 7)),
        (str(tmp_path / "me"), fitted),
        (str(path), fitted),
    ):
        for ours, theirs in zip(_values(find_head(name, prior)), _values(head), strict=True):
            assert torch.equal(ours, theirs), name


def test_a_photo_is_reconstructed_with_the_draft_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, calls = small_prior(), []

    def reconstruct(inputs: list[Path], **options: object) -> object:
        calls.append((inputs, options))
        return types.SimpleNamespace(fit=types.SimpleNamespace(head=_fitted(prior, 3)))

    stand_in = types.ModuleType("protome.pipeline")
    stand_in.reconstruct = reconstruct  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "protome.pipeline", stand_in)
    assert torch.equal(_values(find_head("me.JPG", prior, quiet=True))[0], _values(_fitted(prior, 3))[0])
    assert calls == [([Path("me.JPG")], {"preset": "draft", "device": "cpu", "quiet": True})]


def test_other_names_are_refused(tmp_path: Path) -> None:
    for name, message in (("nobody", "nobody is no head"), ("-3", "-3 is no head"), (str(tmp_path), "does not exist")):
        with pytest.raises(InputError, match=message):
            find_head(name, small_prior())


# Files


@pytest.fixture
def prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved small prior; pictures are small too."""
    monkeypatch.setattr(gallery, "TILE", 32)
    small_prior().save(tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


def test_samples_are_written_by_their_numbers(prior: Path, tmp_path: Path) -> None:
    sample_heads(tmp_path / "out", count=3, seed=4, prior=prior, resolution=24, quiet=True)
    names = [f"head_{number:03d}{suffix}" for number in (4, 5, 6) for suffix in (".glb", ".ply")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*names, "sheet.png"]
    sample_heads(tmp_path / "alone", count=1, seed=5, prior=prior, resolution=24, quiet=True)
    for suffix in (".glb", ".ply"):
        written = [(tmp_path / folder / f"head_005{suffix}").read_bytes() for folder in ("out", "alone")]
        assert written[0] == written[1]
    metres, millimetres = (Mesh.load(tmp_path / "out" / f"head_004{suffix}") for suffix in (".glb", ".ply"))
    np.testing.assert_allclose(np.ptp(millimetres.vertices, axis=0), 1000 * np.ptp(metres.vertices, axis=0), rtol=1e-4)
    assert 100 < float(np.ptp(millimetres.vertices[:, 1])) < 340


def test_temperature_zero_is_the_mean_head(prior: Path, tmp_path: Path) -> None:
    sample_heads(tmp_path, count=1, temperature=0.0, prior=prior, resolution=24, quiet=True)
    morph_heads("mean", "mean", tmp_path / "mean.ply", prior=prior, resolution=24, quiet=True)
    assert (tmp_path / "head_000.ply").read_bytes() == (tmp_path / "mean.ply").read_bytes()


def test_a_morph_goes_into_a_file_or_a_folder_from_which_it_goes_on(prior: Path, tmp_path: Path) -> None:
    morph_heads("1", "2", tmp_path / "half.ply", prior=prior, resolution=24, quiet=True)
    morph_heads("1", "2", tmp_path / "half", prior=prior, resolution=24, quiet=True)
    written = sorted(path.name for path in (tmp_path / "half").iterdir())
    assert written == sorted(MORPH_FILES) == ["field.safetensors", "head.glb", "head.ply", "sheet.png"]
    assert (tmp_path / "half" / "head.ply").read_bytes() == (tmp_path / "half.ply").read_bytes()
    with Image.open(tmp_path / "half" / "sheet.png") as sheet:
        assert sheet.size == (3 * 32, 32)
    own = Prior.load(prior)
    wanted = morph(random_head(own, 1), random_head(own, 2), 0.5, 0.5)
    assert torch.equal(_values(load_fitted(tmp_path / "half" / "field.safetensors"))[1], _values(wanted)[1])
    morph_heads(str(tmp_path / "half"), "2", tmp_path / "most.obj", prior=prior, resolution=24, quiet=True)


def test_steps_lead_from_the_first_head_to_the_fractions(prior: Path, tmp_path: Path) -> None:
    options = {"prior": prior, "resolution": 24, "quiet": True}
    morph_heads("1", "2", tmp_path / "way", shape=1.0, appearance=0.5, steps=3, **options)  # type: ignore[arg-type]
    assert len(list((tmp_path / "way").glob("step_00[012].*"))) == 6
    for number, (shape, appearance) in enumerate(((0.0, 0.0), (0.5, 0.25), (1.0, 0.5))):
        alone = tmp_path / "alone.ply"
        morph_heads("1", "2", alone, shape=shape, appearance=appearance, **options)  # type: ignore[arg-type]
        assert (tmp_path / "way" / f"step_{number:03d}.ply").read_bytes() == alone.read_bytes()


@dataclass(frozen=True)
class _Bad:
    """Options of `sample_heads` that are refused."""

    count: int = 1
    seed: int = 0
    temperature: float = 1.0
    resolution: int = 24


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"seed": -1}, {"temperature": -0.1}, {"temperature": float("nan")}, {"resolution": 2}]
)
def test_samples_out_of_range_are_refused(change: dict[str, float], prior: Path, tmp_path: Path) -> None:
    options = replace(_Bad(), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        sample_heads(tmp_path / "out", prior=prior, quiet=True, **vars(options))
    assert not (tmp_path / "out").exists()
