"""`Prior`: a trained head field and the statistics of its latents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from protome.errors import InputError
from protome.field.field import Field
from protome.field.head import HeadField, HeadFieldConfig
from protome.prior.membrane import Membrane
from protome.prior.people import KEPT, People
from protome.util.device import seeded
from protome.util.files import write_atomically
from protome.util.reading import reading
from protome.util.tensor_files import save_tensors

_FORMAT = "protome prior 2"
_HEAD_FORMAT = "protome head 2"
LARGEST_LAYER = 4096
"""Of any number of units, layers and frequencies in a file that is read."""
_HEADS_PER_AXIS = 18
"""The cross-covariance has one axis of each latent per this many training heads: more axes predict held-out people
worse."""
_SHRINKAGE = 1.2
"""Divisor of the cross-covariance, for the same reason."""


@dataclass(frozen=True)
class HeadLatents:
    """The latents of one head."""

    z_shape: Float[Tensor, "c"]
    """Whose head it is, where the prior has expressions; else the shape with its expression."""
    z_appearance: Float[Tensor, "c"]
    z_expression: Float[Tensor, "e"] | None = None
    """Coefficients of the prior's named expressions; None on a neutral head, and where the prior has none."""

    @property
    def expression_row(self) -> Float[Tensor, "1 e"] | None:
        """The coefficients as a batch of one."""
        return None if self.z_expression is None else self.z_expression[None]

    def condition(self, field: HeadField) -> Float[Tensor, "1 d"]:
        """Return what a field's shape network is conditioned on, as a batch of one."""
        return field.shape_condition(self.z_shape[None], self.expression_row)

    def neutral(self) -> HeadLatents:
        """Return the same person without an expression."""
        return replace(self, z_expression=None)

    def to(self, device: torch.device | str) -> HeadLatents:
        """Move to a device."""
        expression = None if self.z_expression is None else self.z_expression.to(device)
        return HeadLatents(self.z_shape.to(device), self.z_appearance.to(device), expression)


@dataclass(frozen=True)
class LatentStatistics:
    """A Gaussian fitted to the latents of the training heads."""

    mean: Float[Tensor, "c"]
    axes: Float[Tensor, "k c"]
    """Principal directions, each as long as the standard deviation along it, longest first."""

    @staticmethod
    def of(latents: Float[Tensor, "heads c"]) -> LatentStatistics:
        """Fit mean and axes to latents; the covariance is axes^T axes. A single head has one axis of length zero."""
        mean = latents.mean(0)
        _, deviations, directions = torch.linalg.svd(latents - mean, full_matrices=False)
        count = max(1, min(len(latents) - 1, latents.shape[1]))
        axes = directions * (deviations / max(len(latents) - 1, 1) ** 0.5)[:, None]
        return LatentStatistics(mean, axes[:count])

    @staticmethod
    def around_zero(latents: Float[Tensor, "heads c"]) -> LatentStatistics:
        """Fit axes to latents whose mean is fixed at zero: the second moment about it is axes^T axes."""
        _, sizes, directions = torch.linalg.svd(latents, full_matrices=False)
        axes = directions * (sizes / max(len(latents), 1) ** 0.5)[:, None]
        return LatentStatistics(torch.zeros_like(latents[0]), axes)

    def latent(self, coefficients: Float[Tensor, "k"]) -> Float[Tensor, "c"]:
        """Return the latent that lies the given number of standard deviations along each axis."""
        return self.mean + coefficients @ self.axes

    def coefficients(self, latents: Float[Tensor, "heads c"]) -> Float[Tensor, "heads k"]:
        """Return how many standard deviations latents lie along each axis."""
        lengths = self.axes.square().sum(1, keepdim=True).clamp_min(1e-20)
        return (latents - self.mean) @ (self.axes / lengths).T

    def to(self, device: torch.device | str) -> LatentStatistics:
        """Move to a device."""
        return LatentStatistics(self.mean.to(device), self.axes.to(device))


