"""H3DS folders: what is written is laid out as the dataset is, and views are chosen by name or by view set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.scene import View
from protome.scenes.h3ds import Truth, is_h3ds, read_h3ds, view_sets, write_h3ds
from protome.scenes.idr import write_idr
from shots import TARGET, points_near_target, random_shots

CONFIG = """
version = 0.4

[scenes]
    [scenes.1b2a8613401e42a8]
    tags = ['h3d-net','sira++']
    views = 5
        [scenes.1b2a8613401e42a8.default_views_configs]
        1 = [2]
        3 = [0, 4, 3]
"""


def smooth_views(count: int) -> list[View]:
    """Views whose pictures survive JPEG: a colour each, a ramp across, and a mask of one half."""
    views = []
    for index, shot in enumerate(random_shots(tuple(f"{index}.png" for index in range(count)))):
        image = torch.full((30, 40, 3), 0.2 + 0.1 * index)
        image[..., 0] = torch.linspace(0.2, 0.8, 40)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = shot.R.T, -shot.R.T @ shot.t
        camera = Camera(torch.from_numpy(shot.K).float(), torch.from_numpy(pose).float(), 40, 30)
        mask = torch.zeros(30, 40)
        mask[:, : 5 + index] = 1
        views.append(View(shot.name, image, mask, camera))
    return views


def truth() -> Truth:
    """A tetrahedron, with a vertex in no face, which files of scans have too."""
    vertices = TARGET + np.array([[9.0, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[1, 3, 2], [1, 2, 4], [1, 4, 3], [2, 3, 4]])
    return Truth(Mesh(vertices, faces), {"nose_tip": 4, "right_eye": 2}, {"face_sphere": np.array([4, 0, 2])})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "1b2a8613401e42a8"
    write_h3ds(place, smooth_views(5), truth())
    return place


def test_files_are_laid_out_as_the_dataset(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictures = {f"image/img_{i:04d}.jpg" for i in range(5)} | {f"mask/mask_{i:04d}.png" for i in range(5)}
    assert files == pictures | {"cameras.npz", "full_head.obj", "landmarks.txt", "regions/face_sphere.txt"}
    assert (folder / "landmarks.txt").read_text() == "nose_tip 4\nright_eye 2\n"
    assert (folder / "regions" / "face_sphere.txt").read_text() == "4\n0\n2\n"
    # The vertices' numbers are those of the file's lines.
    lines = [line.split() for line in (folder / "full_head.obj").read_text().splitlines()]
    vertices = np.array([line[1:4] for line in lines if line[:1] == ["v"]], float)
    np.testing.assert_allclose(vertices, truth().mesh.vertices, atol=1e-6)
    faces = np.array([[corner.split("/")[0] for corner in line[1:]] for line in lines if line[:1] == ["f"]], int)
    np.testing.assert_array_equal(faces - 1, truth().mesh.faces)
    with Image.open(folder / "mask" / "mask_0000.png") as mask:
        assert mask.mode == "L"


def test_cameras_are_those_that_the_dataset_package_decomposes(folder: Path) -> None:
    with np.load(folder / "cameras.npz") as stored:
        for number, view in enumerate(smooth_views(5)):
            K, rotation, centre = cv2.decomposeProjectionMatrix(stored[f"world_mat_{number}"][:3])[:3]
            np.testing.assert_allclose(K / K[2, 2], view.camera.K, atol=1e-4)
            np.testing.assert_allclose(rotation.T, view.camera.T_world_camera[:3, :3], atol=1e-5)
            np.testing.assert_allclose(centre[:3, 0] / centre[3, 0], view.camera.centre, atol=1e-4)
        normalised = np.linalg.inv(stored["scale_mat_0"])
    vertices = truth().mesh.vertices @ normalised[:3, :3].T + normalised[:3, 3]
    assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(1.0)
    np.testing.assert_allclose(vertices.min(0), -vertices.max(0), atol=1e-12)


def test_views_survive_the_round_trip(folder: Path) -> None:
    views = read_h3ds(folder)
    assert [view.name for view in views] == [f"img_{i:04d}.jpg" for i in range(5)]
    for before, after in zip(smooth_views(5), views, strict=True):
        assert float((before.image - after.image).abs().max()) < 0.02
        assert torch.equal(before.mask, after.mask)
        points = torch.from_numpy(points_near_target())
        away = before.camera.to(torch.float64).project(points) - after.camera.to(torch.float64).project(points)
        assert float(away.abs().max()) < 1e-4


def test_view_sets_are_read_from_the_dataset_root(folder: Path) -> None:
    (folder.parent / "config.toml").write_text(CONFIG)
    assert view_sets(folder) == {"1": (2,), "3": (0, 4, 3)}
    names = [view.name for view in read_h3ds(folder, ["3"])]
    assert names == ["img_0000.jpg", "img_0003.jpg", "img_0004.jpg"]
    assert [view.name for view in read_h3ds(folder, ["img_0001"])] == ["img_0001.jpg"]
    assert [view.name for view in read_h3ds(folder, ["img_0001", "img_0000.jpg"])] == ["img_0000.jpg", "img_0001.jpg"]
    with pytest.raises(InputError, match=r"1b2a8613401e42a8 has no image and no view set named 8: known are 1, 3$"):
        read_h3ds(folder, ["8"])
    (folder / "full_head.obj").unlink()
    assert is_h3ds(folder)  # by the list beside it
    (folder / "image" / "img_0002.jpg").unlink()
    with pytest.raises(InputError, match=r"image holds no image named img_0002: its first is img_0000\.jpg$"):
        read_h3ds(folder, ["1"])


def test_without_a_list_only_names_of_images_count(folder: Path) -> None:
    assert is_h3ds(folder)
    assert view_sets(folder) == {}
    with pytest.raises(InputError, match=r"named 3: put config_v2\.toml of the h3ds package as .*config\.toml$"):
        read_h3ds(folder, ["3"])
    (folder.parent / "config.toml").write_text("version = 0.4\nscenes = 3\n")
    with pytest.raises(InputError, match=r"config\.toml is no list of H3DS's views: copy config_v2\.toml"):
        view_sets(folder)


def test_a_scene_of_many_views_is_thinned_out_evenly(tmp_path: Path) -> None:
    views = smooth_views(1) * 70
    views = [View(f"{number:02d}", view.image, view.mask, view.camera) for number, view in enumerate(views)]
    write_idr(tmp_path, views)
    with pytest.warns(ProtomeWarning, match=r"image has 70 images: 32 of them, evenly spread, are used$"):
        read = read_h3ds(tmp_path)
    numbers = np.array([int(view.name[:2]) for view in read])
    assert len(numbers) == 32
    assert numbers[0] == 0
    assert set(np.diff([*numbers, 70])) == {2, 3}
    assert len(read_h3ds(tmp_path, [f"{number:02d}" for number in range(70)])) == 70


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there are no views to write to .*: give at least one$"):
        write_h3ds(tmp_path, [], truth())
