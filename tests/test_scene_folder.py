"""Scene folders of every layout: which one is recognised, and that all of them lead to the same head."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heads import draw_person, photograph, some_world
from protome.capture import capture
from protome.capture.landmarks import Detection, detect
from protome.capture.posed import locate_head
from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.pipeline import reconstruct
from protome.scene import Scene, Unmasked, View
from protome.scenes.h3ds import Truth, write_h3ds
from protome.scenes.idr import write_idr
from protome.scenes.scene_folder import read_scene
from protome.units import UNIT_MM
from shots import Shot, write_colmap, write_colmap_images, write_transforms

OTHER_WORLD = Similarity(
    rotation_from_vector(torch.tensor([1.9, 0.3, -1.2]).double()),
    torch.tensor([-4.0, 0.7, 1.2]).double(),
    torch.tensor(0.031).double(),
)
"""Where structure from motion might have put the same cameras."""


def shot_of(view: View) -> Shot:
    """The view's plain numbers in the other world."""
    camera = view.camera.to(torch.float64).transformed(OTHER_WORLD)
    R = camera.T_world_camera[:3, :3].T.numpy()
    image, mask = ((values * 255).round().byte().numpy() for values in (view.image, view.mask))
    return Shot(view.name, camera.K.numpy(), R, -R @ camera.centre.numpy(), image, mask)


@dataclass(frozen=True)
class Folders:
    """One capture in every layout."""

    idr: Path
    others: dict[str, Path]
    truth: Scene


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A synthetic person from the front, both sides and behind, in arbitrary worlds."""
    root = tmp_path_factory.mktemp("layouts")
    person = draw_person(seed=5)
    scene = photograph(person, (0.0, 35.0, -35.0, 180.0), 192, some_world())
    write_idr(root / "idr", scene.views)
    shots = [shot_of(view) for view in scene.views]
    write_transforms(root / "nerfstudio", shots, camera_model="OPENCV")
    for name, binary in (("text", False), ("binary", True)):
        write_colmap_images(root / name, shots)
        write_colmap(root / name / "sparse" / "0", shots, binary)
    shutil.copytree(root / "nerfstudio", root / "unmasked")
    shutil.rmtree(root / "unmasked" / "masks")
    names = ("nerfstudio", "text", "binary", "unmasked")
    return Folders(root / "idr", {name: root / name for name in names}, scene)


@pytest.fixture(scope="module")
def seen(folders: Folders) -> dict[bytes, Detection]:
    """What MediaPipe sees in each picture, looked up once: all layouts hold the same pictures."""
    images = [view.image for view in read_scene(folders.idr)]
    return {
        image.numpy().tobytes(): found for image, found in zip(images, detect(images, with_masks=True), strict=True)
    }


@pytest.fixture
def looked_up(seen: dict[bytes, Detection], monkeypatch: pytest.MonkeyPatch) -> None:
    def detect_again(images: Sequence[torch.Tensor], with_masks: bool) -> tuple[Detection, ...]:
        return tuple(seen[image.numpy().tobytes()] for image in images)

    monkeypatch.setattr(capture, "detect", detect_again)


def head_points_mm(located: Scene, world: Similarity) -> torch.Tensor:
    """Return where points of the true head, given in that world, lie in the head frame that was found."""
    generator = torch.Generator().manual_seed(0)
    points = 0.5 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
    return UNIT_MM * located.head_from_world.to(torch.float64).apply(world.apply(points))


@pytest.mark.parametrize("layout", ["nerfstudio", "text", "binary", "unmasked"])
@pytest.mark.usefixtures("looked_up")
def test_every_layout_in_any_world_leads_to_the_same_head(folders: Folders, layout: str) -> None:
    world = some_world().to(torch.float64)
    reference = locate_head(read_scene(folders.idr), None)
    located = locate_head(read_scene(folders.others[layout]), None)
    expected = head_points_mm(reference, world)
    found = head_points_mm(located, OTHER_WORLD.compose(world))
    assert float((found - expected).norm(dim=1).max()) < 0.05
    for before, after in zip(reference.views, located.views, strict=True):
        assert (before.landmarks is None) == (after.landmarks is None)
    # The face told the scale of a world that has no unit.
    true_scale = folders.truth.head_from_world.scale / OTHER_WORLD.scale
    assert float(located.head_from_world.scale / true_scale) == pytest.approx(1, abs=0.04)


@pytest.mark.usefixtures("looked_up")
def test_missing_masks_are_made_also_from_behind(folders: Folders) -> None:
    read = read_scene(folders.others["unmasked"])
    assert all(isinstance(view, Unmasked) for view in read)
    located = locate_head(read, None)
    assert located.views[3].landmarks is None  # seen from behind
    for made, true in zip(located.views, folders.truth.views, strict=True):
        person, wanted = made.mask > 0.5, true.mask > 0.5
        assert float((person & wanted).sum() / (person | wanted).sum()) > 0.93
    # A camera that looks away sees nobody.
    turned = torch.eye(4)
    turned[0, 0] = turned[2, 2] = -1.0
    camera = read[3].camera
    away = replace(camera, T_world_camera=camera.T_world_camera @ turned)
    located = locate_head([*read[:3], replace(read[3], camera=away)], None)
    assert float(located.views[3].mask.max()) == 0.0


@pytest.mark.usefixtures("looked_up")
def test_a_wrong_unit_is_said(folders: Folders) -> None:
    with pytest.raises(InputError, match=r"times as large as a human one in mm: give the unit of length"):
        locate_head(read_scene(folders.others["binary"]), "mm")


def test_views_are_chosen_by_name_in_every_layout(folders: Folders) -> None:
    for folder in (folders.idr, *folders.others.values()):
        assert [view.name for view in read_scene(folder, ["002", "000.png"])] == ["000.png", "002.png"]


def test_layouts_are_recognised_in_a_fixed_order(folders: Folders, tmp_path: Path) -> None:
    """COLMAP below nerfstudio below IDR: each is what tools make of the one before."""
    shutil.copytree(folders.others["binary"], tmp_path, dirs_exist_ok=True)
    frames = (folders.others["nerfstudio"] / "transforms.json").read_text()
    (tmp_path / "transforms.json").write_text(frames.replace("images/003.png", "images/002.png"))
    assert [view.name for view in read_scene(tmp_path)] == [
        "images/000.png", "images/001.png", "images/002.png", "images/002.png",
    ]  # fmt: skip
    write_idr(tmp_path, folders.truth.views[:1])
    assert len(read_scene(tmp_path)) == 1
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    write_h3ds(tmp_path / "h3ds", folders.truth.views[:2], Truth(mesh, {}, {}))
    assert [view.name for view in read_scene(tmp_path / "h3ds")] == ["img_0000.jpg", "img_0001.jpg"]


def test_other_folders_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_scene(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} holds no cameras of a known layout (found nothing): give cameras.npz or cameras_sphere.npz (IDR, "
        "H3DS, NeuS), transforms.json (nerfstudio, instant-ngp, NeuS2, VHAP), opencv_cameras.json (GS-LRM, FaceLift), "
        "sparse/0 with cameras and images (COLMAP), an XML file of Metashape's cameras, or RealityScan's XMP or CSV "
        "files"
    )


def test_views_of_plain_photos_are_refused() -> None:
    with pytest.raises(InputError, match=r"^views were named but no scene folder was given: give only the photos"):
        reconstruct(["a.png"], views=["a"], quiet=True)
