"""The benchmark of casual captures: what it measures of known cameras, sizes and people, and its page."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.benchmark import casual, casual_heads, placing
from protome.benchmark.captures import CasualCapture, read_captures
from protome.benchmark.casual_heads import CasualHead, Recognition, measure_wrong, score
from protome.benchmark.casual_page import casual_page, succeeded
from protome.benchmark.casual_report import write_casual_report
from protome.benchmark.placing import Placing, measure_placing
from protome.capture.size import PRIOR_MEAN, PRIOR_STD
from protome.errors import InputError
from protome.evaluate.h3ds import read_scene
from protome.face import LANDMARK_NAMES
from protome.geometry.camera import Camera, direction
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.scene import Scene, View
from protome.scenes.h3ds import Truth, write_truth
from protome.units import UNIT_MM
from protome.util.engines import Here
from test_report import Page

ANGLES = (-30.0, 5.0, 40.0)


def cameras() -> list[Camera]:
    middle = torch.zeros(3).double()
    places = [600.0 * direction(math.radians(angle), 0.05 * number) for number, angle in enumerate(ANGLES)]
    return [Camera.look_at(place, middle, 900.0, 600, 800) for place in places]


def face() -> Mesh:
    """A bowl before the origin, with a nose."""
    x, y = np.meshgrid(np.linspace(-70, 70, 40), np.linspace(-90, 60, 40))
    z = -(x**2 + y**2) / 160 + 22 * np.exp(-(x**2 + (y + 35) ** 2) / 150)
    index = np.arange(1600).reshape(40, 40)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    return Mesh(np.stack([x, y, z], -1).reshape(-1, 3), faces)


MARKS = dict(
    zip(
        LANDMARK_NAMES,
        np.array([[-16, 0, 0], [16, 0, 0], [0, -35, 14], [0, -50, -5], [-22, -70, -20], [22, -70, -20]], float),
        strict=True,
    )
)


def write_capture(folder: Path, wrong: int | None = None, behind: int | None = None) -> CasualCapture:
    """A capture's truth without its photos."""
    mesh = face()
    near = {name: int(np.linalg.norm(mesh.vertices - mark, axis=1).argmin()) for name, mark in MARKS.items()}
    write_truth(folder, Truth(mesh, near, {"face_sphere": np.arange(len(mesh.vertices))}))
    rows = [
        {
            "file": f"photo_{number}.jpg", "K": camera.K.tolist(), "T_head_camera": camera.T_world_camera.tolist(),
            "width": camera.width, "height": camera.height, "exif": False, "behind": number == behind,
            "wrong": number == wrong, "irises": [{"diameter_px": 30.0, "visible": 0.8}] * 2,
        }
        for number, camera in enumerate(cameras())
    ]  # fmt: skip
    (folder / "truth.json").write_text(json.dumps({"person": "somebody", "photos": rows}))
    return next(own for own in read_captures(folder.parent, wrong=wrong is not None) if own.folder == folder)


def placed(found: list[Camera], factor: float = 0.5) -> Scene:
    """The scene of photos, reduced to half their size, with these cameras in the head frame in millimetres."""
    views = []
    for number, camera in enumerate(found):
        small = camera.resized(round(factor * camera.width), round(factor * camera.height))
        image = torch.zeros(small.height, small.width, 3)
        views.append(View(f"photo_{number}.jpg", image, image[..., 0], small))
    return Scene(tuple(views), Similarity.scaling(1 / UNIT_MM, torch.float64))


def measured(capture: CasualCapture, found: list[Camera], monkeypatch: pytest.MonkeyPatch) -> Placing:
    monkeypatch.setattr(placing, "place", lambda _: (placed(found), "", ()))
    return measure_placing(capture)


def test_the_true_cameras_have_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(write_capture(tmp_path / "capture_000"), cameras(), monkeypatch)
    assert found.left_out == ()
    for value in (found.focal_percent, found.rotation_deg, found.across_mm, found.shape_mm, found.size_percent):
        assert abs(value) < 1e-3
    # Neither irises nor recorded distances: the prior's size and deviation.
    assert found.sized_percent == pytest.approx(100 * math.expm1(PRIOR_MEAN))
    assert found.stated_percent == pytest.approx(100 * PRIOR_STD)


def test_a_head_frame_of_ones_own_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = rotation_from_vector(torch.tensor([0.1, -0.2, 0.05]).double())
    moved = Similarity(turn, torch.zeros(3).double(), torch.ones(()).double())
    found = measured(write_capture(tmp_path / "a"), [own.transformed(moved) for own in cameras()], monkeypatch)
    assert max(found.rotation_deg, found.across_mm, found.shape_mm) < 1e-3


