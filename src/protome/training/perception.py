"""Training of the perception network on shards of portraits, round by round, resumable.

A round learns from a few shards: the next ones that are new, and some of those seen before. What it does depends on the
seed, its number and which shards lie there when it begins, so a stopped run that is continued with the same
shards ends with the same bits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from protome.errors import InputError
from protome.perception.network import SIZE, PerceptionNet
from protome.perception.weights import save_weights, stored_weights
from protome.population.portraits.shards import found_shards, read_shard
from protome.training.degrade import example
from protome.training.perception_loss import landmark_nll, parts_loss, visibility_loss
from protome.training.perception_scores import Scores, score
from protome.util.device import bfloat16_pays, choose_device, seeded
from protome.util.files import write_atomically
from protome.util.progress import progress

NETWORK, STATE, LOG = "perception.safetensors", "training.safetensors", "log.jsonl"
"""The averaged network to use; the state of the training to continue from; a line of scores for every round."""


@dataclass(frozen=True)
class PerceptionTraining:
    """Options of a training."""

    batch: int = 16
    new_shards: int = 3
    """Shards of a round that have not been seen, at most."""
    old_shards: int = 3
    """Shards of a round that have been seen; as many as there are if they are fewer."""
    rate: float = 1.5e-3
    """Learning rate after the start."""
    warm_up: int = 8_000
    """Pictures in which the rate rises to that."""
    half: float = 150_000
    """The rate falls as one over the square root of one plus the pictures seen over this number."""
    cool: float = 60_000
    """The last pictures, in which the rate falls to nothing. A run that goes on beyond them has the full rate again."""
    average: float = 0.998
    """Share that the averaged weights keep of themselves in a step."""
    visibility: float = 0.3
    """Weight of the visibility's loss."""
    parts: float = 2.0
    """Weight of the parts' loss."""
    coarse: float = 10.0
    """Weight of the mean distance of the uncorrected landmarks, half sides of the square."""
    hidden: float = 0.5
    """Weight of landmarks that are not visible."""
    small: int = 128
    """Side of the squares at first: more than twice as many pass in the same time."""
    small_until: float = 130_000
    """Pictures after which squares have their full size."""
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Degraded squares and their labels."""

    images: Float[Tensor, "b 3 s s"]
    parts: UInt8[Tensor, "b s s"]
    landmarks: Float[Tensor, "b l 2"]
    visible: Bool[Tensor, "b l"]


@dataclass
class Counters:
    """How far a training is."""

    round: int = 0
    pictures: int = 0
    """Shown to the network, repetitions included."""
    seen_shards: int = 0
    hours: float = 0.0


class Training:
    """A network, its average, its optimiser, and how far they are."""

    def __init__(self, config: PerceptionTraining, device: torch.device) -> None:
        self.config, self.device = config, device
        with seeded(config.seed):
            self.network = _new_network(device)
        self.average = _new_network(device).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=1e-3, fused=True)
        self.counters = Counters()

    def load(self, state: Path) -> None:
        """Continue from a saved state."""
        tensors = load_file(state)

        def part(prefix: str) -> dict[str, Tensor]:
            return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        moments = self.optimiser.state_dict()
        moments["state"] = {
            number: {
                "step": tensors[f"optimiser.{number}.step"],
                # In the order of the weights in memory, which the fused optimiser takes for granted.
                **{
                    name: torch.empty_like(weights).copy_(tensors[f"optimiser.{number}.{name}"])
                    for name in ("exp_avg", "exp_avg_sq")
                },
            }
            for number, weights in enumerate(self.network.parameters())
        }
        self.optimiser.load_state_dict(moments)
        numbers = tensors["counters"].tolist()
        self.counters = Counters(int(numbers[0]), int(numbers[1]), int(numbers[2]), float(numbers[3]))

    def load_average(self, weights: Path) -> None:
        """Start again from published weights: a fresh optimiser, everything else as it was counted."""
        tensors, about = stored_weights(weights)
        for network in (self.network, self.average):
            network.load_state_dict(tensors)
        told = {name: about[name] for name in vars(self.counters) if name in about}
        self.counters = Counters(
            int(told.get("round", 0)), int(told.get("pictures", 0)), 0, float(told.get("hours", 0))
        )

    def save(self, out: Path, scores: Scores | None) -> None:
        """Write the averaged network and the state."""
        about = {name: str(value) for name, value in vars(self.counters).items()}
        if scores is not None:
            about |= {name: f"{value:.4f}" for name, value in asdict(scores).items()}
        save_weights(out / NETWORK, self.average, about)
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
        tensors["counters"] = torch.tensor(list(vars(self.counters).values()), dtype=torch.float64)
        held = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
        write_atomically(out / STATE, lambda part: save_file(held, part))

    def step(self, batch: Batch, total: int) -> float:
        """Learn from one batch, of so many pictures in all, and return its loss."""
        config, seen = self.config, self.counters.pictures
        rate = learning_rate(config, seen, total)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16_pays(self.device)):
            said = self.network(batch.images.to(self.device, memory_format=torch.channels_last))
        truth, visible = batch.landmarks.to(self.device), batch.visible.to(self.device)
        # Landmarks far outside the square say nothing that the picture could teach.
        near = (truth.abs().amax(-1) < 1.3).float()
        weight = near * torch.where(visible, 1.0, config.hidden)
        nll = (weight * landmark_nll(said.landmarks, said.log_sigma, truth)).sum() / weight.sum()
        coarse = (weight * (said.coarse - truth).square().sum(-1).add(1e-8).sqrt()).sum() / weight.sum()
        loss = nll + config.coarse * coarse + config.visibility * visibility_loss(said.visible, visible)
        # A quarter of the pixels, others in every step, costs a quarter.
        down, across = divmod(seen // config.batch % 4, 2)
        labels = batch.parts[:, down::2, across::2].to(self.device).long()
        loss = loss + config.parts * parts_loss(said.parts[:, :, down::2, across::2], labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.counters.pictures += len(truth)
        self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        steps = self.counters.pictures / self.config.batch
        keep = min(self.config.average, (1 + steps) / (10 + steps))
        theirs = self.network.state_dict()
        for key, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[key], 1 - keep)
            else:
                value.copy_(theirs[key])


def _new_network(device: torch.device) -> PerceptionNet:
    network = PerceptionNet().to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def learning_rate(config: PerceptionTraining, seen: int, total: int) -> float:
    """Return the rate after some pictures of a run of so many in all."""
    rate = config.rate * min(1.0, (seen + config.batch) / config.warm_up) / (1 + seen / config.half) ** 0.5
    return rate * min(1.0, max(total - seen, 0) / min(config.cool, 0.3 * total))


def chosen_shards(found: int, counters: Counters, config: PerceptionTraining) -> list[int]:
    """Return the numbers of a round's shards among `found` ones: new ones first, then seen ones at random."""
    new = list(range(counters.seen_shards, min(found, counters.seen_shards + config.new_shards)))
    rng = np.random.default_rng([config.seed, 1, counters.round])
    old = rng.permutation(counters.seen_shards)[: config.old_shards + config.new_shards - len(new)]
    return new + sorted(int(number) for number in old)


