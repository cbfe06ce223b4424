"""Auto-decoder training of the prior: one latent pair per head, one field for all (SIRA++, section 3.2)."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn

from protome import losses
from protome.errors import InputError
from protome.field.head import HeadField, HeadFieldConfig
from protome.population.store import Population, SampleBatch, shard_path
from protome.prior.prior import LatentStatistics, Prior, cross_covariance_of, people_of
from protome.training.distributed import ProcessGroup
from protome.training.latents import LatentTable, principal_start
from protome.training.people import PersonLatents, PrincipalScores
from protome.training.validation import HeldOut
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
    fine: float = 1.0
    """Weight of distances and colours on skin and eyeballs around mouth and eyes; elsewhere it is 1."""
    expressive: bool = False
    """One identity and one appearance for each person, and the population's coefficients of expression for each head;
    the names of the coefficients come from the population."""
    map_rate: float = 1e-3
    """Learning rate at the start of the map from people's descriptors to their latents."""
    hold: int = 600
    """Steps in which a prior that the training starts from is held while the map is learned, ten times as fast."""
    checkpoint_s: float = 60.0
    """Seconds between checkpoints."""
    validation_s: float = 1800.0
    """Seconds between lines on held-out heads, where the population has expressions."""
    validation_heads: int = 3
    """Heads of each held-out split in such a line."""


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
    # People in several expressions, for a population that has them.
    "expressive": TrainingConfig(expressive=True, steps=80_000, unmask=0.2, last_rate=0.005, fine=3.0),
    # Runs of seconds, for trials and tests.
    "tiny-expressive": TrainingConfig(
        field=replace(_SMALL_FIELD, expression_width=8),
        steps=600,
        heads=4,
        surface=128,
        space=96,
        expressive=True,
        hold=50,
        validation_heads=1,
    ),
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
    expression: Float[Tensor, "s e"] | None = None,
    done: float = 0.0,
    processes: ProcessGroup | None = None,
) -> StepLoss:
    """Return the loss of a batch whose heads have the given latents, after the fraction `done` of the run.

    L_emb is taken of all that the networks are conditioned on, of the map of the coefficients of `expression` too.
    """
    shape = head.shape_condition(shape, expression)
    surface, space = batch.points.shape[1], batch.space.shape[1]
    on, around = (max(1, round(config.sloped * count)) for count in (surface, space))
    sloped = head.query(torch.cat([batch.points[:, :on], batch.space[:, :around]], 1), shape)
    plain = head.values(torch.cat([batch.points[:, on:], batch.space[:, around:]], 1), shape)

    def at_surface(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first[:, :on], second[:, : surface - on]], 1)

    def in_space(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first[:, on:], second[:, surface - on :]], 1)

    sdf = at_surface(sloped.sdf, plain.sdf)
    weights = None if config.fine == 1 else fine_weights(batch.template, batch.registered, config.fine)
    total = (
        config.distance
        * (
            losses.distance(sdf if weights is None else weights * sdf)
            + losses.distance(in_space(sloped.sdf, plain.sdf), batch.distances)
        )
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
        weight = 1.0 if weights is None else weights[..., None]
        total = total + config.colour * losses.colour(weight * colours, weight * batch.colours)
    return StepLoss(total, sdf.detach().abs().mean() * UNIT_MM)


MOUTH_MM, EYE_MM = ((0.0, -67.0), (30.0, 14.0)), ((32.0, 1.0), (19.0, 12.0))
"""Centre and half axes, on the common template seen from the front, of the mouth and of the left eye."""
_FRONT_MM = -25.0


def fine_weights(
    template: Float[Tensor, "s n 3"], registered: Bool[Tensor, "s n"], weight: float
) -> Float[Tensor, "s n"]:
    """Return `weight` for points whose place on the template is around the mouth or an eye, and 1 for the others."""
    place = template * UNIT_MM
    return torch.where((around(place, MOUTH_MM) | around(place, EYE_MM)) & registered, weight, 1.0)


def around(
    template_mm: Float[Tensor, "*b 3"], region: tuple[tuple[float, float], tuple[float, float]]
) -> Bool[Tensor, "*b"]:
    """Return which places on the common template lie at its front in a region, or in its mirror image."""
    x, y, z = template_mm.unbind(-1)
    (across, up), (wide, high) = region
    return (((x.abs() - across) / wide).square() + ((y - up) / high).square() < 1) & (z > _FRONT_MM)


class Run:
    """The state of a training run; a checkpoint holds all that its steps change."""

    def __init__(
        self, people: Population, config: TrainingConfig, seed: int, device: torch.device, processes: ProcessGroup,
        start: Prior | None = None,
    ) -> None:  # fmt: skip
        self.people, self.config, self.seed, self.device, self.processes = people, config, seed, device, processes
        with seeded(seed):
            self.field = HeadField(config.field).to(device)
        if start is not None:
            self.field = started_from(start.field, self.field)
        length = config.field.latent
        self.maps: dict[str, PersonLatents] = {}
        """Of each latent, where people have several heads."""
        inits = {"shape": people.shape_init, "appearance": people.appearance_init}
        self.latents: dict[str, LatentTable] = {}
        for offset, (name, descriptors) in enumerate(inits.items()):
            if config.expressive:
                mean = None if start is None else {"shape": start.shape, "appearance": start.appearance}[name].mean
                own = descriptors[people.first_heads]
                known = PrincipalScores.of(own, length)
                self.maps[name] = PersonLatents(known, people.total_people, 2 * seed + offset, mean).to(device)
                self.maps[name].add(own)
                self.latents[name] = self.maps[name].table
            else:
                self.latents[name] = LatentTable(principal_start(descriptors, length, 2 * seed + offset).to(device))
        self.weights = list(self.field.parameters())
        mapping = [weight for own in self.maps.values() for weight in own.map.parameters()]
        self.mapping = mapping
        groups: list[dict[str, Any]] = [{"params": self.weights}]
        if mapping:
            groups.append({"params": mapping, "lr": config.map_rate})
        self.optimiser = torch.optim.Adam(groups, config.rate)
        self.bfloat16 = config.bfloat16 and bfloat16_pays(device)
        self.held = config.hold if start is not None and config.expressive else 0
        self.number = 0
        whole = people.manifest if config.expressive else people.names  # a population may still be growing
        same = replace(config, checkpoint_s=0.0, validation_s=0.0, validation_heads=0)  # these change no step
        facts = repr((same, seed, whole)).encode() + (b"" if config.expressive else people.landmarks.numpy().tobytes())
        if start is not None:
            facts += b"".join(value.cpu().numpy().tobytes() for value in start.field.state_dict().values())
        self.mark = hashlib.sha256(facts).hexdigest()

    def save(self, path: Path) -> None:
        state = {
            "field": self.field.state_dict(),
            "latents": {name: table.state() for name, table in self.latents.items()},
            "maps": {name: own.state() for name, own in self.maps.items()},
            "optimiser": self.optimiser.state_dict(),
            "number": self.number,
            "mark": self.mark,
            "heads": len(self.people),
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
            for name, own in self.maps.items():
                own.restore(saved["maps"][name])
            if self.maps:
                self.people = self.people.first(int(saved["heads"]))
            self.optimiser.load_state_dict(saved["optimiser"])
            self.number = int(saved["number"])

    def admit(self, people: Population) -> None:
        """Go on with a population that has grown; the heads before stay what they were."""
        self.people = people
        for own, descriptors in zip(self.maps.values(), (people.shape_init, people.appearance_init), strict=True):
            if own.grow(descriptors[people.first_heads]):
                for weight in own.map.parameters():  # moments of another map
                    self.optimiser.state.pop(weight, None)

    def _drawn(self, rng: np.random.Generator) -> Int[np.ndarray, "s"]:
        """Draw the heads of a step, each of another person."""
        people = self.people
        count = min(self.config.heads, people.count) // self.processes.count * self.processes.count
        chosen = rng.choice(people.count, count, replace=False)
        if not self.config.expressive:
            return chosen
        first = people.first_heads[torch.from_numpy(chosen)].numpy()
        return first + rng.integers(0, people.manifest.expressions, count)

    def step(self) -> StepLoss:
        """Take one step; its random draws depend on the seed and its number, and on how many heads there are."""
        config, processes = self.config, self.processes
        done = self.number / config.steps
        progressed = min(1.0, done / config.unmask) if config.unmask and not self.held else 1.0
        self.field.alpha = config.field.reference_frequencies * progressed
        fall = config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        holding = self.number < self.held
        rates = (0.0 if holding else config.rate, config.map_rate * (10 if holding else 1))
        for group, rate in zip(self.optimiser.param_groups, rates, strict=False):
            group["lr"] = rate * fall
        rng = np.random.default_rng([self.seed, self.number])
        heads = self._drawn(rng)
        batch = self.people.batch(heads, config.surface, config.space, rng)
        everyone = self.people.persons[batch.heads].to(self.device)
        own = processes.share(len(heads))
        batch = batch.part(own).to(self.device)
        persons = everyone[own]
        rests = {name: table.rows(persons) for name, table in self.latents.items()}
        latents = {name: self.maps[name].of(persons, rest) if self.maps else rest for name, rest in rests.items()}
        expression = self.people.expressions[batch.heads.cpu()].to(self.device) if self.maps else None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16 and done < config.settle):
            loss = training_loss(
                self.field, latents["shape"], latents["appearance"], batch, config,
                expression=expression, done=done, processes=processes,
            )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        reported = [loss.total.detach(), loss.surface_mm]
        learned = [*self.weights, *self.mapping]
        processes.average([weight.grad for weight in learned if weight.grad is not None] + reported)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        for name, table in self.latents.items():
            gradient = rests[name].grad
            if gradient is not None:
                table.step(everyone, processes.gathered(gradient / processes.count), config.latent_rate * fall)
        self.number += 1
        return StepLoss(*reported)

    def heads_latents(self) -> dict[str, Float[Tensor, "people c"]]:
        """Return the latents of everybody: of each head, or of each person with several heads."""
        if self.maps:
            return {name: own.all() for name, own in self.maps.items()}
        return {name: table.latents.detach() for name, table in self.latents.items()}

    def prior(self) -> Prior:
        """Return the prior as it is now; the run can go on."""
        field = copy.deepcopy(self.field)
        field.alpha = None
        latents = list(self.heads_latents().values())
        shape, appearance = (LatentStatistics.of(own) for own in latents)
        people, expression = self.people, None
        landmarks = people.landmarks
        if self.maps:
            expression = LatentStatistics.around_zero(people.expressions.to(self.device))
            landmarks = landmarks[people.first_heads]
        return Prior(
            field.requires_grad_(False), shape, appearance, landmarks.mean(0).to(self.device),
            people.bounds.to(self.device), cross_covariance_of(*latents), expression,
            people_of((shape, latents[0]), (appearance, latents[1])) if self.maps else None,
        )  # fmt: skip


def started_from(known: HeadField, new: HeadField) -> HeadField:
    """Return a new field with the weights of a known one; what an expression acts through starts at zero.

    Raises:
        InputError: the two differ in more than the expressions.
    """
    plain = replace(known.config, expression=(), expression_width=new.config.expression_width)
    if plain != replace(new.config, expression=()) or known.config.expression not in ((), new.config.expression):
        raise InputError("the prior to start from has networks of other sizes than the configuration: choose another")
    state, before = new.state_dict(), known.state_dict()
    for name, value in before.items():
        if value.shape == state[name].shape:
            state[name] = value.to(state[name])
        else:
            state[name] = torch.zeros_like(state[name])
            state[name][:, : value.shape[1]] = value
    new.load_state_dict(state)
    return new


def train(
    population: Path,
    out: Path,
    *,
    config: str | TrainingConfig = "sira++",
    steps: int | None = None,
    start: Path | None = None,
    unfinished: bool = False,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> Prior:
    """Train a prior on a population folder and write it to `out`.

    `start` is a prior whose networks the training starts from; only for configurations with expressions. `unfinished`
    begins before the population is complete: at each checkpoint the heads that have been added are taken in.

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
    if not config.expressive and (start is not None or unfinished):
        raise InputError("only a configuration with expressions starts from a prior or before a population is complete")
    processes, where = ProcessGroup.join(choose_device(device))
    if unfinished and processes.count > 1:
        raise InputError("several processes train on a population that is complete: wait for it, or start one process")
    people = Population(population, unfinished=unfinished)
    if config.expressive:
        if not people.manifest.expressions:
            raise InputError(f"{population} has no expressions: build it with `protome population build --expressions`")
        config = replace(config, field=replace(config.field, expression=people.manifest.units))
    if min(config.heads, people.count) < processes.count:
        raise InputError(f"{processes.count} processes cannot share fewer heads per step: start fewer of them")
    run = Run(people, config, seed, where, processes, None if start is None else Prior.load(start))
    checkpoint = out.with_name(out.name + ".checkpoint")
    if checkpoint.is_file():
        run.restore(checkpoint)

    held_out = HeldOut.of(population, config.validation_heads) if config.expressive and processes.leads else None
    points = min(config.heads, people.count) * (config.surface + config.space)
    silent = quiet or not processes.leads
    with progress("training the prior", config.steps, before=run.number, quiet=silent) as step:
        first, began, saved, told = run.number, time.monotonic(), time.monotonic(), time.monotonic()
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
                if unfinished and _has_grown(population, run.people):
                    run.admit(Population(population, unfinished=True))
            if held_out is not None and (now - told > config.validation_s or run.number == config.steps):
                _tell(out.with_suffix(".log"), run, error, held_out)
                told = time.monotonic()
    prior = run.prior()
    if processes.leads:
        latents = {name: own.cpu().float().contiguous() for name, own in run.heads_latents().items()}
        write_atomically(out.with_suffix(".latents.safetensors"), lambda part: save_file(latents, part))
        prior.save(out)
    processes.leave()
    if processes.leads:  # only now: a process that dies before makes torchrun start all of them again, at the last step
        checkpoint.unlink(missing_ok=True)
    return prior


def _has_grown(folder: Path, people: Population) -> bool:
    """Return whether a population has a tenth more heads than those given, or is complete and has any more.

    Opening hundreds of shards takes seconds.
    """
    manifest = people.manifest
    count = len(list(folder.glob(shard_path(folder, "train", 0).name.replace("00000", "*"))))
    heads = min(count * manifest.heads_per_shard, manifest.heads["train"])
    return heads >= min(1.1 * len(people), manifest.heads["train"]) and heads > len(people)


def _tell(path: Path, run: Run, error: float, held_out: HeldOut) -> None:
    """Add a line to the log of a run: where it stands, and how well it represents held-out heads."""
    with torch.no_grad():
        prior = run.prior().to("cpu")
    face = {split: round(value, 3) for split, value in held_out.face_mm(prior).items()}
    line = {"time": time.strftime("%H:%M:%S"), "step": run.number, "people": run.people.count}
    line |= {"surface_mm": round(error, 3), "face_mm": face}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
