"""The size of a head: sources joined by their variances, deviations that are right, and what files record."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from phone import exif_of, jpeg
from protome.capture.iris import IRIS_MM, Iris
from protome.capture.photo import load_photo, recorded_distance_mm
from protome.capture.size import (
    IRIS_STD,
    PRIOR_MEAN,
    PRIOR_STD,
    RECORDED_STD,
    Evidence,
    Size,
    estimate_size,
    iris_evidence,
    joined,
    robust_mean,
)
from protome.encoder.scale import MetricScale, sized
from protome.prior.prior import Prior
from protome.scene import CameraEstimate, Scene
from protome.units import UNIT_MM
from test_encoder import INNER, mean_face, view_of
from test_iris import close, drawn, gaze
from test_scale import as_placed, mean_estimate


def iris(diameter: float, spread: float = 0.02) -> Iris:
    return Iris(np.zeros(2), 40.0, diameter, spread, 3.0)


def test_independent_sources_are_joined_by_their_variances() -> None:
    found = joined([Evidence("a", 0.08, 0.04), Evidence("b", 0.0, 0.04)])
    assert found.factor == pytest.approx(math.exp(0.04))
    assert found.std_percent == pytest.approx(4 / math.sqrt(2))
    assert joined([Evidence("a", 0.1, 0.001), Evidence("b", 0.0, 0.1)]).factor == pytest.approx(math.exp(0.1), rel=1e-3)
    assert found.facts() == {"from": "a and b", "std_percent": 2.83}


def test_stated_deviations_of_the_joined_size_are_right() -> None:
    """Sizes and irises drawn as they are assumed: 68 % and 95 % of the errors lie within one and two deviations."""
    rng = np.random.default_rng(0)
    away = []
    for _ in range(4000):
        size, own = rng.normal(0, PRIOR_STD), IRIS_MM * math.exp(rng.normal(0, IRIS_STD))
        measured = own * np.exp(rng.normal(0, 0.03, 2) - size + rng.normal(0, 0.012))
        evidence = iris_evidence([iris(value, 0.03) for value in measured])
        assert evidence is not None
        found = joined([evidence, Evidence("the prior", 0.0, PRIOR_STD)])
        assert found.std_percent is not None
        away.append(abs(math.log(found.factor) - size) / (found.std_percent / 100))
    assert np.mean(np.array(away) < 1) == pytest.approx(0.683, abs=0.03)
    assert np.mean(np.array(away) < 2) == pytest.approx(0.954, abs=0.015)


def test_one_wrong_iris_among_five_hardly_matters() -> None:
    assert iris_evidence([]) is None
    right = iris_evidence([iris(12.0)] * 4)
    mixed = iris_evidence([*[iris(12.0)] * 4, iris(10.0)])
    assert right is not None
    assert mixed is not None
    assert right.mean == pytest.approx(math.log(IRIS_MM / 12.0))
    assert mixed.mean == pytest.approx(right.mean, abs=0.01)
    assert mixed.std > right.std > IRIS_STD
    mean, std = robust_mean(np.array([0.0, 0.1]), np.array([0.01, 0.01]))
    assert mean == pytest.approx(0.05)
    assert std > 0.02  # they contradict each other


def test_larger_irises_than_peoples_bring_the_head_nearer() -> None:
    by = close()
    found = estimate_size([drawn(by, gaze(0), 12.6)], [by])
    assert found.sources == ("irises", "the prior")
    assert found.std_percent is not None
    assert found.std_percent < 100 * PRIOR_STD
    share = PRIOR_STD**2 / (PRIOR_STD**2 + IRIS_STD**2)
    assert math.log(found.factor) == pytest.approx(share * math.log(11.7 / 12.6) + (1 - share) * PRIOR_MEAN, abs=0.006)


def test_without_irises_the_prior_alone_holds() -> None:
    by = close()
    view = replace(drawn(by, gaze(0)), landmarks=None)
    found = estimate_size([view], [by])
    assert found.factor == pytest.approx(math.exp(PRIOR_MEAN))
    assert found.std_percent == pytest.approx(100 * PRIOR_STD)
    assert found.sources == ("the prior",)


def test_recorded_distances_count_and_impossible_ones_do_not() -> None:
    by = close()
    view = replace(drawn(by, gaze(0)), landmarks=None)
    distance = float(by.centre.norm())
    found = estimate_size([replace(view, recorded_mm=1.2 * distance)], [by])
    assert found.sources == ("recorded distances", "the prior")
    share = PRIOR_STD**2 / (PRIOR_STD**2 + RECORDED_STD**2)
    assert math.log(found.factor) == pytest.approx(share * math.log(1.2) + (1 - share) * PRIOR_MEAN, abs=1e-6)
    for impossible in (20.0, 60_000.0):
        assert estimate_size([replace(view, recorded_mm=impossible)], [by]).sources == ("the prior",)


def test_files_record_metres() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.SubjectDistance] = 0.75
    assert recorded_distance_mm({ExifTags.Base.SubjectDistance: exif[ExifTags.Base.SubjectDistance]}) == 750.0
    for unknown in (0, 0xFFFFFFFF, "near", None):
        assert recorded_distance_mm({ExifTags.Base.SubjectDistance: unknown}) is None
    assert recorded_distance_mm({}) is None


def test_a_photo_keeps_the_distance_that_its_file_records(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(np.zeros((200, 150, 3), np.uint8), 90, exif_of(35.0, 640.0, "a lens")))
    assert load_photo(tmp_path / "photo.jpg").recorded_mm == pytest.approx(640.0)
    (tmp_path / "other.jpg").write_bytes(jpeg(np.zeros((200, 150, 3), np.uint8), 90, None))
    assert load_photo(tmp_path / "other.jpg").recorded_mm is None


def test_the_estimate_moves_by_the_factor_that_is_stated() -> None:
    prior = Prior.load()
    by = close()
    scene = Scene((drawn(by, gaze(0), 12.6),), INNER)
    _, estimate, size = sized(None, mean_estimate(prior), scene, prior)
    assert estimate is not None
    (found,) = as_placed(estimate, scene)
    nose = prior.landmarks[2].double()
    before = (nose - by.transformed(INNER.to(torch.float64)).centre).norm()
    assert float((nose - found.centre).norm() / before) == pytest.approx(size.factor, abs=1e-6)
    assert size.factor < 0.99


def test_given_lengths_and_cameras_come_first() -> None:
    prior = Prior.load()
    by = close()
    scene = Scene((view_of(mean_face(), by),), INNER)
    _, given, size = sized(MetricScale(distance_mm=650.0), mean_estimate(prior), scene, prior)
    assert given is not None
    assert size.sources == ("the camera's distance",)
    (found,) = as_placed(given, scene)
    assert float((prior.landmarks[2].double() - found.centre).norm()) * UNIT_MM == pytest.approx(650.0, abs=0.05)
    metric = replace(scene, metric=True)
    same, estimate, size = sized(None, None, metric, prior)
    assert same is metric
    assert estimate is None
    assert size == Size(1.0, None, ("the scene's cameras",))
    _, _, size = sized(None, None, scene, prior)
    assert size == Size(1.0, 100 * PRIOR_STD, ("the prior",))


def test_cameras_that_photos_have_placed_are_scaled() -> None:
    prior = Prior.load()
    by = close()
    scene = replace(Scene((drawn(by, gaze(0), 12.6),), INNER), estimate=CameraEstimate((0.05,), (0.01,)))
    moved, estimate, size = sized(None, None, scene, prior)
    assert estimate is None
    assert size.factor < 0.99
    assert torch.allclose(moved.views[0].camera.centre.double(), size.factor * by.centre, rtol=1e-5)