def cross_covariance_of(shape: Float[Tensor, "heads c"], appearance: Float[Tensor, "heads c"]) -> Float[Tensor, "k l"]:
    """Return the cross-covariance of training heads' shape and appearance coefficients (in standard deviations).

    It is shrunk, and zero but on the leading axes: the rest is sampling noise.
    """
    first, second = (LatentStatistics.of(latents).coefficients(latents) for latents in (shape, appearance))
    count = len(shape) // _HEADS_PER_AXIS
    cross_covariance = first.new_zeros(first.shape[1], second.shape[1])
    cross_covariance[:count, :count] = first[:, :count].T @ second[:, :count] / max(len(shape) - 1, 1) / _SHRINKAGE
    return cross_covariance


Described = tuple[LatentStatistics, Float[Tensor, "people c"]]
"""Latents of people, with their statistics."""


def people_of(shape: Described, appearance: Described) -> People:
    """Return people by their coefficients along the leading axes."""
    return People(*(statistics.coefficients(own)[:, :KEPT] for statistics, own in (shape, appearance)))


@dataclass(frozen=True)
class Prior:
    """The result of training, from which every reconstruction starts."""

    field: HeadField
    shape: LatentStatistics
    appearance: LatentStatistics
    landmarks: Float[Tensor, "6 3"]
    """Mean facial landmarks (`protome.face.LANDMARK_NAMES`), inner units."""
    bounds: Float[Tensor, "2 3"]
    """Lower and upper corner of the modelled volume, inner units."""
    cross_covariance: Float[Tensor, "k l"]
    """Covariance of shape and appearance, each in standard deviations along its axes."""
    expression: LatentStatistics | None = None
    """Of the coefficients of the expressions that it was trained on, about neutral; None where it has none."""
    people: People | None = None
    """Whom it was trained on, along the leading axes; None: new people are drawn from the Gaussians."""

    @property
    def expression_names(self) -> tuple[str, ...]:
        """What the coefficients of an expression are called, in their order."""
        return self.field.config.expression

    @staticmethod
    def load(path: str | Path | None = None) -> Prior:
        """Read a prior; without a path, the one that ships with the package.

        Raises:
            InputError: the file is missing or is no prior.
        """
        if path is None:
            path = Path(str(resources.files("protome") / "assets" / "prior.safetensors"))
        field, own = _read(Path(path), _FORMAT, "`protome train`")
        with reading(Path(path), "a prior", "give a file written by `protome train`"):
            shape, appearance = (
                LatentStatistics(own[f"{name}_mean"], own[f"{name}_axes"]) for name in ("shape", "appearance")
            )
            # Older priors hold none.
            cross_covariance = own.get("coupling", shape.mean.new_zeros(len(shape.axes), len(appearance.axes)))
            expression = None
            if "expression_axes" in own:
                expression = LatentStatistics(torch.zeros_like(own["expression_axes"][0]), own["expression_axes"])
            people = People(own["people_shape"], own["people_appearance"]) if "people_shape" in own else None
            latent = (field.config.latent,)
            if shape.mean.shape != latent or appearance.mean.shape != latent or own["bounds"].shape != (2, 3):
                raise ValueError("latents of another length than the networks take")
            return Prior(
                field, shape, appearance, own["landmarks"], own["bounds"], cross_covariance, expression, people
            )

    def save(self, path: str | Path) -> None:
        """Write the prior as safetensors; the file appears only when it is complete."""
        own = {
            "shape_mean": self.shape.mean,
            "shape_axes": self.shape.axes,
            "appearance_mean": self.appearance.mean,
            "appearance_axes": self.appearance.axes,
            "landmarks": self.landmarks,
            "bounds": self.bounds,
            "coupling": self.cross_covariance,
        }
        if self.expression is not None:
            own["expression_axes"] = self.expression.axes
        if self.people is not None:
            own |= {"people_shape": self.people.shape.half(), "people_appearance": self.people.appearance.half()}
        write_atomically(Path(path), lambda part: _save(part, self.field, own, _FORMAT))

    def to(self, device: torch.device | str) -> Prior:
        """Return it on a device; this one stays where it is."""
        return Prior(
            self.field.on(device), self.shape.to(device), self.appearance.to(device), self.landmarks.to(device),
            self.bounds.to(device), self.cross_covariance.to(device),
            None if self.expression is None else self.expression.to(device),
            None if self.people is None else self.people.to(device),
        )  # fmt: skip

    def mean(self) -> HeadLatents:
        """Return the mean latents: the mean head."""
        return HeadLatents(self.shape.mean, self.appearance.mean)

    @cached_property
    def _residual_root(self) -> Float[Tensor, "l l"]:
        """A root of the covariance of the appearance coefficients given the shape's."""
        explained = self.cross_covariance.T @ self.cross_covariance
        return torch.linalg.cholesky(torch.eye(len(explained)).to(explained) - explained)

    def sample(self, generator: torch.Generator, temperature: float = 1.0) -> HeadLatents:
        """Draw a neutral person; `temperature` multiplies the deviations from the mean head.

        People are drawn among those of the training, or where the file has none from the Gaussian fitted to them.
        """
        if self.people is not None:
            counts = (self.people.shape.shape[1], self.people.appearance.shape[1])
            axes = (self.shape.axes[: counts[0]], self.appearance.axes[: counts[1]])
            drawn = self.people.draw((axes[0].norm(dim=1), axes[1].norm(dim=1)), generator)
            shape, appearance = (
                own.mean + temperature * (coefficients.to(along) @ along)
                for own, coefficients, along in zip((self.shape, self.appearance), drawn, axes, strict=True)
            )
            return HeadLatents(shape, appearance)
        shape, rest = (
            temperature * torch.randn(len(own.axes), generator=generator).to(own.axes)
            for own in (self.shape, self.appearance)
        )
        appearance = shape @ self.cross_covariance + self._residual_root @ rest
        return HeadLatents(self.shape.latent(shape), self.appearance.latent(appearance))

    def landmarks_of(self, field: HeadField, latents: HeadLatents, rounds: int = 30) -> Float[Tensor, "6 3"]:
        """Return the landmarks of a head whose field started as this prior's: the points that come to lie in the
        reference where the mean head's landmarks lie. Without a deformation they are the mean head's.
        """
        return self.points_of(field, latents, self.landmarks, rounds)

    def points_of(
        self, field: HeadField, latents: HeadLatents, mean: Float[Tensor, "n 3"], rounds: int = 30
    ) -> Float[Tensor, "n 3"]:
        """Return what corresponds to points of the mean head on a head whose field started as this prior's."""
        reference = mean + self.field.displacement(mean[None], self.shape.mean[None])[0]
        return field.placed(reference, latents.condition(field), rounds, mean)

    def bind(self, latents: HeadLatents) -> Field:
        """Return the field of one head."""
        return self.field.bind(latents.z_shape, latents.z_appearance, z_expression=latents.z_expression)


