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
from protome.util.reading import reading

_FORMAT = "protome encoder 1"
KEPT = {"landmarks": 100, "outline": 120, "colours": 60, "pose": 4}
"""Principal components of each kind of measurement."""
WIDTH = 0.3
"""Of the kernel exp(-WIDTH d^2); the unit of d^2 is the training photos' mean squared distance from their mean."""
NOISE = 0.1
"""Noise variance of the regression; the kernel's variance is 1."""
INDUCING = 4500
"""Number of inducing photos (the subset of regressors; Quinonero-Candela and Rasmussen, 2005)."""
FOLDS = 8
"""Of the cross-validation over people."""
POSE_SIZE = 6
"""Length of the predicted pose correction: a rotation vector and a translation."""


@dataclass(frozen=True)
class LatentEstimate:
    """An estimate of a head from its photos: Gaussians over its latents, and its pose in each photo."""

    shape: LatentStatistics
    appearance: LatentStatistics
    corrections: tuple[Similarity, ...]
    """For each photo: maps the head frame that the landmarks gave to the estimated one (inner unit)."""
    expressions: tuple[LatentStatistics, ...] = ()
    """Of the coefficients of each photo's expression; none where the prior has none."""

    @staticmethod
    def of_prior(prior: Prior, scene: Scene) -> LatentEstimate:
        """Return what is known before any photo is looked at: the prior, and the poses that the landmarks gave."""
        return LatentEstimate(
            prior.shape.to("cpu"), prior.appearance.to("cpu"),
            tuple(Similarity.identity(torch.float64) for _ in scene.views),
            () if prior.expression is None else (prior.expression.to("cpu"),) * len(scene.views),
        )  # fmt: skip

    def still(self) -> LatentEstimate:
        """Return the estimate with the head where the photos' cameras have it, which know each other."""
        return replace(self, corrections=tuple(Similarity.identity(torch.float64) for _ in self.corrections))

    def placed(self, scene: Scene) -> Scene:
        """Return the scene with the head at its estimated pose.

        A single photo gets a new `head_from_world`. Several photos get new cameras.
        """
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
    """Predicts a head's latents and pose from one photo, for the prior that it was trained with.

    The features (`PhotoFeatures`) are reduced to principal components x. The prediction is
    y = offset + sum_i weights_i exp(-|x - centres_i|^2). The spreads come from the residuals on held-out people.
    """

    means: dict[str, Tensor]
    axes: dict[str, Tensor]
    """Of each kind of n measurements: its mean (n), and k scaled principal directions (k, n)."""
    centres: Float[Tensor, "m f"]
    weights: Float[Tensor, "m o"]
    offset: Float[Tensor, "o"]
    """Means of the coefficients of shape, appearance and, where there are any, expression (standard deviations), of
    rotation and translation."""
    shape_spread: Float[Tensor, "k k"]
    appearance_spread: Float[Tensor, "l l"]
    """Roots (spread^T spread) of the residual covariance, in standard deviations of the prior."""
    mark: Float[Tensor, "c"]
    """The mean shape latent of the prior that the coefficients belong to."""
    expression_spread: Float[Tensor, "e e"] | None = None
    """The same root for the coefficients of the expression; None where the prior has none."""

    @staticmethod
    def load(path: str | Path | None = None) -> Encoder:
        """Read an encoder; without a path, the one that belongs to the shipped prior.

        Raises:
            InputError: the file is missing or is no encoder.
        """
        if path is None:
            path = Path(str(resources.files("protome") / "assets" / "encoder.safetensors"))
        _, own = read_tensors(Path(path), _FORMAT, "protome train-encoder")
        with reading(Path(path), "an encoder", "give a file written by `protome train-encoder`"):
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
        """Return whether this encoder was trained with a prior."""
        return self.mark.shape == prior.shape.mean.shape and bool((self.mark == prior.shape.mean.to(self.mark)).all())

    def predicted(self, features: Sequence[PhotoFeatures]) -> Float[Tensor, "n o"]:
        """Return the prediction for each photo: the coefficients, rotation vector, translation."""
        return self.offset + _kernel(_components(self.means, self.axes, features), self.centres) @ self.weights

    def estimate(self, scene: Scene, prior: Prior) -> LatentEstimate | None:
        """Estimate a head from its photos, each by itself; None where no face was detected.

        With several photos the latents are the mean of the predictions, with the covariance of a single one.

        Raises:
            ValueError: the encoder belongs to another prior.
        """
        if not self.belongs_to(prior):
            raise ValueError("the encoder was trained with another prior")
        faces = [number for number, view in enumerate(scene.views) if view.landmarks is not None]
        if not faces:
            return None
        found = self.predicted([measure_photo(scene.views[number], scene.head_from_world) for number in faces])
        spreads = [self.shape_spread, self.appearance_spread]
        spreads += [] if self.expression_spread is None else [self.expression_spread]
        *described, poses = found.split([*(len(spread) for spread in spreads), POSE_SIZE], dim=1)
        corrections = [Similarity.identity(torch.float64)] * len(scene.views)
        for number, pose in zip(faces, poses.double(), strict=True):
            corrections[number] = Similarity(rotation_from_vector(pose[:3]), pose[3:], torch.ones(()).double())
        shape, appearance = [
            _posterior(own.to("cpu"), coefficients.mean(0), spread)
            for own, coefficients, spread in zip((prior.shape, prior.appearance), described, spreads, strict=False)
        ]
        expressions: list[LatentStatistics] = []
        if prior.expression is not None and self.expression_spread is not None:
            known = prior.expression.to("cpu")
            expressions = [known] * len(scene.views)
            for number, coefficients in zip(faces, described[-1], strict=True):
                expressions[number] = _posterior(known, coefficients, self.expression_spread)
        return LatentEstimate(shape, appearance, tuple(corrections), tuple(expressions))

    @staticmethod
    def of(
        features: Sequence[PhotoFeatures],
        coefficients: Sequence[Float[Tensor, "n _"]],
        places: Float[Tensor, "n 6"],
        people: Int[Tensor, "n"],
        prior: Prior,
        seed: int = 0,
    ) -> Encoder:
        """Fit the regression to photos of known heads; `people` gives the person in each photo.

        `coefficients` are those of shape, appearance and, where the prior has expressions, expression.
        Predictions for an eighth of the people at a time, held out, give the factors by which outputs are shrunk,
        and the residual covariances.
        """
        truth = torch.cat([*coefficients, places], 1).double()
        means, axes = _principal(features)
        scale = (WIDTH / _components(means, axes, features).square().sum(1).mean()).sqrt()
        axes = {key: scale * own for key, own in axes.items()}
        inner = _components(means, axes, features).double()
        order = torch.randperm(len(inner), generator=torch.Generator().manual_seed(seed))
        fold = people.unique(return_inverse=True)[1] % FOLDS
        centred, predicted = torch.zeros_like(truth), torch.zeros_like(truth)
        for number in range(FOLDS):
            held_out = fold == number
            chosen = order[~held_out[order]][:INDUCING]
            mean = truth[~held_out].mean(0)
            weights = _regression(inner[~held_out], truth[~held_out] - mean, inner[chosen])
            predicted[held_out] = _kernel(inner[held_out], inner[chosen]) @ weights
            centred[held_out] = truth[held_out] - mean
        slopes = ((predicted * centred).sum(0) / predicted.square().sum(0).clamp_min(1e-30)).clamp(0, 1)
        *off, _ = (slopes * predicted - centred).split([*(own.shape[1] for own in coefficients), POSE_SIZE], dim=1)
        shape, appearance, *expression = [_root(own) for own in off]
        centres = inner[order[:INDUCING]]
        weights = _regression(inner, truth - truth.mean(0), centres) * slopes
        return Encoder(
            means, axes, centres.float(), weights.float(), truth.mean(0).float(), shape, appearance,
            prior.shape.mean.clone(), *expression,
        )  # fmt: skip


