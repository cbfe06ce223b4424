"""The benchmark of identity: what it counts, and that distances do not depend on a head's size and place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.benchmark import identity
from protome.benchmark.captures import CasualCapture
from protome.benchmark.identity import BUILT_IN, OURS, Face, Likeness, benchmark_identity, distances_to, recognition
from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.util.engines import Here
from test_casual import MARKS, face, write_capture

LANDMARKS = np.stack([MARKS[name] for name in LANDMARK_NAMES])


def test_people_are_told_apart_as_often_as_the_distances_say() -> None:
    nothing = float("nan")
    distances = np.array([[1.0, 2, 3, 4], [2, 1, 0.5, 3], [3, 3, 1, 2], [nothing] * 4])
    found = recognition(distances, np.array([1.0, 1.5, 2, 9]))
    assert found.face_mm == pytest.approx(1)
    assert found.ratio == pytest.approx(3 / 4.5)
    assert found.worse == 1
    assert found.pairs == pytest.approx(100 * 8 / 9)
    assert found.first == pytest.approx(100 * 2 / 3)
    assert found.heads == 3


def test_distances_are_the_faces_own_millimetres_whatever_the_size_and_place_of_the_head() -> None:
    mesh = face()
    rng = np.random.default_rng(0)
    true = Face(mesh.vertices[rng.permutation(len(mesh.vertices))[:800]], LANDMARKS)
    assert distances_to(mesh, LANDMARKS, [true]) == [pytest.approx(0, abs=1e-4)]
    taller = Mesh(mesh.vertices + np.exp(-(mesh.vertices[:, :1] ** 2) / 800) * [0.0, 0.0, 4.0], mesh.faces)
    (apart,) = distances_to(taller, LANDMARKS, [true])
    assert 0.3 < apart < 4
    rotation = rotation_from_vector(torch.tensor([0.1, 0.2, -0.1]).double())
    turned = Similarity(rotation, torch.tensor([3.0, 4.0, 5.0]).double(), torch.tensor(1.0).double())
    moved = Similarity.scaling(0.5, torch.float64).compose(turned)
    places = moved.apply_numpy(taller.vertices), moved.apply_numpy(LANDMARKS)
    assert distances_to(Mesh(places[0], mesh.faces), places[1], [true]) == [pytest.approx(apart, rel=0.01)]


def test_the_page_counts_stored_people_and_a_stopped_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captures, out = tmp_path / "captures", tmp_path / "out"
    for number, person in enumerate(("anna", "ben")):
        folder = captures / f"capture_{number:03d}"
        write_capture(folder)
        row = json.loads((folder / "truth.json").read_text()) | {"person": person}
        (folder / "truth.json").write_text(json.dumps(row))
    own = {"anna": [1.0, 2.0], "ben": [0.5, 1.0]}

    def told(capture: CasualCapture, *_: object) -> Likeness:
        far = own[capture.person]
        return Likeness(capture.person, {OURS: far, BUILT_IN: far[::-1]})

    monkeypatch.setattr(identity, "mean_head", lambda: face().scaled(1.0))
    monkeypatch.setattr(identity, "_mean_landmarks", lambda: LANDMARKS)
    monkeypatch.setattr(identity, "likeness", told)
    benchmark_identity(captures, out, preset="draft", engine=Here(), quiet=True)
    first = capsys.readouterr().out
    monkeypatch.setattr(identity, "likeness", lambda *_: pytest.fail("measured again"))
    benchmark_identity(captures, out, preset="draft", engine=Here(), quiet=True)
    page = capsys.readouterr().out
    assert page == first
    assert "| protome | 2 | 1.00 |" in page
    assert "50.0 % | 50 % |" in page
    assert (out / "identity.md").read_text() in page


def test_one_person_is_too_few(tmp_path: Path) -> None:
    write_capture(tmp_path / "captures" / "capture_000")
    with pytest.raises(InputError, match="shows one person"):
        benchmark_identity(tmp_path / "captures", tmp_path / "out", quiet=True)
