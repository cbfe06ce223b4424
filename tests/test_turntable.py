"""Turning heads: pictures from all around, as videos and sheets, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painted import Painted, camera, paint, painted
from protome.asset.asset import Asset, make_asset
from protome.asset.formats import write_asset
from protome.asset.options import AssetOptions
from protome.asset.picture import BACKGROUND, Textured
from protome.asset.source import Source
from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.turntable import read_textured, turntable


@pytest.fixture(scope="module")
def head() -> Painted:
    return painted((0.0, 70.0), resolution=90)


@pytest.fixture(scope="module")
def made(head: Painted) -> Asset:
    own = [Source.of(view, view.camera) for view in head.views]
    return make_asset(head.mesh, head.grey, own, AssetOptions(texture=1024, faces=8_000))


@pytest.fixture(scope="module")
def result(made: Asset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result")
    write_asset(folder, made, ("glb",))
    return folder


def test_a_square_with_an_image_is_seen_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    corners = np.array([[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]])
    square = Textured(corners, np.array([[0, 2, 1], [0, 3, 2]]), np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), image)
    # 10 units away, the square fills the middle 64 of 80 pixels, one for each texel.
    centre = torch.tensor([0.0, 0.0, 10.0], dtype=torch.float64)
    seen = square.seen(Camera.look_at(centre, torch.zeros(3, dtype=torch.float64), 320.0, 80, 80))
    assert (seen.face >= 0).sum() == 64 * 64
    np.testing.assert_allclose(seen.colour[9:-9, 9:-9][:62, :62], image[1:-1, 1:-1] / 255, atol=0.02)
    assert (seen.colour[:6] == np.float32(BACKGROUND)).all()


def test_the_picture_from_a_photos_camera_is_the_photo(head: Painted, made: Asset) -> None:
    seen = Textured.of(made).seen(camera(0.0))
    photo = head.views[0]
    inside = (seen.face >= 0) & (photo.mask.numpy() > 0.5)
    assert inside.sum() > 0.97 * photo.mask.sum()
    assert np.abs(seen.colour - photo.image.numpy())[inside].mean() < 0.02


def test_the_file_looks_as_what_was_made(made: Asset, result: Path) -> None:
    own, read = Textured.of(made), read_textured(result)
    np.testing.assert_allclose(read.vertices, own.vertices, atol=1e-3)
    pictures = [textured.seen(camera(30.0)).colour for textured in (own, read)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.01


def test_a_sheet_has_every_view(result: Path, tmp_path: Path, head: Painted) -> None:
    turntable(result, tmp_path / "turn.png", views=6, size=96, quiet=True)
    sheet = np.asarray(Image.open(tmp_path / "turn.png"))
    assert sheet.shape == (192, 384, 3)
    front, left = sheet[:96, :96] / 255.0, sheet[:96, 96:192] / 255.0
    waves = paint(head.mesh.vertices).std()
    assert front[30:60, 35:60].std() > 0.5 * waves
    assert np.abs(front - left).mean() > 0.02


def test_a_gif_turns_once(result: Path, tmp_path: Path) -> None:
    turntable(result / "head.glb", tmp_path / "turn.gif", views=5, size=64, quiet=True)
    film = Image.open(tmp_path / "turn.gif")
    assert getattr(film, "n_frames", 1) == 5
    assert film.size == (64, 64)
    assert film.info["loop"] == 0


def test_an_mp4_is_read_by_another_library(result: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV, an extra, is not installed")
    import cv2

    turntable(result, tmp_path / "turn.mp4", views=6, size=128, quiet=True)
    film = cv2.VideoCapture(str(tmp_path / "turn.mp4"))
    frames = []
    while True:
        good, frame = film.read()
        if not good:
            break
        frames.append(frame)
    assert len(frames) == 6
    assert frames[0].shape == (128, 128, 3)
    turntable(result, tmp_path / "turn.png", views=6, size=128, quiet=True)
    first = np.asarray(Image.open(tmp_path / "turn.png"))[:128, :128, ::-1].astype(float)
    assert np.abs(frames[0].astype(float) - first).mean() < 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: {"out": folder / "turn.avi"}, "cannot draw a turning head as turn.avi: use one of"),
        (lambda folder: {"views": -1}, "-1 views make no turntable"),
        (lambda folder: {"size": 63}, "pictures of 63 pixels cannot be drawn"),
        (lambda folder: {"result": folder / "none.glb"}, "none.glb does not exist"),
    ],
)
def test_bad_input_is_one_sentence(
    result: Path, tmp_path: Path, change: Callable[[Path], dict[str, object]], sentence: str
) -> None:
    given = {"result": result, "out": tmp_path / "turn.gif", "views": 4, "size": 64} | change(tmp_path)
    with pytest.raises(InputError, match=sentence):
        turntable(given["result"], given["out"], views=given["views"], size=given["size"], quiet=True)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
