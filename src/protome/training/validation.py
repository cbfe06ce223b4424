"""How well a prior in training represents held-out heads: latents fitted to samples in space, distances of the face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.face import LANDMARK_NAMES
from protome.population.store import EXPRESSIVE, Population, read_manifest
from protome.prior.inversion import FACE, InversionConfig, ShapeSamples, invert_samples
from protome.prior.prior import Prior
from protome.units import UNIT_MM

_NOSE = LANDMARK_NAMES.index("nose_tip")
_QUICK = InversionConfig(surface=2000, space=1000, steps=8)
"""A fraction of the points and steps of a full measurement: the numbers are compared with one another alone."""


@dataclass(frozen=True)
class HeldOut:
    """Some heads of a population that no prior is trained on."""

    heads: dict[str, list[ShapeSamples]]
    noses: dict[str, list[Float[Tensor, "3"]]]

    @staticmethod
    def of(folder: Path, each: int) -> HeldOut:
        """Take `each` heads of every held-out split, spread over it; of the expressive ones one of each expression."""
        heads: dict[str, list[ShapeSamples]] = {}
        noses: dict[str, list[Tensor]] = {}
        known = read_manifest(folder).heads
        for split in ("holdout_valid", "holdout_ict", EXPRESSIVE):
            if not known.get(split):
                continue
            people = Population(folder, split)
            chosen = torch.linspace(0, len(people) - 1, min(each, len(people))).round().long().unique().tolist()
            if split == EXPRESSIVE:
                first = people.first_heads.tolist()
                own = len(people) // len(first)
                chosen = [first[k % len(first)] + k for k in range(1, own)]
            batches = [people.samples(index) for index in chosen]
            heads[split] = [ShapeSamples(one.points[0], one.space[0], one.distances[0]) for one in batches]
            noses[split] = [one.landmarks[0, _NOSE] for one in batches]
        return HeldOut(heads, noses)

    def face_mm(self, prior: Prior) -> dict[str, float]:
        """Return the mean |f| on the faces of each split after fitting the latents, millimetres."""
        found = {}
        for split, heads in self.heads.items():
            errors = []
            for samples, nose in zip(heads, self.noses[split], strict=True):
                latents = invert_samples(prior, samples, _QUICK).latents
                face = samples.points[(samples.points - nose).norm(dim=1) < FACE]
                with torch.no_grad():
                    errors.append(float(prior.bind(latents).sdf(face).abs().mean()) * UNIT_MM)
            found[split] = sum(errors) / len(errors)
        return found
