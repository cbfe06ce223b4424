"""Whole populations built from small sources: the same for the same seed, completed after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest

from busts import BUSTS, write_ict, write_mediapipe, write_valid
from protome.errors import InputError
from protome.population import build
from protome.population.build import Sources, build_population, head_record
from protome.population.compose import Composer
from protome.population.latent_init import LatentInit
from protome.population.sources.valid import identity
from protome.population.store import SPLITS, Population, read_manifest, shard_path
from protome.util.engines import Job, Processes, Result, Work

TRAINING = ["Asian_F_1_Busi", "Black_M_3_Casual", "MENA_M_3_Casual", "White_M_1_Casual"]
HELD_OUT = ["Black_F_1_Casual", "White_M_2_Casual"]
SAMPLES, COUNT, PURE = 400, 7, 3


class InProcess:
    """An engine without other processes, because each of those takes seconds to start; sources are read once."""

    prepared: ClassVar[dict[object, tuple[Composer, LatentInit]]] = {}

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        sources, cache = work.given
        if sources not in InProcess.prepared:
            assert work.prepare is not None
            work.prepare(sources, cache)
            InProcess.prepared[sources] = build._composer, build._latent_init
        build._composer, build._latent_init = InProcess.prepared[sources]
        return ((number, work.function(job)) for number, job in enumerate(jobs))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {
        "valid": write_valid(root / "valid"),
        "ict": write_ict(root / "ict"),
        "tables": write_mediapipe(root / "mediapipe"),
    }


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HEADS_PER_SHARD", 2)


def _built(out: Path, folders: dict[str, Path], **settings: object) -> Path:
    chosen = {"count": COUNT, "samples": SAMPLES, "ict_holdouts": PURE, "quiet": True} | settings
    return build_population(out, **folders, **{"engine": InProcess()} | chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def people(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("people") / "people"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "HEADS_PER_SHARD", 2)
        return _built(out, folders)


def _contents(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        return {key: b"".join(file[key][:]) if key == "name" else file[key][:].tobytes() for key in file}


def _shards(folder: Path) -> dict[str, dict[str, bytes]]:
    return {path.name: _contents(path) for path in sorted(folder.glob("*.h5"))}


def test_a_population_has_its_people_in_order(people: Path) -> None:
    manifest = read_manifest(people)
    assert manifest.seed == 0
    assert manifest.heads == {"train": COUNT, "holdout_valid": 2, "holdout_ict": PURE}
    assert (manifest.samples, manifest.heads_per_shard) == (SAMPLES, 2)
    given = {"valid": True, "ict": True, "makehuman": False, "targets": False}
    assert {key: value for key, value in manifest.sources.items() if key in given} == given
    assert {path.name for path in people.iterdir()} == {
        "manifest.json",
        *(f"train_{number:05d}.h5" for number in range(4)),
        "holdout_valid_00000.h5",
        *(f"holdout_ict_{number:05d}.h5" for number in range(2)),
    }
    train, valid, ict = (Population(people, split) for split in SPLITS)
    # The avatars that are not held out come first, then new people who wear their skins.
    assert train.names[:4] == TRAINING
    assert {name.removeprefix("new ") for name in train.names[4:]} <= set(TRAINING)
    assert all(name.startswith("new ") for name in (*train.names[4:], *ict.names))
    assert valid.names == HELD_OUT
    assert len(train) == COUNT
    assert len(ict) == PURE
    batch = train.samples(5)
    assert batch.points.shape == batch.space.shape == (1, SAMPLES, 3)
    assert train.shape_init.shape == (COUNT, 3 * 450 + 260)
    assert train.appearance_init.shape == (COUNT, 3 * (450 + 260))


def test_held_out_people_and_training_people_share_nobody(people: Path) -> None:
    train, valid = Population(people, "train"), Population(people, "holdout_valid")
    owners = [{identity(name.removeprefix("new ")) for name in split.names} for split in (train, valid)]
    assert not owners[0] & owners[1]

    def green(split: Population, head: int) -> float:
        """The share of skin that is green, as only the skin of held-out people is."""
        batch = split.samples(head)
        red, colour, _ = batch.colours[batch.registered].T
        return float((colour > 1.5 * red + 0.02).float().mean())

    assert max(green(train, head) for head in range(len(train))) == 0
    assert min(green(valid, head) for head in range(len(valid))) > 0.9
    ict = Population(people, "holdout_ict")
    assert max(green(ict, head) for head in range(len(ict))) == 0


def test_records_depend_on_the_seed_the_split_and_the_number_alone(people: Path, folders: dict[str, Path]) -> None:
    composer, latent_init = InProcess.prepared[Sources(**folders)]
    train, ict = Population(people, "train"), Population(people, "holdout_ict")
    for split, head in ((train, 5), (ict, 1)):
        record = head_record(composer, latent_init, "train" if split is train else "holdout_ict", head, 0, SAMPLES)
        assert record.name == split.names[head]
        np.testing.assert_array_equal(split.shape_init[head], record.shape_init.astype(np.float32))
        np.testing.assert_array_equal(split.appearance_init[head], record.appearance_init.astype(np.float32))
        # Samples are shuffled and quantised on disk: their middle says whose they are.
        middle = split.samples(head).points[0].mean(0).double().numpy() / 5
        np.testing.assert_allclose(middle, record.samples.points.mean(0), atol=1e-5)
    other = head_record(composer, latent_init, "train", 5, 1, SAMPLES)
    assert not np.array_equal(train.shape_init[5], other.shape_init.astype(np.float32))


def test_another_seed_makes_other_heads(people: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    other = _built(tmp_path / "other", folders, seed=1, count=6, ict_holdouts=1)
    first, second = Population(people), Population(other)
    # Avatars keep their shapes, but not their light and samples.
    assert second.names[:4] == first.names[:4]
    np.testing.assert_allclose(second.landmarks[:4], first.landmarks[:4], atol=1e-6)
    assert not np.array_equal(second.landmarks[4], first.landmarks[4])
    assert not np.array_equal(second.appearance_init[0], first.appearance_init[0])


def test_an_unfinished_population_is_completed(people: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    whole = _shards(people)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in people.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    missing, damaged = shard_path(broken, "train", 2), shard_path(broken, "holdout_ict", 0)
    missing.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    before = {path: path.stat().st_mtime_ns for path in broken.glob("*.h5")}
    assert _built(broken, folders) == broken
    assert _shards(broken) == whole
    for path, time in before.items():
        assert (path.stat().st_mtime_ns != time) == (path == damaged), path
    # Nothing is left to do.
    complete = {path: path.stat().st_mtime_ns for path in broken.glob("*.h5")}
    assert missing in complete
    _built(broken, folders)
    assert {path: path.stat().st_mtime_ns for path in broken.glob("*.h5")} == complete
    assert not list(broken.glob(".*"))


def test_a_larger_population_starts_with_the_same_heads(people: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    large = _built(tmp_path / "large", folders, count=COUNT + 2, ict_holdouts=PURE - 1)
    ours, theirs = _shards(people), _shards(large)
    for name in (
        "train_00000.h5",
        "train_00001.h5",
        "train_00002.h5",
        "holdout_valid_00000.h5",
        "holdout_ict_00000.h5",
    ):
        assert ours[name] == theirs[name], name
    small, more = Population(people), Population(large)
    assert more.names[:COUNT] == small.names
    assert len(more) == COUNT + 2
    np.testing.assert_array_equal(more.shape_init[:COUNT], small.shape_init)


def test_a_folder_of_other_settings_is_refused(people: Path, folders: dict[str, Path]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in people.iterdir()}
    for settings in ({"seed": 1}, {"count": COUNT + 1}, {"samples": SAMPLES + 1}, {"ict_holdouts": PURE + 1}):
        with pytest.raises(InputError, match="holds a population of other settings: give the same ones, or another"):
            _built(people, folders, **settings)
    with pytest.raises(InputError, match="other settings"):
        _built(people, {"valid": folders["valid"]})
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in people.iterdir()} == before


def test_avatars_alone_make_a_population_the_same_in_another_process(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = {"valid": folders["valid"]}
    out = _built(tmp_path / "worker", plain, count=5, engine=Processes(1))
    assert read_manifest(out).heads == {"train": 5, "holdout_valid": 2, "holdout_ict": 0}
    assert Population(out).names[:4] == TRAINING
    with pytest.raises(InputError, match="has no heads called holdout_ict: use one of train, holdout_valid"):
        Population(out, "holdout_ict")
    ours, theirs = _shards(out), _shards(_built(tmp_path / "here", plain, count=5))
    assert list(ours) == list(theirs)
    for name, contents in ours.items():
        assert contents == theirs[name], name


def test_incompatible_sources_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    valid, ict = folders["valid"], folders["ict"]
    with pytest.raises(InputError, match="--targets are shapes of MakeHuman's mesh: give --makehuman too"):
        build_population(tmp_path / "out", valid=valid, targets=ict)
    with pytest.raises(InputError, match=r'has no bodies\.npz: give the folder that "protome population busts" wrote'):
        build_population(tmp_path / "out", valid=ict)
    assert not (tmp_path / "out").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="because a file is in the way"):
        build_population(blocked, valid=valid)


def test_the_held_out_busts_of_these_tests_are_green() -> None:
    assert [bust.name for bust in BUSTS if bust.skin == (0, 255, 0)] == HELD_OUT
