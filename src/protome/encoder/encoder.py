"""`Encoder`: from one photo to the latents of the head in it, by Gaussian process regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from protome.encoder.features import PhotoFeatures, measure_photo
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.prior.prior import LatentStatistics, Prior, read_tensors
from protome.scene import Scene
from protome.util.files import write_atomically

_FORMAT = "protome encoder 1"
KEPT = {"landmarks": 100, "outline": 120, "colours": 60, "pose": 4}
"""Principal components of each kind of measurement."""
WIDTH = 0.3
"""Of the kernel exp(-WIDTH d^2), with d^2 in units of the photos' mean square distance from their middle."""
NOISE = 0.1
"""Variance of what photos cannot tell, against the kernel's 1."""
INDUCING = 3000
"""Photos that stand for all of them (the subset of regressors; Quinonero-Candela and Rasmussen, 2005)."""
FOLDS = 8
PLACE = 6
"""How many of the numbers that are foretold say where the head is: a rotation vector and a shift."""


@dataclass(frozen=True)
class LatentEstimate:
    """What photos tell of a head: Gaussians of its latents, and where it is."""

    shape: LatentStatistics
    appearance: LatentStatistics
    corrections: tuple[Similarity, ...]
    """For each photo: the head's frame from the one in which the landmarks had placed it (inner unit)."""

    def placed(self, scene: Scene) -> Scene:
        """Return the scene with the head where it is guessed to be; where there are several photos, which must each
        have a frame of their own, by moving their cameras."""
        head_from_world = scene.head_from_world.to(torch.float64)
        if len(scene.views) == 1:
            found = self.corrections[0].compose(head_from_world)
            return replace(scene, head_from_world=found.to(torch.float32))
        world_from_head = head_from_world.inverse()
        views = []
        for view, correction in zip(scene.views, self.corrections, strict=True):
            moved = view.camera.to(torch.float64).transformed(
                world_from_head.compose(correction).compose(head_from_world)
            )
            views.append(replace(view, camera=moved.to(torch.float32)))
        return replace(scene, views=tuple(views))


@dataclass(frozen=True)
class Encoder:
    """Foretells, for the prior that it was made for, a head's latents and its place from one photo.

    Measurements (`Look`) are brought down to principal components x; what is foretold is
    y = offset + sum_i weights_i exp(-|x - centres_i|^2). The spreads are what it missed of people left out.
    """

    means: dict[str, Tensor]
    axes: dict[str, Tensor]
    """Of each kind of n measurements: its mean (n), and k scaled principal directions (k, n)."""
    centres: Float[Tensor, "m f"]
    weights: Float[Tensor, "m o"]
    offset: Float[Tensor, "o"]
    """Means of amounts of shape and appearance in standard deviations, of rotation and shift."""
    shape_spread: Float[Tensor, "k k"]
    appearance_spread: Float[Tensor, "l l"]
    """Roots (spread^T spread) of the covariance that is left, in standard deviations of the prior."""
    mark: Float[Tensor, "c"]
    """The mean shape of the prior that the amounts belong to."""

    @staticmethod
    def load(path: str | Path | None = None) -> Encoder:
        """Read an encoder; without a path, the one that belongs to the shipped prior.

        Raises:
            InputError: the file is missing or is no encoder.
        """
        if path is None:
            path = Path(str(resources.files("protome") / "assets" / "encoder.safetensors"))
        _, own = read_tensors(Path(path), _FORMAT, "benchmarks/encoder.py")
        means, axes = ({key: own.pop(f"{name}.{key}") for key in KEPT} for name in ("means", "axes"))
        return Encoder(means, axes, **own)

    def save(self, path: str | Path) -> None:
        """Write the encoder as safetensors, in half precision; the file appears only when it is complete."""
        own = {key: value.half() for key, value in vars(self).items() if isinstance(value, Tensor)}
        for name in ("means", "axes"):
            own |= {f"{name}.{key}": value.half().contiguous() for key, value in getattr(self, name).items()}
        own["mark"] = self.mark
        tensors = {key: value.contiguous() for key, value in own.items()}
        write_atomically(Path(path), lambda part: save_file(tensors, part, {"format": _FORMAT}))

    def belongs_to(self, prior: Prior) -> bool:
        """Tell whether this encoder was made for a prior."""
        return self.mark.shape == prior.shape.mean.shape and bool((self.mark == prior.shape.mean.to(self.mark)).all())

    def predicted(self, features: Sequence[PhotoFeatures]) -> Float[Tensor, "n o"]:
        """Return what each photo tells: amounts of shape and appearance, rotation vector and shift."""
        return self.offset + _kernel(_components(self.means, self.axes, features), self.centres) @ self.weights

    def estimate(self, scene: Scene, prior: Prior) -> LatentEstimate | None:
        """Return what the photos of a head tell of it, each by itself; None where no face is seen.

        Several photos: the latents are the mean of what each tells, as sure as if it were one.

        Raises:
            ValueError: the encoder belongs to another prior.
        """
        if not self.belongs_to(prior):
            raise ValueError("the encoder was made for another prior")
        faces = [number for number, view in enumerate(scene.views) if view.landmarks is not None]
        if not faces:
            return None
        found = self.predicted([measure_photo(scene.views[number], scene.head_from_world) for number in faces])
        counts = [len(self.shape_spread), len(self.appearance_spread), PLACE]
        shape, appearance, places = found.split(counts, dim=1)
        corrections = [Similarity.identity(torch.float64)] * len(scene.views)
        for number, place in zip(faces, places.double(), strict=True):
            corrections[number] = Similarity(rotation_from_vector(place[:3]), place[3:], torch.ones(()).double())
        return LatentEstimate(
            _given(prior.shape.to("cpu"), shape.mean(0), self.shape_spread),
            _given(prior.appearance.to("cpu"), appearance.mean(0), self.appearance_spread),
            tuple(corrections),
        )

    @staticmethod
    def of(
        features: Sequence[PhotoFeatures],
        coefficients: tuple[Float[Tensor, "n k"], Float[Tensor, "n l"]],
        places: Float[Tensor, "n 6"],
        people: Int[Tensor, "n"],
        prior: Prior,
        seed: int = 0,
    ) -> Encoder:
        """Learn from photos of known heads; `people` says which photos show the same one.

        What is foretold of each number is shrunk, and the spreads are measured, by leaving out an eighth of the people
        at a time.
        """
        truth = torch.cat([*coefficients, places], 1).double()
        means, axes = _principal(features)
        scale = (WIDTH / _components(means, axes, features).square().sum(1).mean()).sqrt()
        axes = {key: scale * own for key, own in axes.items()}
        inner = _components(means, axes, features).double()
        order = torch.randperm(len(inner), generator=torch.Generator().manual_seed(seed))
        fold = people.unique(return_inverse=True)[1] % FOLDS
        missed, predicted = torch.zeros_like(truth), torch.zeros_like(truth)
        for number in range(FOLDS):
            out = fold == number
            chosen = order[~out[order]][:INDUCING]
            middle = truth[~out].mean(0)
            weights = _regression(inner[~out], truth[~out] - middle, inner[chosen])
            predicted[out] = _kernel(inner[out], inner[chosen]) @ weights
            missed[out] = truth[out] - middle
        slopes = ((predicted * missed).sum(0) / predicted.square().sum(0)).clamp(0, 1)
        shape, appearance, _ = (slopes * predicted - missed).split(
            [*(own.shape[1] for own in coefficients), PLACE], dim=1
        )
        centres = inner[order[:INDUCING]]
        weights = _regression(inner, truth - truth.mean(0), centres) * slopes
        return Encoder(
            means, axes, centres.float(), weights.float(), truth.mean(0).float(), _root(shape), _root(appearance),
            prior.shape.mean.clone(),
        )  # fmt: skip


