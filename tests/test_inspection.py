"""`protome inspect`: a sheet, a line for each photo, the facts as JSON, and scenes for other methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from protome.capture.capture import capture_photos
from protome.portrait import save_portrait
from protome.scene import View
from protome.scenes.scene_folder import read_scene

Run = Callable[[list[str]], int]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The portrait, and the same out of focus."""
    folder = tmp_path_factory.mktemp("photos")
    save_portrait(folder / "sharp.png")
    with Image.open(folder / "sharp.png") as opened:
        opened.filter(ImageFilter.GaussianBlur(3.5)).save(folder / "soft.png")
    return [folder / "sharp.png", folder / "soft.png"]


def test_a_sheet_lines_and_facts(
    run: Run, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts_file = tmp_path / "facts.json"
    arguments = ["inspect", *map(str, photos), "--out", str(tmp_path / "out"), "--json", str(facts_file)]
    assert run([*arguments, "--export", "colmap"]) == 0
    said = capsys.readouterr()
    first, second = said.out.splitlines()
    assert first.startswith("sharp.png: 512 x 512 px, face 10")
    assert first.endswith("weight 1.00; no remarks")
    assert second.startswith("soft.png: ")
    assert "; blurred: 3." in second
    warnings = said.err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: both photos show the head from nearly the same direction")
    assert warnings[1] == "warning: the face is blurred in soft.png: blurred photos count less"
    facts = json.loads(facts_file.read_text())
    assert [photo["photo"] for photo in facts["photos"]] == ["sharp.png", "soft.png"]
    assert facts["photos"][0]["weight"] == 1
    assert facts["photos"][1]["weight"] < 0.4
    assert facts["photos"][0]["focal_from"] == "assumed"
    assert [f"warning: {sentence}" for sentence in facts["warnings"]] == warnings
    with Image.open(tmp_path / "out" / "capture.png") as sheet:
        assert sheet.info["Description"] == facts["alt"]["capture.png"]
        assert sheet.width > 900
    # What was exported has the cameras and masks of the capture.
    for before, after in zip(capture_photos(photos).views, read_scene(tmp_path / "out"), strict=True):
        assert isinstance(after, View)
        assert torch.allclose(before.camera.K, after.camera.K, atol=1e-4)
        assert torch.allclose(before.camera.T_world_camera, after.camera.T_world_camera, rtol=1e-6, atol=1e-4)
        assert float((before.mask - after.mask).abs().max()) < 0.5 / 255 + 1e-6


def test_photos_without_any_face_are_one_error(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(noise).save(paths[-1])
    assert run(["inspect", *map(str, paths), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: no face found in any of the 2 photos: give photos that show the face from the front or a three-quarter "
        "view, sharp and well lit\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_an_export_does_not_replace_the_scene_it_is_made_from(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tmp_path), "--out", str(tmp_path), "--export", "colmap"]) == 2
    assert "would be mixed with the input" in capsys.readouterr().err
