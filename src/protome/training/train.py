"""Auto-decoder training of the prior: one latent pair per head, one field for all (SIRA++, section 3.2)."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from protome import losses
from protome.errors import InputError
from protome.field.head import HeadField, HeadFieldConfig
from protome.population.store import Population, SampleBatch
from protome.prior.prior import LatentStatistics, Prior, cross_covariance_of
from protome.training.distributed import ProcessGroup
from protome.training.latents import LatentTable, principal_start
from protome.units import UNIT_MM
from protome.util.device import bfloat16_pays, choose_device, seeded
from protome.util.files import write_atomically
from protome.util.progress import progress
from protome.util.reading import reading


@dataclass(frozen=True)
class TrainingConfig:
    """Options of a run; fractions are of the whole run, so that the number of steps scales it."""

    field: HeadFieldConfig = field(default_factory=HeadFieldConfig)
    steps: int = 10_000
    heads: int = 16
    """Heads per step, over all devices together."""
    surface: int = 256
    """Surface points per head and step."""
    space: int = 192
    """Points in space per head and step."""
    sloped: float = 0.25
    """The share of these points whose spatial gradient is computed, for normals and eikonal term: it doubles a
    point's cost. On the other surface points the renderer gets the known normals."""
    rate: float = 1e-3
    """Learning rate of the networks at the start."""
    latent_rate: float = 1e-2
    """Learning rate of the latents at the start."""
    last_rate: float = 0.002
    """What both rates have been multiplied by at the end; they fall along half a cosine."""
    unmask: float = 0.5
    """Fraction of the run in which the reference's encoding mask opens; 0: it is open from the start."""
    distance: float = 1.0
    """Weight of |f| on the surface, and of |f - s| in space (the paper: 1 on the surface)."""
    normal: float = 0.1
    """Weight of the normals (ours: scans have them, and they are worth three distances each)."""
    eikonal: float = 0.1
    """The paper's weight."""
    deformation: float = 1e-3
    """The paper's weight."""
    landmark: float = 1e-3
    """The paper's weight."""
    registration: float = 1.0
    """Weight at the start of the distance between skin points in the reference and their place on the template
    (ours: the landmark term, extended to all the skin)."""
    registration_fall: float = 0.05
    """What the weight of the registration has been multiplied by at the end."""
    colour: float = 0.2
    """The paper has 1; five times less lets shape lead while both are learned in an hour. 0: no colour at all."""
    embedding: float = 1e-4
    """The paper has 1e-3 in its own units of length; ours are smaller."""
    bfloat16: bool = True
    """Products between hidden layers in bfloat16 until `settle`, where the processor multiplies it faster."""
    settle: float = 0.9
    """Fraction of the run after which everything is in full precision."""
    checkpoint_s: float = 60.0
    """Seconds between checkpoints."""


_SMALL_FIELD = HeadFieldConfig(
    latent=16, feature=8, deformation_width=48, deformation_depth=3, deformation_frequencies=2, reference_width=48,
    reference_depth=3, reference_frequencies=4, renderer_width=48, renderer_depth=3, renderer_frequencies=3,
)  # fmt: skip
_UNDEFORMED = TrainingConfig(
    field=HeadFieldConfig(deformed=False, reference_width=192, reference_depth=8), colour=0.0, unmask=0.0
)

CONFIGS = {
    "sira++": TrainingConfig(),
    # The paper's ablations: shape alone; with the mask; with deformation and reference but no appearance.
    "h3d-net": _UNDEFORMED,
    "h3d-net-pm": replace(_UNDEFORMED, unmask=0.5),
    "deform": TrainingConfig(colour=0.0),
    # A run of seconds, for trials and tests.
    "tiny": TrainingConfig(field=_SMALL_FIELD, steps=600, heads=4, surface=128, space=96),
}


@dataclass(frozen=True)
class StepLoss:
    """The loss of one batch."""

    total: Float[Tensor, ""]
    """The weighted sum of all terms."""
    surface_mm: Float[Tensor, ""]
    """Mean |f| on the surface, millimetres; no gradient."""


