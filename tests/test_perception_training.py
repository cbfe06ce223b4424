"""Training of the perception network: losses against their definitions, squares against their labels, resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributions import Normal

from protome.errors import InputError
from protome.perception.network import LANDMARKS, Perceived, PerceptionNet
from protome.perception.parts import HAIR, PARTS, SKIN
from protome.population.portraits.shards import Shard, shard_file, write_shard
from protome.training.degrade import degraded, example
from protome.training.perception import (
    NETWORK,
    STATE,
    Counters,
    PerceptionTraining,
    chosen_shards,
    learning_rate,
    train_perception,
)
from protome.training.perception_loss import PART_WEIGHTS, UNKNOWN, landmark_nll, parts_loss
from protome.training.perception_scores import score

SIDE = 64
TINY = PerceptionTraining(batch=4, new_shards=1, old_shards=1, small=32, warm_up=8)


def test_the_loss_of_landmarks_is_the_density_of_a_gaussian() -> None:
    places, truth = torch.randn(3, 5, 2, dtype=torch.float64), torch.randn(3, 5, 2, dtype=torch.float64)
    logs = torch.randn(3, 5, dtype=torch.float64)
    density = Normal(places, logs.exp()[..., None]).log_prob(truth).sum(-1)
    assert landmark_nll(places, logs, truth) == pytest.approx(-density - np.log(2 * np.pi))
    torch.autograd.gradcheck(landmark_nll, (places.requires_grad_(), logs.requires_grad_(), truth))


def test_the_best_uncertainty_is_the_size_of_the_error() -> None:
    errors = 0.3 * torch.randn(20_000, 1, 2)
    logs = torch.linspace(-3, 0, 301)
    losses = [float(landmark_nll(errors, log.expand(len(errors), 1), torch.zeros_like(errors)).mean()) for log in logs]
    assert float(logs[int(np.argmin(losses))].exp()) == pytest.approx(0.3, rel=0.03)


def test_unknown_pixels_and_frequent_parts_weigh_less() -> None:
    logits = torch.randn(1, len(PARTS), 2, 2)
    labels = torch.tensor([[[SKIN, UNKNOWN], [0, UNKNOWN]]])
    single = -torch.log_softmax(logits, 1)
    weights = PART_WEIGHTS[SKIN], PART_WEIGHTS[0]
    wanted = (weights[0] * single[0, SKIN, 0, 0] + weights[1] * single[0, 0, 1, 0]) / sum(weights)
    assert parts_loss(logits, labels) == pytest.approx(float(wanted))


def test_labels_move_with_the_picture() -> None:
    image, parts = np.full((SIDE, SIDE, 3), 40, np.uint8), np.full((SIDE, SIDE), SKIN, np.uint8)
    image[20:26, 40:46], parts[20:26, 40:46] = 250, HAIR
    marks, visible = np.array([[43.0, 23.0], [-5.0, 10.0]], np.float32), np.array([True, True])
    moved = 0
    for number in range(30):
        one = example(image, parts, marks, visible, 48, np.random.default_rng(number))
        assert not one.visible[1]  # beyond the picture
        if not one.visible[0]:
            continue
        place = (one.landmarks[0] + 1) * 24
        row, column = np.nonzero(one.parts == HAIR)
        assert [column.mean() + 0.5, row.mean() + 0.5] == pytest.approx(place, abs=0.8)
        bright = one.image.astype(float).mean(2) * (one.parts != UNKNOWN)
        assert bright[int(place[1]), int(place[0])] > bright[one.parts == SKIN].mean()
        moved += abs(place - [32, 17]).max() > 3
    assert moved > 10


def test_beyond_the_photos_border_nothing_is_known() -> None:
    parts = np.full((SIDE, SIDE), SKIN, np.uint8)
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    cut = 0
    for number in range(40):
        one = example(image, parts, np.zeros((1, 2), np.float32), np.array([True]), 48, np.random.default_rng(number))
        assert set(np.unique(one.parts)) <= {SKIN, UNKNOWN}
        cut += (one.parts == UNKNOWN).mean() > 0.1
    assert 4 < cut < 30


def test_degrading_keeps_the_picture_recognisable() -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, SIDE // 2 :] = 200
    for number in range(40):
        seen = degraded(image, np.random.default_rng(number)).astype(float).mean(2)
        assert seen[:, SIDE // 2 + 6 :].mean() > seen[:, : SIDE // 2 - 6].mean() + 40


def _shards(folder: Path, count: int, pictures: int = 8) -> Path:
    rng = np.random.default_rng(5)
    for number in range(count):
        write_shard(
            shard_file(folder, number),
            Shard(
                rng.integers(0, 256, (pictures, SIDE, SIDE, 3)).astype(np.uint8),
                rng.integers(0, len(PARTS), (pictures, SIDE, SIDE)).astype(np.uint8),
                rng.uniform(0, SIDE, (pictures, LANDMARKS, 2)).astype(np.float32),
                rng.random((pictures, LANDMARKS)) < 0.5, np.zeros((pictures, 3), np.float32),
            ),
        )  # fmt: skip
    return folder


def test_a_stopped_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    shards = _shards(tmp_path / "shards", 2)
    whole = train_perception(shards, tmp_path / "whole", pictures=10**6, rounds=3, config=TINY, quiet=True)
    for _ in range(3):
        train_perception(shards, tmp_path / "parts", pictures=10**6, rounds=1, config=TINY, quiet=True)
    first, second = load_file(whole.parent / STATE), load_file(tmp_path / "parts" / STATE)
    assert first.keys() == second.keys()
    # All but the hours, which are the clock's.
    assert first["counters"][:3].tolist() == second["counters"][:3].tolist() == [3, 40, 2]
    for key in first.keys() - {"counters"}:
        assert torch.equal(first[key], second[key]), key
    assert (tmp_path / "parts" / NETWORK).is_file()


def test_published_weights_start_a_training_again(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    shards = _shards(tmp_path / "shards", 1)
    first = train_perception(shards, tmp_path / "first", pictures=10**6, rounds=1, config=TINY, quiet=True)
    train_perception(shards, tmp_path / "next", pictures=10**6, rounds=1, config=TINY, start=first, quiet=True)
    assert load_file(tmp_path / "next" / STATE)["counters"][:2].tolist() == [2, 16]


def test_new_shards_come_first_and_each_once() -> None:
    config = PerceptionTraining(new_shards=2, old_shards=2)
    counters = Counters()
    seen: list[int] = []
    for _ in range(5):
        numbers = chosen_shards(9, counters, config)
        assert len(numbers) == len(set(numbers)) <= 4
        seen += [number for number in numbers if number >= counters.seen_shards]
        counters.seen_shards, counters.round = max(counters.seen_shards, max(numbers) + 1), counters.round + 1
    assert seen == list(range(9))


def test_the_rate_rises_then_falls_slowly_and_to_nothing_at_the_end() -> None:
    config = PerceptionTraining(rate=1.0, warm_up=100, half=1000, cool=500, batch=10)
    assert learning_rate(config, 40, 10_000) == pytest.approx(0.5, rel=0.03)
    assert learning_rate(config, 3_000, 10_000) == pytest.approx(0.5)
    assert learning_rate(config, 8_000, 10_000) == pytest.approx(1 / 3)
    assert learning_rate(config, 9_750, 10_000) == pytest.approx(0.5 / 10.75**0.5)
    assert learning_rate(config, 10_005, 10_000) == 0


def test_training_without_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder: write portraits there with"):
        train_perception(tmp_path / "none", tmp_path / "out", pictures=1, quiet=True)


class _Knowing(PerceptionNet):
    """Says what is true of the pictures that it is asked about in order."""

    truth: list  # of examples

    def forward(self, pictures: torch.Tensor) -> Perceived:
        group, self.truth = self.truth[: len(pictures)], self.truth[len(pictures) :]
        marks = torch.from_numpy(np.stack([one.landmarks for one in group]))
        labels = torch.from_numpy(np.stack([one.parts for one in group])).long().clamp(max=len(PARTS) - 1)
        parts = 10.0 * torch.nn.functional.one_hot(labels, len(PARTS)).permute(0, 3, 1, 2)
        seen = torch.from_numpy(np.stack([one.visible for one in group]))
        off = marks + torch.tensor([0.01, 0.01])
        logs = torch.full(marks.shape[:2], float(np.log(0.01)))
        return Perceived(off, off, logs, torch.where(seen, 5.0, -5.0), parts)


def test_scores_of_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = _shards(tmp_path, 1)
    network, made = _Knowing(), []

    def kept(*given: object) -> object:
        made.append(example(*given))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr("protome.training.perception_scores.example", kept)
    network.truth = made
    found = score(network, shards)
    assert found.person_iou == found.mean_iou == found.visibility == 1
    assert found.others_taken == 0
    assert found.sigmas == pytest.approx(1, rel=1e-3)
    assert found.visible_pixels == pytest.approx(0.01 * np.sqrt(2) * 96, rel=1e-3)