def _save(path: Path, field: HeadField, own: dict[str, Tensor], kind: str) -> None:
    tensors = {f"field.{key}": value for key, value in field.state_dict().items()} | own
    meta = {"format": kind, "config": json.dumps(asdict(field.config))}
    save_tensors({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, meta)


def read_tensors(path: Path, kind: str, made_by: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return notes and tensors (float32) of a safetensors file whose note `format` is `kind`.

    Raises:
        InputError: the file is missing, unreadable or of another kind; the sentence says what writes such files.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a file written by {made_by}")
    with reading(path, "safetensors", f"give a file written by {made_by}"), safe_open(path, "pt") as file:
        meta = file.metadata() or {}
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (not a dict)
    if meta.get("format") != kind:
        raise InputError(f"{path} is of another kind: give a file written by {made_by}")
    return meta, tensors


def _read(path: Path, kind: str, made_by: str) -> tuple[HeadField, dict[str, Tensor]]:
    meta, tensors = read_tensors(path, kind, made_by)
    with reading(path, "a head's networks", f"give a file written by {made_by}"):
        config = json.loads(meta["config"])
        if config.pop("modulated", False):  # in files of earlier versions, where it is false but for trials
            raise InputError(
                f"{path} has latents that scale layers, which are read no more: make it anew with {made_by}"
            )
        config["expression"] = tuple(str(name) for name in config.get("expression", ()))
        sizes = [len(config["expression"]), *(value for value in config.values() if isinstance(value, int))]
        if max(sizes) > LARGEST_LAYER or min(sizes) < 0:
            raise InputError(f"{path} describes networks of impossible size: give a file written by {made_by}")
        with seeded(0):  # the weights that are drawn here give way to the file's
            field = HeadField(HeadFieldConfig(**config | {"centre": tuple(config["centre"])}))
        inner = [key for key in tensors if key.startswith("field.")]
        field.load_state_dict({key.removeprefix("field."): tensors.pop(key) for key in inner})
    return field.requires_grad_(False), tensors


@dataclass(frozen=True)
class FittedHead:
    """One person's head as a fit leaves it."""

    field: HeadField
    """The prior's field, adapted to this head."""
    latents: HeadLatents
    bounds: Float[Tensor, "2 3"]
    """Lower and upper corner of the space that holds it, inner units."""
    membrane: Membrane | None = None
    """What is seen between open lips; None where they are closed."""

    def bind(self) -> Field:
        """Return the head as a field."""
        latents = self.latents
        field = self.field.bind(latents.z_shape, latents.z_appearance, z_expression=latents.z_expression)
        return field if self.membrane is None else self.membrane.over(field)

    def neutral(self) -> FittedHead:
        """Return the same person without an expression."""
        return replace(self, latents=self.latents.neutral(), membrane=None)

    def points_on(self, other: FittedHead, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Return where points of this head lie on the same person's head with another expression."""
        with torch.no_grad():
            reference = points + self.field.displacement(points[None], self.latents.condition(self.field))[0]
            return other.field.placed(reference, other.latents.condition(other.field), start=points)

    def apart(self, other: FittedHead, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Return how far away `points_on` finds points of this head, to first order and without its iteration."""
        with torch.no_grad():
            first, second = (
                head.field.displacement(points[None], head.latents.condition(head.field))[0] for head in (self, other)
            )
            return (first - second).norm(dim=-1)

    def to(self, device: torch.device | str) -> FittedHead:
        """Return it on a device; this one stays where it is."""
        membrane = None if self.membrane is None else self.membrane.to(device)
        return FittedHead(self.field.on(device), self.latents.to(device), self.bounds.to(device), membrane)


def save_head(path: Path, head: FittedHead, placements: Sequence[Float[Tensor, "4 4"]]) -> None:
    """Write one fitted head as safetensors: weights, latents, the space that holds it and 4x4 maps from its world."""
    own = {"code_shape": head.latents.z_shape, "code_appearance": head.latents.z_appearance, "bounds": head.bounds}
    if head.latents.z_expression is not None:
        own["code_expression"] = head.latents.z_expression
    if head.membrane is not None:
        own |= head.membrane.tensors()
    own["head_from_world"] = torch.stack(list(placements))
    _save(path, head.field, own, _HEAD_FORMAT)


def load_fitted(path: str | Path) -> FittedHead:
    """Read a head saved as `field.safetensors` with its latents and weights.

    Raises:
        InputError: the file is missing or is no fitted head.
    """
    field, own = _read(Path(path), _HEAD_FORMAT, "`protome reconstruct`")
    with reading(Path(path), "a fitted head", "give a file written by `protome reconstruct`"):
        latents = HeadLatents(own["code_shape"], own["code_appearance"], own.get("code_expression"))
        latent = (field.config.latent,)
        if latents.z_shape.shape != latent or latents.z_appearance.shape != latent or own["bounds"].shape != (2, 3):
            raise ValueError("latents of another length than the networks take")
        return FittedHead(field, latents, own["bounds"], Membrane.of_tensors(own))


def load_head(path: str | Path) -> tuple[Field, Float[Tensor, "2 3"]]:
    """Read a head saved as `field.safetensors` and return its field and the space that holds it.

    Raises:
        InputError: the file is missing or is no fitted head.
    """
    head = load_fitted(path)
    return head.bind(), head.bounds


def interpolate(first: HeadLatents, second: HeadLatents, shape: float, appearance: float) -> HeadLatents:
    """Return the latents that lie the given fractions of the way from one head to another.

    An expression belongs to the shape; a head without coefficients is neutral.
    """
    expressions = [latents.z_expression for latents in (first, second)]
    known = next((own for own in expressions if own is not None), None)
    expression = None
    if known is not None:
        one, other = (torch.zeros_like(known) if own is None else own for own in expressions)
        expression = torch.lerp(one, other, shape)
    return HeadLatents(
        torch.lerp(first.z_shape, second.z_shape, shape),
        torch.lerp(first.z_appearance, second.z_appearance, appearance),
        expression,
    )
