"""Training of the encoder on small busts: photos are taken once, and everything it is given has to belong together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from busts import write_ict, write_mediapipe, write_valid
from heads import small_prior
from protome.capture.landmarks import Detection
from protome.encoder.encoder import Encoder
from protome.encoder.features import EYE_RIMS
from protome.errors import InputError
from protome.field.head import HeadField
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.population.build import Sources
from protome.population.character import Characters
from protome.population.compose import Composer
from protome.population.store import Manifest, write_manifest
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene
from protome.training import encoder as train
from protome.training.encoder import SETTINGS, photos_of, train_encoder
from protome.util.engines import Job, Result, Work

HEADS = 4


class InProcess:
    """An engine without other processes, because each of those takes seconds to start; sources are read once."""

    prepared: ClassVar[dict[tuple[Path, int], tuple[Composer, Characters | None, int]]] = {}

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        if work.prepare is not None:
            [config] = work.given
            assert isinstance(config, train.PhotoConfig)
            key = config.sources.valid, config.expressions
            if key not in InProcess.prepared:
                work.prepare(config)
                InProcess.prepared[key] = train._composer, train._characters, train._seed
            train._composer, train._characters, train._seed = InProcess.prepared[key]
        return ((number, work.function(job)) for number, job in enumerate(jobs))


def _faces(images: list[torch.Tensor], with_masks: bool) -> list[Detection]:
    """Find the mean face, seen from the front, in every photo: busts of revolution have no faces."""
    face = load_face_landmarks().positions.double()
    points = torch.cat([face, *(face[list(rim)].mean(0).expand(5, 3) for rim in EYE_RIMS)])
    eye, target = torch.tensor([[0.0, -20.0, 800.0], [0.0, -20.0, -60.0]], dtype=torch.float64)
    pixels = Camera.look_at(eye, target, 1.8 * train.SIZE, train.SIZE, train.SIZE).project(points).float()
    return [Detection((pixels,), torch.zeros(1, 1)) for _ in images]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources, a population of which only the manifest is there, a prior, and the latents of its heads."""
    root = tmp_path_factory.mktemp("encoder")
    sources = Sources(write_valid(root / "valid"), write_ict(root / "ict"), tables=write_mediapipe(root / "tables"))
    heads = {"train": HEADS, "holdout_valid": 0, "holdout_ict": 0}
    write_manifest(root / "people", Manifest(3, heads, HEADS, 10, sources.described()))
    prior = small_prior()
    prior.save(root / "prior.safetensors")
    prior, latents = Prior.load(root / "prior.safetensors"), {}
    for name, own in (("shape", prior.shape), ("appearance", prior.appearance)):
        coefficients = torch.randn(HEADS, len(own.axes), generator=torch.Generator().manual_seed(1))
        latents[name] = (own.mean + (coefficients - coefficients.mean(0)) @ own.axes).contiguous()
    save_file(latents, root / "prior.latents.safetensors")
    return root


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "detect", _faces)
    monkeypatch.setattr(train, "SIZE", 96)


def _trained(root: Path, out: Path, **changed: object) -> Encoder:
    settings = {
        "latents": root / "prior.latents.safetensors", "valid": root / "valid", "ict": root / "ict",
        "tables": root / "tables", "prior": root / "prior.safetensors", "each": 2, "engine": InProcess(), "quiet": True,
    }  # fmt: skip
    return train_encoder(root / "people", out, **settings | changed)  # type: ignore[arg-type]


def test_an_encoder_is_trained_and_a_stopped_run_takes_no_photo_twice(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[int] = []
    photograph = train._photograph

    def counted(job: tuple[train.PhotoConfig, int]) -> None:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(job[1])
        photograph(job)

    out = tmp_path / "own.safetensors"
    monkeypatch.setattr(train, "_photograph", counted)
    with pytest.raises(KeyboardInterrupt):
        _trained(root, out)
    assert not out.exists()
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "own.photos").glob("*.npz")}
    assert len(first) == 2

    def noted(job: object) -> object:
        taken.append(job[1])  # type: ignore[index]
        return photograph(job)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "_photograph", noted)
    encoder = _trained(root, out)
    assert sorted(taken) == list(range(HEADS))
    assert all((tmp_path / "own.photos" / name).stat().st_mtime_ns == time for name, time in first.items())
    assert encoder.belongs_to(Prior.load(root / "prior.safetensors"))
    assert Encoder.load(out).belongs_to(Prior.load(root / "prior.safetensors"))
    assert f"{2 * HEADS} photos of {HEADS} people. Explained variance" in capsys.readouterr().out


def test_the_same_seed_takes_the_same_photos_and_learns_the_same(root: Path, tmp_path: Path) -> None:
    a, b, c = (_trained(root, tmp_path / name / "e.safetensors", seed=seed) for name, seed in
               (("a", 0), ("b", 0), ("c", 1)))  # fmt: skip
    assert torch.equal(a.weights, b.weights)
    assert torch.equal(a.centres, b.centres)
    assert not torch.equal(a.weights, c.weights)
    views = {name: photos_of(tmp_path / name / "e.photos" / "00002.npz") for name in "abc"}
    for one, same, other in zip(*views.values(), strict=True):
        assert torch.equal(one.image, same.image)
        assert torch.equal(one.camera.T_world_camera, same.camera.T_world_camera)
        assert not torch.equal(one.camera.T_world_camera, other.camera.T_world_camera)
        assert 0.05 < float(one.mask.mean()) < 0.95  # the head is in the photo
        assert 400 < float(one.camera.centre.norm()) < 1800