def training_loss(
    head: HeadField,
    shape: Float[Tensor, "s c"],
    appearance: Float[Tensor, "s c"],
    batch: SampleBatch,
    config: TrainingConfig,
    *,
    done: float = 0.0,
    processes: ProcessGroup | None = None,
) -> StepLoss:
    """Return the loss of a batch whose heads have the given latents, after the fraction `done` of the run."""
    surface, space = batch.points.shape[1], batch.space.shape[1]
    on, around = (max(1, round(config.sloped * count)) for count in (surface, space))
    sloped = head.query(torch.cat([batch.points[:, :on], batch.space[:, :around]], 1), shape)
    plain = head.values(torch.cat([batch.points[:, on:], batch.space[:, around:]], 1), shape)

    def at_surface(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first[:, :on], second[:, : surface - on]], 1)

    def in_space(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first[:, on:], second[:, surface - on :]], 1)

    sdf = at_surface(sloped.sdf, plain.sdf)
    total = (
        config.distance * (losses.distance(sdf) + losses.distance(in_space(sloped.sdf, plain.sdf), batch.distances))
        + config.normal * losses.normal(sloped.gradient[:, :on], batch.normals[:, :on])
        + config.eikonal * losses.eikonal(sloped.gradient[:, on:])
        + config.embedding * (losses.embedding(shape) + losses.embedding(appearance))
    )
    reference = at_surface(sloped.reference, plain.reference)
    if head.deformation is not None:
        landmarks = batch.landmarks + head.displacement(batch.landmarks, shape)
        weight = config.registration * config.registration_fall**done
        total = (
            total
            + config.deformation * losses.deformation(at_surface(sloped.displacement, plain.displacement))
            + config.landmark * losses.landmark((processes or ProcessGroup()).gathered(landmarks))
            + weight * losses.registration(reference, batch.template, batch.registered)
        )
    if config.colour:
        own = nn.functional.normalize(sloped.gradient[:, :on], dim=-1)
        normals = torch.cat([own, batch.normals[:, on:]], 1)
        feature = at_surface(sloped.feature, plain.feature)
        colours = head.colour(reference, normals, batch.views, feature, appearance)
        total = total + config.colour * losses.colour(colours, batch.colours)
    return StepLoss(total, sdf.detach().abs().mean() * UNIT_MM)


