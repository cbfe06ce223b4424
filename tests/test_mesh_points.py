"""Offsets of a detector's landmarks are recovered from photos that show each of them without its depth."""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from protome.training.mesh_points import Residual, fitted

LANDMARKS, PHOTOS, NOISE_MM = 30, 400, 1.5


def test_offsets_are_found_whatever_the_heads_place_and_some_wild_landmarks() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(LANDMARKS, 3, generator=generator).double()
    turns = Rotation.from_euler("yx", (40 * (2 * torch.rand(PHOTOS, 2, generator=generator) - 1)).numpy(), degrees=True)
    found = []
    for turn in torch.from_numpy(turns.as_matrix()):
        across = turn[:2]
        off = true @ across.T + NOISE_MM * torch.randn(LANDMARKS, 2, generator=generator)
        off = off + 3 * torch.randn(1, 2, generator=generator)
        off[torch.rand(LANDMARKS, generator=generator) < 0.03] += 30
        found.append(Residual(off, across, torch.ones(LANDMARKS).double()))
    offset, deviation = fitted(found)
    # What all landmarks have in common is the head's place.
    offset, true = offset - offset.mean(0), true - true.mean(0)
    assert float((offset - true).norm(dim=1).mean()) < 0.35
    assert float((offset - true).norm(dim=1).max()) < 0.8
    assert float((deviation / NOISE_MM - 1).abs().max()) < 0.3