def test_each_error_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write_capture(tmp_path / "capture_000")
    farther = [own.transformed(Similarity.scaling(1.05, torch.float64)) for own in cameras()]
    found = measured(capture, farther, monkeypatch)
    assert found.size_percent == pytest.approx(5.0)
    assert max(found.across_mm, found.shape_mm, found.focal_percent) < 1e-3

    stretch = torch.tensor([1.1, 1.1, 1.0])[:, None].double()
    longer = [replace(own, K=stretch * own.K) for own in cameras()]
    longer = [replace(own, K=own.K - torch.tensor([[0, 0, 30.0], [0, 0, 40.0], [0, 0, 0]])) for own in longer]
    found = measured(capture, longer, monkeypatch)
    assert found.focal_percent == pytest.approx(10.0)
    assert found.size_percent == pytest.approx(100 * (1 / 1.1 - 1))
    assert found.across_mm > 1e-2

    about = Similarity(
        rotation_from_vector(torch.tensor([0.0, math.radians(4), 0.0]).double()), torch.zeros(3).double(),
        torch.ones(()).double(),
    )  # fmt: skip
    turned = [cameras()[0].transformed(about), *cameras()[1:]]
    found = measured(capture, turned, monkeypatch)
    assert found.rotation_deg == pytest.approx(4.0, abs=1e-3)  # in two of three pairs
    assert found.across_mm > 0.3
    assert found.shape_mm > 0.3


def test_photos_that_are_left_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write_capture(tmp_path / "capture_000")
    found = measured(capture, cameras()[:2], monkeypatch)
    assert found.left_out == ("photo_2.jpg",)
    assert found.used == 2
    monkeypatch.setattr(placing, "place", lambda _: (None, "no face found in any of the 3 photos", ()))
    found = measure_placing(capture)
    assert len(found.left_out) == 3
    assert math.isnan(found.focal_percent)


def test_size_and_face_are_measured_apart(tmp_path: Path) -> None:
    truth = read_scene(write_capture(tmp_path / "capture_000").folder)
    grown = Similarity.scaling(1.04, torch.float64)
    found = score(face().transformed(grown), {name: 1.04 * mark for name, mark in MARKS.items()}, truth)
    assert found.size_percent == pytest.approx(4.0, abs=0.02)
    assert found.free < 0.01 < 0.1 < found.rigid


def test_hair_before_the_cheeks_counts_for_the_head_alone(tmp_path: Path) -> None:
    truth = read_scene(write_capture(tmp_path / "capture_000").folder)
    skin = truth.head.mesh
    curtain = np.array([[20.0, -20.0, 8.0], [40.0, -20.0, 8.0], [40.0, 20.0, 8.0], [20.0, 20.0, 8.0]])
    curtain = curtain + MARKS["nose_tip"]
    hair = Mesh(curtain, np.array([[0, 1, 2], [0, 2, 3]]))
    both = Mesh(
        np.concatenate([skin.vertices, hair.vertices]), np.concatenate([skin.faces, hair.faces + len(skin.vertices)])
    )
    dressed = replace(truth, head=replace(truth.head, mesh=both))
    alone, with_hair = score(face(), MARKS, truth), score(face(), MARKS, dressed)
    assert with_hair.free == pytest.approx(alone.free, abs=1e-6)
    assert with_hair.head_free > alone.head_free + 0.1


@pytest.mark.parametrize(("kept", "recognised", "refused"), [((0, 1), True, 0), ((0, 1, 2), False, 0), ((1,), True, 1)])
def test_a_wrong_person_is_recognised_by_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...], recognised: bool, refused: int
) -> None:
    capture = write_capture(tmp_path / "wrong_000", wrong=2)
    scene = placed(cameras())
    scene = replace(scene, views=tuple(scene.views[number] for number in kept))
    monkeypatch.setattr(casual_heads, "place", lambda _: (scene, "", ()))
    assert measure_wrong(capture) == Recognition(3, recognised, refused, "")


def test_a_refusal_that_names_the_wrong_person_recognises_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write_capture(tmp_path / "wrong_000", wrong=1)
    monkeypatch.setattr(casual_heads, "place", lambda _: (None, "photo_1.jpg disagrees with the others", ()))
    found = measure_wrong(capture)
    assert found.recognised
    assert found.right_refused == 0


def some_placing(focal: float = 5.0, sized: float = 2.0, left: tuple[str, ...] = ()) -> Placing:
    return Placing(3, 3 - len(left), left, "", True, focal, 1.0, 0.5, 0.4, 3.0, sized, 3.0, 2, (), 4.0)