class Run:
    """The state of a training run; a checkpoint holds all that its steps change."""

    def __init__(
        self, people: Population, config: TrainingConfig, seed: int, device: torch.device, processes: ProcessGroup
    ) -> None:
        self.people, self.config, self.seed, self.device, self.processes = people, config, seed, device, processes
        with seeded(seed):
            self.field = HeadField(config.field).to(device)
        self.latents = {
            "shape": LatentTable(principal_start(people.shape_init, config.field.latent, 2 * seed).to(device)),
            "appearance": LatentTable(
                principal_start(people.appearance_init, config.field.latent, 2 * seed + 1).to(device)
            ),
        }
        self.weights = list(self.field.parameters())
        self.optimiser = torch.optim.Adam(self.weights, config.rate)
        self.bfloat16 = config.bfloat16 and bfloat16_pays(device)
        self.number = 0
        facts = repr((config, seed, people.names)).encode() + people.landmarks.numpy().tobytes()
        self.mark = hashlib.sha256(facts).hexdigest()

    def save(self, path: Path) -> None:
        state = {
            "field": self.field.state_dict(),
            "latents": {name: table.state() for name, table in self.latents.items()},
            "optimiser": self.optimiser.state_dict(),
            "number": self.number,
            "mark": self.mark,
        }
        write_atomically(path, lambda part: torch.save(state, part))

    def restore(self, path: Path) -> None:
        with reading(path, "the state of a training", "remove it to start anew"):
            saved = torch.load(path, weights_only=True, map_location=self.device)
            if saved.get("mark") != self.mark:
                raise InputError(
                    f"{path} belongs to another population, configuration or seed: remove it to start anew"
                )
            self.field.load_state_dict(saved["field"])
            for name, table in self.latents.items():
                table.restore(saved["latents"][name])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.number = int(saved["number"])

    def step(self) -> StepLoss:
        """Take one step; its random draws depend on the seed and its number alone."""
        config, processes = self.config, self.processes
        done = self.number / config.steps
        progressed = min(1.0, done / config.unmask) if config.unmask else 1.0
        self.field.alpha = config.field.reference_frequencies * progressed
        fall = config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        self.optimiser.param_groups[0]["lr"] = config.rate * fall
        rng = np.random.default_rng([self.seed, self.number])
        count = min(config.heads, len(self.people)) // processes.count * processes.count
        chosen = rng.choice(len(self.people), count, replace=False)
        batch = self.people.batch(chosen, config.surface, config.space, rng)
        everyone = batch.heads.to(self.device)
        batch = batch.part(processes.share(count)).to(self.device)
        latents = {name: table.rows(batch.heads) for name, table in self.latents.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16 and done < config.settle):
            loss = training_loss(
                self.field, latents["shape"], latents["appearance"], batch, config, done=done, processes=processes
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        reported = [loss.total.detach(), loss.surface_mm]
        processes.average([weight.grad for weight in self.weights if weight.grad is not None] + reported)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        for name, table in self.latents.items():
            gradient = latents[name].grad
            if gradient is not None:
                table.step(everyone, processes.gathered(gradient / processes.count), config.latent_rate * fall)
        self.number += 1
        return StepLoss(*reported)

    def prior(self) -> Prior:
        """Return the trained prior."""
        self.field.alpha = None
        latents = [self.latents[name].latents for name in ("shape", "appearance")]
        shape, appearance = (LatentStatistics.of(own) for own in latents)
        landmarks, bounds = self.people.landmarks.mean(0).to(self.device), self.people.bounds.to(self.device)
        return Prior(
            self.field.requires_grad_(False), shape, appearance, landmarks, bounds, cross_covariance_of(*latents)
        )


def train(
    population: Path,
    out: Path,
    *,
    config: str | TrainingConfig = "sira++",
    steps: int | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> Prior:
    """Train a prior on a population folder and write it to `out`.

    A checkpoint lies beside `out` (suffix `.checkpoint`) while training runs; the same call after a kill goes on
    from it, with the same batches as the unbroken run. Under torchrun the heads of each step are split over the
    processes, one for each device.

    The heads' own latents are left beside the prior (suffix `.latents.safetensors`, float32: "shape" and "appearance",
    one row for each head), because an encoder is learned from them.

    Raises:
        InputError: no such population or configuration, or the checkpoint belongs to another run.
    """
    if isinstance(config, str):
        if config not in CONFIGS:
            raise InputError(f"no training configuration is called {config}: use one of {', '.join(CONFIGS)}")
        config = CONFIGS[config]
    if steps is not None:
        config = replace(config, steps=steps)
    processes, where = ProcessGroup.join(choose_device(device))
    people = Population(population)
    if min(config.heads, len(people)) < processes.count:
        raise InputError(f"{processes.count} processes cannot share fewer heads per step: start fewer of them")
    run = Run(people, config, seed, where, processes)
    checkpoint = out.with_name(out.name + ".checkpoint")
    if checkpoint.is_file():
        run.restore(checkpoint)

    points = min(config.heads, len(people)) * (config.surface + config.space)
    with progress("training the prior", config.steps, quiet=quiet or not processes.leads) as step:
        step(run.number)
        first, began, saved = run.number, time.monotonic(), time.monotonic()
        error = float("nan")
        while run.number < config.steps:
            loss = run.step()
            now = time.monotonic()
            error = float(loss.surface_mm) if error != error else 0.98 * error + 0.02 * float(loss.surface_mm)
            speed = (run.number - first) * points / max(now - began, 1e-9)
            step(1, f"loss {float(loss.total):.4f}  surface {error:.2f} mm  {speed / 1000:.1f}k points/s")
            if processes.leads and (now - saved > config.checkpoint_s or run.number == config.steps):
                run.save(checkpoint)
                saved = now
    prior = run.prior()
    if processes.leads:
        latents = {name: table.latents.detach().cpu().float().contiguous() for name, table in run.latents.items()}
        write_atomically(out.with_suffix(".latents.safetensors"), lambda part: save_file(latents, part))
        prior.save(out)
        checkpoint.unlink(missing_ok=True)
    processes.leave()
    return prior