def test_photos_of_other_settings_are_not_mixed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    _trained(root, out)
    assert json.loads((tmp_path / "own.photos" / SETTINGS).read_text())["seed"] == 0
    for changed in ({"seed": 1}, {"each": 3}):
        with pytest.raises(InputError, match="holds photos of other settings"):
            _trained(root, out, **changed)
    (tmp_path / "strange").mkdir()
    np.savez(tmp_path / "strange" / "00000.npz")
    with pytest.raises(InputError, match="holds photos of other settings"):
        _trained(root, out, photos=tmp_path / "strange")


def test_what_does_not_belong_together_is_refused(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    with pytest.raises(InputError, match=r"none\.safetensors does not exist: `protome train` leaves it"):
        _trained(root, out, latents=root / "none.safetensors")
    with pytest.raises(InputError, match="holds no latents"):
        _trained(root, out, latents=root / "prior.safetensors")
    with pytest.raises(InputError, match="has other expressions than the prior"):
        _trained(root, out, prior=None)
    with pytest.raises(InputError, match="was built from other sources: give those, --valid, --ict"):
        _trained(root, out, ict=None)
    with pytest.raises(InputError, match="0 photos of each head"):
        _trained(root, out, each=0)
    with pytest.raises(InputError, match="does not exist: build it with"):
        train_encoder(root / "nobody", out, latents=root / "x", valid=root / "valid", quiet=True)
    write_manifest(tmp_path / "more", Manifest(3, {"train": 3}, 9, 10, Sources(root, root).described()))
    with pytest.raises(InputError, match="has the latents of 4 people, and the population 3"):
        train_encoder(
            tmp_path / "more", out, latents=root / "prior.latents.safetensors", valid=root / "valid",
            ict=root / "ict", prior=root / "prior.safetensors", quiet=True,
        )  # fmt: skip
    assert not out.exists()


def test_heads_without_a_face_in_any_photo_are_left_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "detect", lambda images, with_masks: [Detection((), torch.zeros(1, 1)) for _ in images])
    with pytest.raises(InputError, match="shows the faces of fewer than two people"):
        _trained(root, tmp_path / "own.safetensors")


def test_people_with_expressions_teach_them_too(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = Sources(root / "valid", root / "ict", tables=root / "tables")
    units, people = Characters(sources.composer()).units, 3
    heads = {"train": 2 * people, "holdout_valid": 0, "holdout_ict": 0, "holdout_expressive": 0}
    write_manifest(tmp_path / "people", Manifest(3, heads, 2, 10, sources.described(), 2, units))
    plain = small_prior()
    field = HeadField(replace(plain.field.config, expression=units, expression_width=3))
    moved = LatentStatistics(torch.zeros(len(units)), 0.3 * torch.eye(len(units)))
    prior = replace(plain, field=field.requires_grad_(False), expression=moved)
    prior.save(tmp_path / "prior.safetensors")
    latents = {}
    for name, own in (("shape", prior.shape), ("appearance", prior.appearance)):
        drawn = torch.randn(people, len(own.axes), generator=torch.Generator().manual_seed(2))
        latents[name] = (own.mean + (drawn - drawn.mean(0)) @ own.axes).contiguous()
    save_file(latents, tmp_path / "prior.latents.safetensors")
    out = tmp_path / "own.safetensors"
    encoder = train_encoder(
        tmp_path / "people", out, prior=tmp_path / "prior.safetensors", latents=tmp_path / "prior.latents.safetensors",
        valid=root / "valid", ict=root / "ict", tables=root / "tables", each=1, most=2, engine=InProcess(), quiet=True,
    )  # fmt: skip
    # Two people are photographed, neutral and with an expression, and what is learned of it comes back.
    assert sorted(path.name for path in (tmp_path / "own.photos").glob("*.npz")) == [f"{k:05d}.npz" for k in range(4)]
    kept = [np.load(tmp_path / "own.photos" / f"{head:05d}.npz")["expression"] for head in range(4)]
    assert [bool(weights.any()) for weights in kept] == [False, True, False, True]
    assert encoder.expression_spread is not None
    assert encoder.expression_spread.shape == (len(units), len(units))
    assert Encoder.load(out).expression_spread is not None
    assert "expression, axes 1 to 10" in capsys.readouterr().out
    (view,) = photos_of(tmp_path / "own.photos" / "00001.npz")
    estimate = encoder.estimate(Scene((view,), Similarity.identity(), posed=False), prior)
    assert estimate is not None
    assert estimate.expressions[0].axes.shape == (len(units), len(units))
    train_encoder(
        tmp_path / "people", out, prior=tmp_path / "prior.safetensors", latents=tmp_path / "prior.latents.safetensors",
        valid=root / "valid", ict=root / "ict", tables=root / "tables", each=1, most=3, heads=1,
        engine=InProcess(), quiet=True,
    )  # fmt: skip
    # A third person is photographed once; the heads that are there already count and are used.
    assert sorted(path.name for path in (tmp_path / "own.photos").glob("*.npz")) == [f"{k:05d}.npz" for k in range(5)]
    assert "5 photos of 3 people" in capsys.readouterr().out
    other = replace(prior.field.config, expression=("jawOpen",))
    replace(prior, field=HeadField(other), expression=LatentStatistics(torch.zeros(1), torch.eye(1))).save(
        tmp_path / "other.safetensors"
    )
    with pytest.raises(InputError, match="has other expressions than the prior"):
        train_encoder(
            tmp_path / "people", out, prior=tmp_path / "other.safetensors",
            latents=tmp_path / "prior.latents.safetensors", valid=root / "valid", ict=root / "ict",
            tables=root / "tables", quiet=True,
        )  # fmt: skip