def round_batches(paths: list[Path], number: int, config: PerceptionTraining, size: int = SIZE) -> Iterator[Batch]:
    """Yield the batches of round `number`, made one ahead by another thread."""
    shards = [read_shard(path) for path in paths]
    places = np.array([(k, n) for k, shard in enumerate(shards) for n in shard.of_subjects()])
    order = np.random.default_rng([config.seed, 2, number]).permutation(len(places))
    starts = range(0, len(order) - config.batch + 1, config.batch)

    def made(start: int) -> Batch:
        examples = []
        for place in order[start : start + config.batch]:
            shard, n = shards[places[place, 0]], places[place, 1]
            rng = np.random.default_rng([config.seed, 3, number, int(place)])
            examples.append(example(shard.images[n], shard.parts[n], shard.landmarks[n], shard.visible[n], size, rng))
        images = torch.from_numpy(np.stack([one.image for one in examples])).permute(0, 3, 1, 2).float() / 255
        return Batch(
            images, torch.from_numpy(np.stack([one.parts for one in examples])),
            torch.from_numpy(np.stack([one.landmarks for one in examples])),
            torch.from_numpy(np.stack([one.visible for one in examples])),
        )  # fmt: skip

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(made, starts[0])
        for start in starts:
            batch = coming.result()
            if start + config.batch < starts.stop:
                coming = pool.submit(made, start + config.batch)
            yield batch


def train_perception(
    shards: Path,
    out: Path,
    *,
    pictures: int,
    validation: Path | None = None,
    start: Path | None = None,
    config: PerceptionTraining | None = None,
    device: str = "auto",
    rounds: int | None = None,
    wait_s: float = 20.0,
    quiet: bool = False,
) -> Path:
    """Train until so many pictures were shown, or for some rounds; write the network after each round.

    A training that was stopped in `out` goes on. `start` are weights of an earlier training whose optimiser is gone.
    New shards may appear while it runs; without any, it waits.

    Raises:
        InputError: there is no folder of shards, none for validation, or a file of weights cannot be used.
    """
    if not shards.is_dir():
        raise InputError(f"{shards} is no folder: write portraits there with `protome population portraits`")
    if validation is not None and not found_shards(validation):
        raise InputError(f"{validation} holds no portraits: write some of another seed there")
    cv2.setNumThreads(1)
    chosen = choose_device(device)
    training = Training(config or PerceptionTraining(), chosen)
    config = training.config
    out.mkdir(parents=True, exist_ok=True)
    if (out / STATE).is_file():
        training.load(out / STATE)
    elif start is not None:
        training.load_average(start)
    counters = training.counters
    latest: Scores | None = None
    last = None if rounds is None else counters.round + rounds
    with progress("learning to see", pictures, before=counters.pictures, quiet=quiet) as step:
        while counters.pictures < pictures and counters.round != last:
            paths = found_shards(shards)
            numbers = chosen_shards(len(paths), counters, config)
            if not numbers:
                time.sleep(wait_s)
                continue
            began, losses = time.monotonic(), []
            size = config.small if counters.pictures < config.small_until else SIZE
            for batch in round_batches([paths[k] for k in numbers], counters.round, config, size):
                losses.append(training.step(batch, pictures))
                step(config.batch, f"loss {losses[-1]:.2f}")
            counters.round += 1
            counters.seen_shards = max(counters.seen_shards, max(numbers) + 1)
            counters.hours += (time.monotonic() - began) / 3600
            due = validation is not None and counters.round % 4 == 1
            scores = score(training.average, validation, size=size) if due and validation is not None else None
            latest = scores or latest
            training.save(out, latest)
            _log(out / LOG, counters, float(np.mean(losses)), scores)
    return out / NETWORK


def _log(path: Path, counters: Counters, loss: float, scores: Scores | None) -> None:
    row = {**vars(counters), "loss": loss, **({} if scores is None else asdict(scores))}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