def _posterior(
    prior: LatentStatistics, coefficients: Float[Tensor, "k"], spread: Float[Tensor, "k k"]
) -> LatentStatistics:
    """Return the Gaussian of a latent with the predicted coefficients as mean and the residual covariance."""
    return LatentStatistics(prior.latent(coefficients), spread @ prior.axes)


def _root(residuals: Float[Tensor, "n k"]) -> Float[Tensor, "k k"]:
    """Return a root of the residuals' covariance: principal directions as long as the deviation along them."""
    values, vectors = torch.linalg.eigh(residuals.T @ residuals / len(residuals))
    # No variance exceeds the prior's, which is 1.
    return (vectors * values.clamp(1e-6, 1).sqrt()).T.flip(0).float()


def _rows(features: Sequence[PhotoFeatures], key: str) -> Float[Tensor, "n m"]:
    return torch.stack([getattr(features, key).reshape(-1) for features in features])


def _principal(features: Sequence[PhotoFeatures]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return mean and scaled principal directions of each kind: components get the root of their deviation's share."""
    means, axes = {}, {}
    for key, count in KEPT.items():
        rows = _rows(features, key).double()
        mean = rows.mean(0)
        if key == "pose":
            own = torch.diag(1 / rows.std(0))
        else:
            _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
            count = min(count, int((sizes > 1e-6 * sizes[0]).sum()))  # without constant directions
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
    """Return the weights of the inducing points for the targets y: (K_mn K_nm + noise K_mm)^-1 K_mn y."""
    across, own = _kernel(inner, centres), _kernel(centres, centres)
    normal = across.T @ across + NOISE * own + 1e-6 * torch.eye(len(centres)).to(own)
    return torch.linalg.solve(normal, across.T @ truth)
