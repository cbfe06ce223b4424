"""How well a perception network does on portraits of people that it has not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int

from protome.perception.network import SIZE, PerceptionNet
from protome.perception.parts import BACKGROUND, HAIR, OTHERS, PARTS
from protome.population.portraits.shards import found_shards, read_shard
from protome.training.degrade import Example, example
from protome.training.perception_loss import UNKNOWN, landmark_nll

FACE = slice(0, 468)
SEED = 99
EYE_CORNERS = (33, 263)
"""Outer corners of the eyes among MediaPipe's landmarks."""


@dataclass(frozen=True)
class Scores:
    """Means over validation portraits, degraded as in training, always in the same way."""

    nll: float
    visible_pixels: float
    """Mean distance of visible landmarks, pixels of the square."""
    face_nme: float
    """Mean distance of the visible landmarks of the face over the root of the face's bounding box, per cent."""
    sigmas: float
    """Root mean square of the visible landmarks' errors along an axis over their standard deviations; 1 is honest."""
    visibility: float
    """Share of landmarks whose visibility is right."""
    person_iou: float
    """Intersection over union of the subject with what is worn or held."""
    hair_iou: float
    mean_iou: float
    """Mean over the parts."""
    others_taken: float
    """Share of other people's pixels that are given to the subject."""


@torch.no_grad()
def score(network: PerceptionNet, folder: Path, most: int = 512, batch: int = 16, size: int = SIZE) -> Scores:
    """Return the scores on the portraits of a folder, seen in squares of `size` pixels.

    A network does well on squares of the size that it learns from, and badly on others.
    """
    cv2.setNumThreads(1)
    confusion = np.zeros((len(PARTS), len(PARTS)), np.int64)
    sums = np.zeros(6)
    network.eval()
    rng = np.random.default_rng(SEED)
    examples: list[Example] = []
    for path in found_shards(folder):
        shard = read_shard(path)
        examples += [
            example(shard.images[k], shard.parts[k], shard.landmarks[k], shard.visible[k], size, rng)
            for k in shard.of_subjects()[: most - len(examples)]
        ]
    for start in range(0, len(examples), batch):
        group = examples[start : start + batch]
        images = torch.from_numpy(np.stack([one.image for one in group])).permute(0, 3, 1, 2).float() / 255
        said = network(images.to(memory_format=torch.channels_last))
        truth = torch.from_numpy(np.stack([one.landmarks for one in group]))
        visible = torch.from_numpy(np.stack([one.visible for one in group]))
        distance = (said.landmarks - truth).norm(dim=-1) * SIZE / 2
        sigma = said.log_sigma.exp() * SIZE / 2
        box = (truth[:, FACE].amax(1) - truth[:, FACE].amin(1)).prod(-1).sqrt() * SIZE / 2
        seen = visible[:, FACE].float()
        count = visible.sum().clamp(min=1)
        sums += np.array([
            float((landmark_nll(said.landmarks, said.log_sigma, truth) * visible).sum() / count),
            float((distance * visible).sum() / count),
            float(((distance[:, FACE] * seen).sum(1) / seen.sum(1).clamp(min=1) / box).mean()),
            float((0.5 * (distance / sigma).square() * visible).sum() / count),
            float(((said.visible > 0) == visible).float().mean()), 1.0,
        ])  # fmt: skip
        found = said.parts.argmax(1).numpy()
        label = np.stack([one.parts for one in group])
        known = label != UNKNOWN
        confusion += np.bincount(
            label[known].astype(np.int64) * len(PARTS) + found[known], minlength=len(PARTS) ** 2
        ).reshape(confusion.shape)
    mean = sums / max(sums[5], 1)
    subject = np.array([k not in (BACKGROUND, OTHERS) for k in range(len(PARTS))])
    both = confusion[np.ix_(subject, subject)].sum()
    either = confusion[subject].sum() + confusion[:, subject].sum() - both
    ious = _ious(confusion)
    taken = confusion[OTHERS, subject].sum() / max(confusion[OTHERS].sum(), 1)
    return Scores(
        float(mean[0]), float(mean[1]), 100 * float(mean[2]), float(np.sqrt(mean[3])), float(mean[4]),
        float(both / max(either, 1)), float(ious[HAIR]), float(np.nanmean(ious)), float(taken),
    )  # fmt: skip


def _ious(confusion: Int[np.ndarray, "p p"]) -> Float[np.ndarray, "p"]:
    right = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - right
    return np.where(either > 0, right / np.maximum(either, 1), np.nan)
