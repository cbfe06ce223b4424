"""Cameras of other programs: known points are projected to known pixels, and masks and images are the right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layouts import (
    shot_by_heading,
    write_metashape,
    write_neus,
    write_neus2,
    write_neus2_video,
    write_opencv_cameras,
    write_realityscan_csv,
    write_vhap,
    write_xmp,
)
from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.scene_folder import is_scene, read_scene
from shots import TARGET, Shot, points_near_target, random_shots, save

NAMES = ("a.png", "b.png")
ANGLES = [(30.0, 75.0, -20.0), (200.0, 40.0, 65.0)]


def shots_by_heading() -> list[Shot]:
    shots = []
    for number, (name, angles) in enumerate(zip(NAMES, ANGLES, strict=True)):
        away = shot_by_heading(name, angles, np.zeros(3), number)
        # The camera looks along its third axis: stand so that the target is ahead.
        shots.append(shot_by_heading(name, angles, TARGET - 40 * away.R[2], number))
    return shots


def a_world() -> np.ndarray:
    world = np.eye(4)
    rotation = random_shots(("x",), seed=3)[0].R
    world[:3, :3], world[:3, 3] = 7.5 * rotation, [100.0, -20.0, 3.0]
    return world


def write(layout: str, folder: Path) -> list[Shot]:
    """Write two shots in a layout."""
    shots = random_shots(NAMES)
    if layout == "NeuS":
        write_neus(folder, shots)
    elif layout == "NeuS2":
        write_neus2(folder, shots)
    elif layout == "NeuS2 video":
        write_neus2_video(folder, {280: shots, 281: random_shots(NAMES, seed=1)})
    elif layout == "VHAP":
        write_vhap(folder, {0: random_shots(NAMES, seed=1)[:1], 3: shots, 4: random_shots(NAMES, seed=2)})
    elif layout == "FaceLift":
        write_opencv_cameras(folder, shots)
    elif layout == "FaceLift without names":
        write_opencv_cameras(folder, shots, named=False)
    elif layout == "Metashape":
        write_metashape(folder, shots, world=a_world())
    elif layout == "XMP":
        write_xmp(folder, shots)
    else:
        shots = shots_by_heading()
        write_realityscan_csv(folder, shots, ANGLES)
    return shots


LAYOUTS = (
    "NeuS", "NeuS2", "NeuS2 video", "VHAP", "FaceLift", "FaceLift without names", "Metashape", "XMP", "CSV",
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_known_points_are_seen_at_known_pixels(layout: str, tmp_path: Path) -> None:
    shots = write(layout, tmp_path)
    assert is_scene(tmp_path)
    views = read_scene(tmp_path)
    assert len(views) == 2
    points = points_near_target()
    for view, shot in zip(views, shots, strict=True):
        assert isinstance(view, View)
        camera = view.camera.to(torch.float64)
        assert (camera.to_camera(torch.from_numpy(points))[:, 2] > 0).all()
        seen = camera.project(torch.from_numpy(points)).numpy()
        assert np.abs(seen - shot.project(points)).max() < 2e-3  # single precision at these distances
        assert np.array_equal((view.image * 255).round().numpy(), shot.image)
        assert np.array_equal((view.mask * 255).round().numpy(), shot.mask)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_are_chosen_by_name(layout: str, tmp_path: Path) -> None:
    write(layout, tmp_path)
    second = read_scene(tmp_path)[1]
    (chosen,) = read_scene(tmp_path, [Path(second.name).stem])
    assert torch.equal(chosen.image, second.image)


@pytest.mark.parametrize(("layout", "step"), [("VHAP", 4), ("NeuS2 video", 281)])
def test_a_time_step_is_chosen(layout: str, step: int, tmp_path: Path) -> None:
    write(layout, tmp_path)
    expected = random_shots(NAMES, seed={"VHAP": 2, "NeuS2 video": 1}[layout])
    for view, shot in zip(read_scene(tmp_path, time_step=step), expected, strict=True):
        assert np.array_equal((view.image * 255).round().numpy(), shot.image)
    with pytest.raises(InputError, match=r"has no time step 9: give one of \d+, \d+"):
        read_scene(tmp_path, time_step=9)


@pytest.mark.parametrize("layout", ["FaceLift", "NeuS2"])
def test_no_time_step_can_be_chosen_where_there_is_none(layout: str, tmp_path: Path) -> None:
    write(layout, tmp_path)
    with pytest.raises(InputError, match=r"^a time step was chosen, but .* has none: leave the option out$"):
        read_scene(tmp_path, time_step=0)


def test_metashape_stays_near_the_origin_of_a_geocentric_world(tmp_path: Path) -> None:
    shots = random_shots(NAMES)
    write_metashape(tmp_path, shots)
    path = tmp_path / "cameras.xml"
    path.write_text(path.read_text().replace("<translation>0.0 0.0 0.0", "<translation>3.9e6 3e5 5e6"))
    for view, shot in zip(read_scene(tmp_path), shots, strict=True):
        np.testing.assert_allclose(view.camera.centre.numpy(), -shot.R.T @ shot.t, rtol=1e-5)


def test_sidecars_of_other_programs_are_no_cameras(tmp_path: Path) -> None:
    for shot in random_shots(NAMES):
        save(tmp_path / shot.name, shot.image)
        (tmp_path / shot.name).with_suffix(".xmp").write_text('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    (tmp_path / "prices.csv").write_text("name,price\napple,3\n")
    (tmp_path / "feed.xml").write_text("<rss><channel/></rss>")
    (tmp_path / "broken.xml").write_text("<rss")
    assert not is_scene(tmp_path)


def test_folders_of_photos_are_no_scenes(tmp_path: Path) -> None:
    assert not is_scene(tmp_path)
    save(tmp_path / "a.png", random_shots(NAMES)[0].image)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "images").mkdir()
    assert not is_scene(tmp_path)
    (tmp_path / "poses_bounds.npy").write_bytes(b"")
    assert is_scene(tmp_path)


def test_unknown_layouts_are_named_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("poses_bounds.npy", "simplices.npy", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as refused:
        read_scene(tmp_path)
    text = str(refused.value)
    assert text.startswith(
        f"{tmp_path} holds no cameras of a known layout (found images/, poses_bounds.npy, simplices.npy)"
    )
    assert "\n" not in text


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_scene(folder)
    text = str(refused.value)
    assert "\n" not in text
    return text.replace(str(folder), "SCENE")


def test_wrong_cameras_are_refused_in_one_sentence(tmp_path: Path) -> None:
    shots = random_shots(NAMES)
    write_opencv_cameras(tmp_path / "a", shots)
    path = tmp_path / "a" / "opencv_cameras.json"
    facts = json.loads(path.read_text())
    facts["frames"][0]["w2c"][0] = [2.0, 0, 0, 0]
    path.write_text(json.dumps(facts))
    assert refusal(tmp_path / "a").startswith("the camera of a.png in SCENE/opencv_cameras.json is unusable: give w, h")
    path.write_text("[]")
    assert refusal(tmp_path / "a").startswith("SCENE/opencv_cameras.json lists no cameras: give w, h, fx")
    write_opencv_cameras(tmp_path / "a", shots, named=False)
    assert refusal(tmp_path / "a").startswith(
        "SCENE/opencv_cameras.json has 2 cameras without file_path, but SCENE/images 4 images: name"
    )
    write_metashape(tmp_path / "b", shots)
    path = tmp_path / "b" / "cameras.xml"
    whole = path.read_text()
    path.write_text(whole.replace('type="frame"', 'type="spherical"'))
    assert refusal(tmp_path / "b").startswith("SCENE/cameras.xml gives a a spherical sensor: export cameras of")
    path.write_text(whole.replace("<transform>", "<other>").replace("</transform>", "</other>"))
    assert refusal(tmp_path / "b").startswith("SCENE/cameras.xml has no aligned cameras: align the photos")
    path.write_text(whole)
    (tmp_path / "b" / "images" / "b.png").unlink()
    assert refusal(tmp_path / "b") == (
        "the image b is missing, but SCENE/cameras.xml names it: put it into SCENE/images"
    )
    write_xmp(tmp_path / "c", shots, (0.1, 0, 0, 0, 0), model="division")
    assert refusal(tmp_path / "c").startswith(
        "SCENE/images/a.xmp has the distortion model division, which is not known"
    )
    write_xmp(tmp_path / "c", [replace(shot, K=-shot.K) for shot in shots])
    assert "no usable focal length" in refusal(tmp_path / "c")
    (tmp_path / "c" / "images" / "a.xmp").write_text("http://www.capturingreality.com/ns/xcr/1.1#")
    assert refusal(tmp_path / "c") == "SCENE/images/a.xmp is not what RealityScan writes: export the cameras again"
    write_realityscan_csv(tmp_path / "d", shots_by_heading(), ANGLES)
    path = tmp_path / "d" / "cameras.csv"
    path.write_text(path.read_text().replace("30.0", "north"))
    assert refusal(tmp_path / "d") == (
        "the row of a.png in SCENE/cameras.csv is not what RealityScan writes: export it again"
    )


def test_masks_that_are_missing_are_left_to_be_made(tmp_path: Path) -> None:
    shots = random_shots(NAMES)
    write_metashape(tmp_path, shots)
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "masks" / "b.png").rename(tmp_path / "images" / "b.mask.png")
    first, second = read_scene(tmp_path)
    assert isinstance(first, Unmasked)
    assert isinstance(second, View)
    assert np.array_equal((second.mask * 255).round().numpy(), shots[1].mask)
