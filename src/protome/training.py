"""Auto-decoder training of the prior: one latent pair per head, one field for all (SIRA++, section 3.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from protome.device import choose_device
from protome.errors import InputError
from protome.field.head import HeadField, HeadFieldConfig
from protome.files import write_atomically
from protome.fit import losses
from protome.population.store import Population, SampleBatch
from protome.prior import Prior
from protome.progress import progress


@dataclass(frozen=True)
class TrainingConfig:
    """The run; fractions are of the whole run, so that the number of steps scales it."""

    field: HeadFieldConfig = field(default_factory=HeadFieldConfig)
    steps: int = 12_000
    heads: int = 16
    """Heads per step."""
    surface: int = 224
    """Surface points per head and step."""
    space: int = 160
    """Points in space per head and step; their gradients feed the eikonal term."""
    rate: float = 1e-3
    """Learning rate at the start."""
    halve_every: float = 0.15
    """Fraction of the run after which the rate is halved (the paper: 15 of 100 epochs)."""
    unmask: float = 0.5
    """Fraction of the run in which the reference's encoding mask opens."""
    distance: float = 1.0
    """Weight of |f| on the surface, and of |f - s| in space."""
    normal: float = 0.1
    """Weight of the normals (ours: scans have them, and they are worth three distances each)."""
    eikonal: float = 0.1
    deformation: float = 1e-3
    landmark: float = 1e-3
    colour: float = 0.2
    """The paper has 1; five times less lets shape lead while both are learned in an hour."""
    embedding: float = 1e-4
    """The paper has 1e-3 in its own units of length; ours are smaller."""
    bfloat16: bool = True
    """Products between hidden layers in bfloat16 until `settle`."""
    settle: float = 0.9
    """Fraction of the run after which everything is in full precision."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""


CONFIGS = {
    "compact": TrainingConfig(),
    "tiny": TrainingConfig(
        field=HeadFieldConfig(
            latent=16, feature=8, deformation_width=48, deformation_depth=3, deformation_frequencies=2,
            reference_width=48, reference_depth=3, reference_frequencies=4, renderer_width=48, renderer_depth=3,
            renderer_frequencies=3,
        ),
        steps=600, heads=4, surface=128, space=96, checkpoint_every=100,
    ),
}  # fmt: skip


class _Codes(nn.Module):
    """The latents of all training heads; they start at zero (SIRA++)."""

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.shape = nn.Parameter(torch.zeros(heads, length))
        self.appearance = nn.Parameter(torch.zeros(heads, length))


def training_loss(head: HeadField, codes: _Codes, batch: SampleBatch, config: TrainingConfig) -> Tensor:
    """Return the weighted sum of all loss terms for one batch."""
    shape, appearance = codes.shape[batch.heads], codes.appearance[batch.heads]
    surface = batch.points.shape[1]
    at = head.query(torch.cat([batch.points, batch.space], 1), shape)
    on = slice(0, surface)
    normals = nn.functional.normalize(at.gradient[:, on], dim=-1)
    colours = head.colour(at.reference[:, on], normals, batch.views, at.feature[:, on], appearance)
    landmarks = head.query(batch.landmarks, shape).reference
    return (
        config.distance * (losses.distance(at.sdf[:, on]) + losses.distance(at.sdf[:, surface:], batch.distances))
        + config.normal * losses.normal(at.gradient[:, on], batch.normals)
        + config.eikonal * losses.eikonal(at.gradient[:, surface:])
        + config.deformation * losses.deformation(at.displacement[:, on])
        + config.landmark * losses.landmark(landmarks)
        + config.colour * losses.colour(colours, batch.colours)
        + config.embedding * (losses.embedding(shape) + losses.embedding(appearance))
    )


@dataclass
class _Run:
    """What a checkpoint holds."""

    field: HeadField
    codes: _Codes
    optimiser: torch.optim.Adam
    mark: str
    """Tells runs apart: configuration, seed and population."""
    step: int = 0

    def save(self, path: Path) -> None:
        state = {
            "field": self.field.state_dict(),
            "codes": self.codes.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "mark": self.mark,
        }
        write_atomically(path, lambda part: torch.save(state, part))

    def restore(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        if saved.get("mark") != self.mark:
            raise InputError(f"{path} belongs to another population, configuration or seed: remove it to start anew")
        self.field.load_state_dict(saved["field"])
        self.codes.load_state_dict(saved["codes"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]


def train(
    population: Path,
    out: Path,
    *,
    config: str | TrainingConfig = "compact",
    steps: int | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> Prior:
    """Train a prior on a population file and write it to `out`.

    A checkpoint lies beside `out` (suffix `.checkpoint`) while training runs; the same call after a kill goes on
    from it, with the same batches as the unbroken run, because step k draws from the seed and k alone.

    Raises:
        InputError: no such population or configuration, or the checkpoint belongs to another run.
    """
    if isinstance(config, str):
        if config not in CONFIGS:
            raise InputError(f"no training configuration is called {config}: use one of {', '.join(CONFIGS)}")
        config = CONFIGS[config]
    if steps is not None:
        config = replace(config, steps=steps)
    where = choose_device(device)
    people = Population(population)
    torch.manual_seed(seed)
    head = HeadField(config.field).to(where)
    codes = _Codes(len(people), config.field.latent).to(where)
    optimiser = torch.optim.Adam([*head.parameters(), *codes.parameters()], config.rate)
    facts = repr((config, seed, people.names)).encode() + people.landmarks.numpy().tobytes()
    run = _Run(head, codes, optimiser, hashlib.sha256(facts).hexdigest())
    checkpoint = out.with_name(out.name + ".checkpoint")
    if checkpoint.is_file():
        run.restore(checkpoint)

    with progress("training the prior", config.steps, quiet=quiet) as step:
        step(run.step)
        while run.step < config.steps:
            done = run.step / config.steps
            head.alpha = config.field.reference_frequencies * min(1.0, done / config.unmask)
            for group in optimiser.param_groups:
                group["lr"] = config.rate * 0.5 ** int(done / config.halve_every)
            rng = np.random.default_rng([seed, run.step])
            chosen = rng.choice(len(people), min(config.heads, len(people)), replace=False)
            batch = people.batch(chosen, config.surface, config.space, rng).to(where)
            with torch.autocast(where.type, torch.bfloat16, enabled=config.bfloat16 and done < config.settle):
                loss = training_loss(head, codes, batch, config)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*head.parameters()], 1.0)
            optimiser.step()
            run.step += 1
            step(1, f"loss {float(loss.detach()):.4f}")
            if run.step % config.checkpoint_every == 0:
                run.save(checkpoint)
    head.alpha = None
    prior = Prior(
        head.requires_grad_(False), codes.shape.detach(), codes.appearance.detach(), people.landmarks.mean(0).to(where),
        people.bounds.to(where),
    )  # fmt: skip
    prior.save(out)
    checkpoint.unlink(missing_ok=True)
    return prior
