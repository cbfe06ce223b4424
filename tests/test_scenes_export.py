"""Scenes written for other programs come back through our own readers as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera
from protome.scene import View
from protome.scenes.export import write_colmap, write_nerfstudio
from protome.scenes.scene_folder import read_scene
from shots import random_shots

Writer = Callable[[Path, Sequence[View]], None]
WRITERS = pytest.mark.parametrize("write", [write_colmap, write_nerfstudio])


def some_views(*names: str) -> list[View]:
    """Pictures of noise with soft masks, taken from anywhere with lenses of their own."""
    views = []
    for shot in random_shots(names):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = shot.R.T, -shot.R.T @ shot.t
        camera = Camera(torch.from_numpy(shot.K).float(), torch.from_numpy(pose).float(), *shot.size)
        y, x = torch.meshgrid(torch.arange(30) + 0.5, torch.arange(40) + 0.5, indexing="ij")
        mask = (12 - ((x - 20) ** 2 + (y - 18) ** 2).sqrt()).clamp(0, 2) / 2
        views.append(View(shot.name, torch.from_numpy(shot.image).float() / 255, mask, camera))
    return views


@WRITERS
def test_a_written_scene_is_read_back(write: Writer, tmp_path: Path) -> None:
    views = some_views("b.jpg", "a.png", "c.jpeg")
    write(tmp_path, views)
    read = read_scene(tmp_path)
    assert [view.name for view in read] == ["a.png", "b.png", "c.png"]
    for before, after in zip(sorted(views, key=lambda view: view.name), read, strict=True):
        assert isinstance(after, View)
        assert (after.camera.width, after.camera.height) == (40, 30)
        assert torch.allclose(after.camera.K, before.camera.K, atol=1e-4)
        assert torch.allclose(after.camera.T_world_camera, before.camera.T_world_camera, atol=1e-4)
        assert torch.equal((after.image * 255).round(), (before.image * 255).round())
        assert float((after.mask - before.mask).abs().max()) <= 0.5 / 255 + 1e-6


@WRITERS
def test_views_that_see_nobody_are_left_out(write: Writer, tmp_path: Path) -> None:
    first, second = some_views("a.png", "b.png")
    with pytest.warns(ProtomeWarning, match=r"^b\.png shows nothing of the person and is not exported$"):
        write(tmp_path, [first, replace(second, mask=torch.zeros(30, 40))])
    assert [view.name for view in read_scene(tmp_path)] == ["a.png"]
    with pytest.warns(ProtomeWarning), pytest.raises(InputError, match="no view shows the person"):
        write(tmp_path / "none", [replace(second, mask=torch.zeros(30, 40))])


@WRITERS
def test_what_cannot_be_written_leaves_nothing(write: Writer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^two photos named a cannot be written"):
        write(tmp_path, some_views("a.png", "a.jpg"))
    (view,) = some_views("a.png")
    K = view.camera.K.clone()
    K[0, 1] = 1.0
    with pytest.raises(InputError, match="has skew"):
        write(tmp_path, [replace(view, camera=replace(view.camera, K=K))])
    assert list(tmp_path.iterdir()) == []


def test_colmap_names_masks_as_it_reads_them(tmp_path: Path) -> None:
    write_colmap(tmp_path, some_views("me.jpg"))
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "images/me.png", "masks/me.png.png", "sparse/0/cameras.txt", "sparse/0/images.txt", "sparse/0/points3D.txt",
    }  # fmt: skip