def _given(prior: LatentStatistics, coefficients: Float[Tensor, "k"], spread: Float[Tensor, "k k"]) -> LatentStatistics:
    """Return the latents' Gaussian once their likeliest amounts and what is left of their spread are known."""
    return LatentStatistics(prior.latent(coefficients), spread @ prior.axes)


def _root(missed: Float[Tensor, "n k"]) -> Float[Tensor, "k k"]:
    """Return a root of the covariance of what was missed: principal directions as long as the deviation along them."""
    values, vectors = torch.linalg.eigh(missed.T @ missed / len(missed))
    # Nobody is foretold worse than without a photo.
    return (vectors * values.clamp(1e-6, 1).sqrt()).T.flip(0).float()


def _rows(features: Sequence[PhotoFeatures], key: str) -> Float[Tensor, "n m"]:
    return torch.stack([getattr(features, key).reshape(-1) for features in features])


def _principal(features: Sequence[PhotoFeatures]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return mean and scaled principal directions of each kind: components fall like the root of their deviations."""
    means, axes = {}, {}
    for key, count in KEPT.items():
        rows = _rows(features, key).double()
        mean = rows.mean(0)
        if key == "pose":
            own = torch.diag(1 / rows.std(0))
        else:
            _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
            count = min(count, int((sizes > 1e-6 * sizes[0]).sum()))  # none of what never varies
            deviations = sizes[:count] / len(rows) ** 0.5
            own = directions[:count] * ((sizes[:count] / sizes[0]).sqrt() / deviations)[:, None]
        means[key], axes[key] = mean.float(), own.float()
    return means, axes


def _components(
    means: dict[str, Tensor], axes: dict[str, Tensor], features: Sequence[PhotoFeatures]
) -> Float[Tensor, "n f"]:
    return torch.cat([(_rows(features, key) - means[key]) @ axes[key].T for key in KEPT], 1)


def _kernel(first: Float[Tensor, "n f"], second: Float[Tensor, "m f"]) -> Float[Tensor, "n m"]:
    return (-torch.cdist(first, second).square()).exp()


def _regression(
    inner: Float[Tensor, "n f"], truth: Float[Tensor, "n o"], centres: Float[Tensor, "m f"]
) -> Float[Tensor, "m o"]:
    """Return the weights of the centres that foretell `truth`: (K_mn K_nm + noise K_mm)^-1 K_mn y."""
    across, own = _kernel(inner, centres), _kernel(centres, centres)
    normal = across.T @ across + NOISE * own + 1e-6 * torch.eye(len(centres)).to(own)
    return torch.linalg.solve(normal, across.T @ truth)
