"""Scene folders name and link to files inside them alone, unless the user allows others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz_kinds import KINDS
from protome.errors import InputError
from protome.scenes.scene_folder import read_scene


def renamed(file: Path, name: str) -> None:
    """Let a file of cameras name its first image otherwise."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("images/img_0000.png", name), encoding="utf-8")


def linked(name: str) -> Callable[[Path, Path], None]:
    """Return what puts a link to a file elsewhere in the place of one of a scene's files."""

    def change(scene: Path, other: Path) -> None:
        (scene / name).rename(other)
        (scene / name).symlink_to(other)

    return change


def named_by(how: Callable[[Path, Path], str]) -> Callable[[Path, Path], None]:
    """Return what lets transforms.json name a file elsewhere."""

    def change(scene: Path, other: Path) -> None:
        (scene / "images/img_0000.png").rename(other)
        renamed(scene / "transforms.json", how(scene, other))

    return change


CHANGES = {
    "a path upwards": ("transforms.json", named_by(lambda scene, other: os.path.relpath(other, scene))),
    "an absolute path": ("transforms.json", named_by(lambda scene, other: str(other))),
    "a link": ("transforms.json", linked("images/img_0000.png")),
    "a linked mask": ("transforms.json", linked("masks/img_0000.png")),
    "a linked folder": ("colmap-text", linked("images")),
    "a linked image of IDR": ("cameras.npz", linked("image/img_0001.png")),
    "a linked mask of IDR": ("cameras.npz", linked("mask/img_0001.png")),
    "a link of Metashape": ("metashape", linked("images/img_0000.png")),
    "a link of RealityScan": ("realityscan", linked("images/img_0000.png")),
    "a link of FaceLift": ("opencv_cameras.json", linked("images/img_0000.png")),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_files_outside_of_a_scene_need_the_users_word(
    kind: str, change: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    scene, other = tmp_path / "scene", tmp_path / "elsewhere.png"
    scene.mkdir()
    KINDS[kind].write(scene)
    change(scene, other)
    with pytest.raises(InputError, match=r"outside the scene's folder .* --outside"):
        read_scene(scene)
    assert len(read_scene(scene, outside=True)) == 2


def test_a_colmap_image_upwards_is_refused(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    KINDS["colmap-text"].write(scene)
    (scene / "images/img_0000.png").rename(tmp_path / "img_0000.png")
    file = scene / "sparse/0/images.txt"
    file.write_text(file.read_text().replace("img_0000.png", "../../img_0000.png"))
    with pytest.raises(InputError, match="outside the scene's folder"):
        read_scene(scene)


def test_a_missing_file_elsewhere_is_not_looked_for(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    (file,) = KINDS["transforms.json"].write(scene)
    facts = json.loads(file.read_text())
    facts["frames"][0]["mask_path"] = "/nowhere/at/all.png"
    file.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="outside the scene's folder"):
        read_scene(scene)


def test_a_scene_that_is_itself_behind_a_link_is_read(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    KINDS["transforms.json"].write(scene)
    (tmp_path / "link").symlink_to(scene)
    assert len(read_scene(tmp_path / "link")) == 2