def some_head(free: float, reason: str = "") -> CasualHead:
    value = math.nan if reason else free
    return CasualHead(reason, value, value, value, 1.0, 1.5, 4.0, 3, 60.0)


def test_the_page_has_means_ratios_and_judges_the_targets(tmp_path: Path) -> None:
    captures = [write_capture(tmp_path / f"capture_{number:03d}", behind=2 if number else None) for number in range(3)]
    names = [own.name for own in captures]
    placings = dict(
        zip(names, (some_placing(4.0), some_placing(9.0, 5.0, ("photo_2.jpg",)), some_placing(6.0)), strict=True)
    )
    heads = {
        "casual": dict(zip(names, (some_head(0.6), some_head(0.9), some_head(0, "no face found")), strict=True)),
        "known": dict(zip(names, (some_head(0.5), some_head(0.5), some_head(0.5)), strict=True)),
    }
    wrong = {"wrong_000": Recognition(4, True, 0, ""), "wrong_001": Recognition(4, False, 1, "")}
    text = casual_page(captures, placings, wrong, heads, preset="draft", quick=True)
    assert "| 3 | 2 of 3 | 0.75 / 0.75 | 0.50 / 0.50 | 1.50 |" in text
    assert "| median focal length error, % | 6.00 | at most 8 | yes |" in text
    assert "| 3 photos, face to that of known cameras | 1.50 | at most 1.2 | no |" in text
    assert "| wrong people recognised, % | 50.00 | at least 95 | no |" in text
    # What was taken from behind may be left out.
    assert "Photos of the right person's face that were left out: 0 of 7." in text
    assert "| all | 3 | 3.0 | 3.3 | 3.0 | 67 % | 100 % |" in text
    assert succeeded(some_head(1.49))
    assert not succeeded(some_head(1.51))


def test_the_report_has_the_page_and_every_capture(tmp_path: Path) -> None:
    captures = [write_capture(tmp_path / f"capture_{number:03d}") for number in range(2)]
    names = [own.name for own in captures]
    placings = dict(zip(names, (some_placing(4.0), some_placing(9.0, left=("<2>.jpg",))), strict=True))
    placings[names[1]] = replace(placings[names[1]], posed=False, rotation_deg=math.nan, reason="<2>.jpg is no photo")
    heads = {
        "casual": dict(zip(names, (some_head(0.61), some_head(0, "no face found")), strict=True)),
        "known": dict(zip(names, (some_head(0.52), some_head(0.53)), strict=True)),
    }
    text = casual_page(captures, placings, {}, heads, preset="draft", quick=True)
    write_casual_report(tmp_path, text, captures, placings, heads)
    html = (tmp_path / "report.html").read_text()
    assert all(address.startswith("data:") for address in Page(html).refers)
    rows = {
        found[1]: re.findall(r"<td>([^<]*)</td>", found[2])
        for found in re.finditer(r'<th scope="row">(capture_\d+)</th>(.*)</tr>', html)
    }
    assert rows == {
        "capture_000": ["3", "", "yes", "4.0", "1.00", "+3.0", "0.61", "0.52", "yes"],
        "capture_001": ["3", "&lt;2&gt;.jpg", "no", "9.0", "", "+3.0", "", "0.53", "no"],
    }
    assert "<p>capture_001: &lt;2&gt;.jpg is no photo</p>" in html
    assert all(f">{title}</h2>" in html for title in ("Cameras", "Heads", "People", "Targets", "Refused"))


def test_a_stopped_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capture(tmp_path / "captures" / "capture_000")
    out = tmp_path / "out"
    out.mkdir()
    stored = json.dumps({**vars(some_placing()), "left_out": [], "warned": []})
    (out / "capture_000_placement.json").write_text(stored)

    def never(_: CasualCapture) -> Placing:
        raise AssertionError("measured again")

    monkeypatch.setattr(casual, "measure_placing", never)
    casual.benchmark_casual(tmp_path / "captures", out, placement=True, engine=Here(), quiet=True)
    assert json.loads((out / "casual.json").read_text())["placement"]["capture_000"]["focal_percent"] == 5.0
    assert "cameras only" in (out / "casual.md").read_text()
    assert "capture_000" in (out / "report.html").read_text()


def test_a_folder_without_captures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no captures"):
        read_captures(tmp_path)
    (tmp_path / "capture_000").mkdir()
    (tmp_path / "capture_000" / "truth.json").write_text("{}")
    with pytest.raises(InputError, match="write the captures again"):
        read_captures(tmp_path)
