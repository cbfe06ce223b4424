"""`detection_process`: the detector is started before there is work, and never outlives the command."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.capture import detection_process
from protome.capture.landmarks import detect


def test_a_process_that_was_started_ahead_is_the_one_that_works() -> None:
    detection_process.start_ahead()
    (waiting,) = detection_process._ahead
    detection_process.start_ahead()
    assert detection_process._ahead == [waiting]
    (found,) = detect([torch.full((64, 64, 3), 0.5)])
    assert found.faces == ()
    assert waiting.returncode == 0
    assert detection_process._ahead == []


def test_a_process_without_work_is_stopped() -> None:
    detection_process.start_ahead()
    (waiting,) = detection_process._ahead
    detection_process.stop()
    assert waiting.returncode is not None
    assert detection_process._ahead == []


def test_a_process_whose_parent_has_gone_ends_by_itself(tmp_path: Path) -> None:
    child = detection_process._started()
    assert child.stdin is not None
    child.stdin.close()  # as the end of the parent closes it
    assert child.wait(timeout=60) == 0


def test_paths_with_spaces_reach_the_process(tmp_path: Path) -> None:
    source, target = tmp_path / "two words.npz", tmp_path / " found .npz"
    np.savez(source, with_masks=np.array(True), image_0=np.zeros((32, 48, 3), np.uint8))
    ended = detection_process.run(source, target)
    assert ended.returncode == 0, ended.stderr
    with np.load(target) as found:
        assert found["mask_0"].shape == (32, 48)


@pytest.fixture(autouse=True)
def _none_left() -> None:
    detection_process.stop()


@pytest.mark.parametrize(("side", "is_one"), [(15.0, False), (17.0, True)])
def test_a_pattern_of_a_few_pixels_is_no_face(monkeypatch: pytest.MonkeyPatch, side: float, is_one: bool) -> None:
    pytest.importorskip("mediapipe")
    detector = importlib.import_module("protome.capture.detector")
    found = 40 + side * np.random.default_rng(0).uniform(size=(detector.LANDMARKS, 2))
    found[:2] = np.array([[40.0, 40.0], [40 + side, 40 + side]])  # its extent
    monkeypatch.setattr(detector, "mesh_in", lambda models, image, square, factor: found)
    monkeypatch.setattr(detector, "squares", lambda detectors, crop: np.array([[192, 192, 384 / 3.5]]))
    models = object.__new__(detector.Models)
    models.sure_detectors = []
    seen = detector.confirmed(models, np.zeros((100, 100, 3), np.uint8), found[0])
    assert (seen is not None) == is_one
