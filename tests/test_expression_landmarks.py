"""Expressions from landmarks: strong ones come out strong, and neutral faces stay neutral."""

from __future__ import annotations

import pytest
import torch

from protome.encoder import dense
from protome.encoder.dense import places_on_head, with_landmarks
from protome.encoder.encoder import LatentEstimate
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_mesh_points
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene, View
from protome.units import UNIT_MM

SMILE = ("mouthSmile_L", "mouthSmile_R")
CAMERA = Camera.look_at(torch.tensor([0.3, 0.1, 6.0]), torch.tensor([0.0, -0.2, -0.4]), 2400.0, 800, 800)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load()


def _found(prior: Prior, strength: float) -> dict[str, float]:
    """Return the expression that is found of somebody who smiles that much, from exact landmarks of one photo."""
    field = prior.field
    names = field.config.expression
    person = prior.shape.latent(0.7 * torch.randn(len(prior.shape.axes), generator=torch.Generator().manual_seed(4)))
    mood = torch.tensor([strength if name in SMILE else 0.0 for name in names])
    with torch.no_grad():
        condition = field.shape_condition(person[None], mood[None])[0]
    reference = (load_mesh_points().places / UNIT_MM).float()
    truth = places_on_head(
        field, LatentStatistics(condition, torch.zeros(1, len(condition))), torch.zeros(1), reference
    )
    pixels = CAMERA.project(truth.points)
    pixels = torch.cat([pixels, torch.zeros(478 - len(pixels), 2)])
    view = View("one", torch.zeros(800, 800, 3), torch.ones(800, 800), CAMERA, landmarks=pixels)
    scene = Scene((view,), Similarity.identity(), posed=False)
    estimate = with_landmarks(LatentEstimate.of_prior(prior, scene), scene, prior, alone=True)
    return dict(zip(names, estimate.expressions[0].mean.tolist(), strict=True))


def test_a_smile_comes_out_at_its_strength_and_not_at_a_gaussians(
    prior: Prior, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _found(prior, 0.9)
    monkeypatch.setattr(dense, "WIDENINGS", 0)
    gaussian = _found(prior, 0.9)
    for name in SMILE:
        assert found[name] == pytest.approx(0.9, abs=0.25)
        assert abs(found[name] - 0.9) < 0.6 * abs(gaussian[name] - 0.9), (found, gaussian)


def test_a_neutral_face_stays_neutral(prior: Prior) -> None:
    assert max(map(abs, _found(prior, 0.0).values())) < 0.12
