"""Pictures and masks of every depth and kind are read for what they mean, and useless masks are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from heads import draw_person, photograph, some_world
from protome.capture.photo import load_photo
from protome.capture.posed import locate_head
from protome.errors import InputError
from protome.population.makehuman.mhclo import read_image
from protome.scene import LARGEST_SIDE
from protome.scenes.distortion import Distortion
from protome.scenes.idr import read_idr, write_idr
from protome.scenes.masks import is_inverted
from protome.scenes.pictures import read_mask, read_picture
from protome.scenes.posed_file import PosedFile
from protome.util.bit_depth import eight_bits
from test_scenes_lens import K, Lens

WIDTH, HEIGHT = 120, 90
GREY = np.linspace(0, 1, WIDTH) * np.linspace(0.2, 1, HEIGHT)[:, None]
"""From black to white, with more steps than 8 bits tell apart."""


def bust(
    middle: float = 0.5, top: float = 0.15, size: float = 0.5, width: int = WIDTH, height: int = HEIGHT
) -> np.ndarray:
    """A head over shoulders that the lower border cuts; all in units of the picture."""
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    head = ((x - middle) / (0.35 * size)) ** 2 + ((y - top - size / 2) / (size / 2)) ** 2 < 1
    body = ((x - middle) / (0.9 * size)) ** 2 + ((y - 1.1) / (1.05 - top - size)) ** 2 < 1
    return head | body


PERSON = bust()

# Pictures


def deep_pictures(folder: Path) -> dict[str, Path]:
    """The same grey picture in every depth."""
    whole = np.rint(65535 * GREY)
    images = {
        "16 bits.png": Image.fromarray(whole.astype(np.uint16)),
        "16 bits.tif": Image.fromarray(whole.astype(np.uint16)),
        "16 bits, big end first.tif": Image.frombytes("I;16B", (WIDTH, HEIGHT), whole.astype(">u2").tobytes()),
        "32 bits.tif": Image.fromarray(whole.astype(np.int32)),
        "8 bits in 16.png": Image.fromarray(np.rint(255 * GREY).astype(np.uint16)),
        "8 bits in 32.tif": Image.fromarray(np.rint(255 * GREY).astype(np.int32)),
        "floats up to 1.tif": Image.fromarray(GREY.astype(np.float32)),
        "floats up to 255.tif": Image.fromarray((255 * GREY).astype(np.float32)),
        "8 bits.png": Image.fromarray(np.rint(255 * GREY).astype(np.uint8)),
    }
    for name, image in images.items():
        image.save(folder / name)
    return {name: folder / name for name in images}


def test_grey_of_every_depth_is_scaled_by_every_reader(tmp_path: Path) -> None:
    for name, path in deep_pictures(tmp_path).items():
        for read in (
            load_photo(path).image.numpy(),
            read_picture(path).colours.numpy(),
            read_image(path, "RGB") / 255.0,
            read_image(path, "RGBA")[..., :3] / 255.0,
        ):
            assert read.shape == (HEIGHT, WIDTH, 3), name
            np.testing.assert_allclose(read, np.repeat(GREY[..., None], 3, 2), atol=0.51 / 255, err_msg=name)
        assert read_picture(path).alpha is None


def test_values_that_are_no_numbers_are_black() -> None:
    values = np.array([[0.0, np.nan, 0.5], [np.inf, -1.0, 1.0]], np.float32)
    assert np.asarray(eight_bits(Image.fromarray(values))).tolist() == [[0, 0, 128], [0, 0, 255]]


def write_deep_rgb(path: Path, values: np.ndarray) -> Path:
    """Write a PNG of 16 bits for each of three channels, chunk by chunk: Pillow cannot."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def test_deep_colours_palettes_and_grey_with_opacity_are_read(tmp_path: Path) -> None:
    colours = np.stack([GREY, GREY[::-1], 1 - GREY], 2)
    path = write_deep_rgb(tmp_path / "deep.png", np.rint(65535 * colours))
    for read in (load_photo(path).image, read_picture(path).colours):
        np.testing.assert_allclose(read, colours, atol=1.01 / 255)
    palette = Image.fromarray(PERSON.astype(np.uint8))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "palette.png")
    expected = np.where(PERSON[..., None], [200, 100, 50], [10, 20, 30]) / 255
    for read in (load_photo(tmp_path / "palette.png").image, read_picture(tmp_path / "palette.png").colours):
        np.testing.assert_allclose(read, expected, atol=1e-6)
    grey = np.rint(255 * GREY).astype(np.uint8)
    Image.fromarray(np.stack([grey, 255 * PERSON.astype(np.uint8)], 2), "LA").save(tmp_path / "la.png")
    page = np.where(PERSON, grey / 255, 1.0)
    np.testing.assert_allclose(load_photo(tmp_path / "la.png").image, np.repeat(page[..., None], 3, 2), atol=1e-6)
    picture = read_picture(tmp_path / "la.png")
    np.testing.assert_allclose(picture.colours[..., 1], grey / 255, atol=1e-6)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, PERSON)


# Masks in many forms


INVERTED = "is inverted, with the background white: paint the person white instead"


def _8(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.uint8)


def _rgb(red: np.ndarray | int, green: np.ndarray | int, blue: np.ndarray | int) -> Image.Image:
    return Image.fromarray(_8(np.stack([np.broadcast_to(part, PERSON.shape) for part in (red, green, blue)], 2)))


def _with_alpha(image: Image.Image, alpha: np.ndarray) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.fromarray(_8(alpha)))
    return image


def _palette(colours: list[int], values: np.ndarray) -> Image.Image:
    image = Image.fromarray(_8(values))
    image.putpalette(colours)
    return image


ON = 255 * PERSON.astype(int)
PHOTO = _rgb(*np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH)))
KINDS: dict[str, Image.Image] = {
    "grey": Image.fromarray(_8(ON)),
    "0 and 1": Image.fromarray(_8(PERSON)),
    "0 and 128": Image.fromarray(_8(128 * PERSON)),
    "one bit": Image.fromarray(_8(ON)).convert("1"),
    "16 bits": Image.fromarray(np.asarray(257 * ON, np.uint16)),
    "16 bits, 0 and 1": Image.fromarray(np.asarray(PERSON, np.uint16)),
    "16 bits, 0 and 255": Image.fromarray(np.asarray(ON, np.uint16)),
    "rgb": _rgb(ON, ON, ON),
    "rgb, 0 and 1": _rgb(PERSON, PERSON, PERSON),
    "red": _rgb(ON, 0, 0),
    "green": _rgb(0, ON, 0),
    "blue, 0 and 1": _rgb(0, 0, PERSON),
    "red and blue": _rgb(ON, 0, ON),
    "red beside white": _rgb(255, ON, ON),
    "one colour": _rgb(128 * PERSON, 64 * PERSON, 0),
    "rgba, opaque": _with_alpha(_rgb(ON, ON, ON), 0 * ON + 255),
    "rgba, one channel": _with_alpha(_rgb(0, ON, 0), 0 * ON + 255),
    "rgba, transparent everywhere": _with_alpha(_rgb(ON, ON, ON), 0 * ON),
    "alpha of black": _with_alpha(_rgb(0, 0, 0), ON),
    "alpha of white": _with_alpha(_rgb(255, 255, 255), ON),
    "alpha of a photo": _with_alpha(PHOTO, ON),
    "alpha, 0 and 1": _with_alpha(_rgb(0, 0, 0), PERSON),
    "alpha of grey": Image.fromarray(_8(np.stack([0 * ON, ON], 2)), "LA"),
    "palette of colours": _palette([0, 0, 0, 128, 0, 0], PERSON),
    "palette of grey": _palette([0, 0, 0, 255, 255, 255], PERSON),
    "palette, white first": _palette([255, 255, 255, 0, 0, 0], ~PERSON),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_person_is_found_in_every_kind_of_mask(tmp_path: Path, kind: str) -> None:
    KINDS[kind].save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", Path("photo.jpg"), WIDTH, HEIGHT)
    assert mask.dtype == torch.float32
    np.testing.assert_array_equal(mask, PERSON)


def test_masks_of_floats_and_of_jpeg_are_read(tmp_path: Path) -> None:
    for top in (1, 255):
        Image.fromarray((top * PERSON).astype(np.float32)).save(tmp_path / "mask.tif")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", Path("p.jpg"), WIDTH, HEIGHT), PERSON)
    for kind in ("grey", "rgb", "red", "red and blue"):
        KINDS[kind].save(tmp_path / "mask.jpg", quality=75)
        mask = read_mask(tmp_path / "mask.jpg", Path("p.jpg"), WIDTH, HEIGHT).numpy()
        assert ((mask > 0.5) != PERSON).mean() < 0.01, kind


def test_soft_edges_stay_soft(tmp_path: Path) -> None:
    soft = np.clip(GREY * PERSON, 0, 1)
    for image in (Image.fromarray(_8(255 * soft)), _with_alpha(PHOTO, 255 * soft)):
        image.save(tmp_path / "mask.png")
        np.testing.assert_allclose(read_mask(tmp_path / "mask.png", Path("p.jpg"), WIDTH, HEIGHT), soft, atol=1 / 255)
    Image.fromarray(np.rint(65535 * soft).astype(np.uint16)).save(tmp_path / "mask.png")
    np.testing.assert_allclose(read_mask(tmp_path / "mask.png", Path("p.jpg"), WIDTH, HEIGHT), soft, atol=1e-5)


def test_an_opacity_stands_for_a_mask(tmp_path: Path) -> None:
    lens, image = Lens(K, Distortion(), WIDTH, HEIGHT), tmp_path / "photo.png"
    for alpha in (ON, PERSON):
        _with_alpha(PHOTO, alpha).save(image)
        view = PosedFile("photo.png", image, None, lens, np.eye(4)).read()
        np.testing.assert_array_equal(view.mask, PERSON)  # type: ignore[union-attr]
        assert view.mask_file == image  # type: ignore[union-attr]
    _with_alpha(PHOTO, 0 * ON).save(image)
    with pytest.raises(InputError) as refused:
        PosedFile("photo.png", image, None, lens, np.eye(4)).read()
    assert str(refused.value) == (
        f"the opacity of {image}, which stands for a mask, is black everywhere: paint the person white in it, or leave "
        "photo.png out"
    )


# Masks that say nothing


WHITE = "paint the person white in it, or leave photo.jpg out"
USELESS: dict[str, tuple[Image.Image, str]] = {
    "black": (Image.fromarray(_8(0 * ON)), f"is black everywhere: {WHITE}"),
    "black, opaque": (_with_alpha(_rgb(0, 0, 0), 0 * ON + 255), f"is black everywhere: {WHITE}"),
    "black, 16 bits": (Image.fromarray(np.zeros(PERSON.shape, np.uint16)), f"is black everywhere: {WHITE}"),
    "labels": (
        Image.fromarray(_8(np.where(PERSON, 17, 0) + PERSON * (np.arange(WIDTH) % 2))),
        "has no white, its brightest value is 7 % of it: paint the person white, or leave photo.jpg out",
    ),
    "inverted": (Image.fromarray(_8(255 - ON)), INVERTED),
    "inverted, 0 and 1": (
        Image.fromarray(_8(~PERSON)), INVERTED,
    ),
    "inverted alpha": (
        _with_alpha(PHOTO, 255 - ON), INVERTED,
    ),
    "photo": (PHOTO, "is a picture in colours: give one that is white on the person and black elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_mask_is_named_with_what_is_wrong(tmp_path: Path, kind: str) -> None:
    image, words = USELESS[kind]
    image.save(tmp_path / "mask.png")
    with pytest.raises(InputError) as refused:
        read_mask(tmp_path / "mask.png", tmp_path / "photo.jpg", WIDTH, HEIGHT)
    assert str(refused.value) == f"the mask {tmp_path / 'mask.png'} {words}"


@given(st.floats(0.3, 0.7), st.floats(0.02, 0.35), st.floats(0.35, 0.6), st.sampled_from([(90, 120), (160, 90)]))
def test_busts_are_told_from_their_inversions(middle: float, top: float, size: float, shape: tuple[int, int]) -> None:
    person = bust(middle, top, size, shape[1], shape[0])
    assert not is_inverted(person)
    assert is_inverted(~person)


def test_close_ups_and_crops_are_not_taken_for_inverted() -> None:
    below_the_chin = np.ones((90, 120), bool)
    below_the_chin[70:, :40] = below_the_chin[70:, 80:] = False
    assert not is_inverted(below_the_chin)
    assert not is_inverted(np.ones((90, 120), bool))
    assert not is_inverted(bust(0.5, -0.3, 1.6))  # the face fills the picture
    assert not is_inverted(bust(0.1, 0.1, 0.5))  # half out of the picture
    assert not is_inverted(np.random.default_rng(0).random((90, 120)) > 0.5)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A posed scene of a synthetic person with true masks."""
    folder = tmp_path_factory.mktemp("scene")
    write_idr(folder, photograph(draw_person(seed=4), (0.0, 35.0, -35.0), 192, some_world()).views)
    return folder


def _change_masks(scene: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    for path in (scene / "mask").iterdir():
        with Image.open(path) as opened:
            mask = np.asarray(opened)
        Image.fromarray(change(mask).astype(np.uint8)).save(path)
    return scene / "mask" / "000.png"


@pytest.fixture
def copy(scene: Path, tmp_path: Path) -> Path:
    for path in scene.rglob("*.*"):
        target = tmp_path / path.relative_to(scene)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def test_a_scene_with_masks_of_0_and_1_is_located_as_with_255(scene: Path, copy: Path) -> None:
    expected = locate_head(read_idr(scene), None)
    _change_masks(copy, lambda mask: mask > 127)
    found = locate_head(read_idr(copy), None)
    torch.testing.assert_close(found.head_from_world.matrix(), expected.head_from_world.matrix())
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(found.views, expected.views, strict=True))


def test_masks_beside_the_person_are_blamed_and_not_the_photos(copy: Path) -> None:
    # The person is some 100 pixels wide: what was its right is now its left, and the face's place is empty.
    mask = _change_masks(copy, lambda mask: np.where(np.arange(192) < 50, np.roll(mask, 96, 1), 0))
    with pytest.raises(InputError) as refused:
        locate_head(read_idr(copy), None)
    assert str(refused.value) == (
        f"the face in 000.png lies outside its mask {mask}: paint that person white in it, and what is not person black"
    )


def test_masks_that_are_white_everywhere_are_refused_where_that_cannot_be(copy: Path) -> None:
    mask = _change_masks(copy, lambda mask: np.full_like(mask, 255))
    views = read_idr(copy)
    with pytest.raises(InputError) as refused:
        locate_head(views, None)
    assert str(refused.value) == (
        f"the mask {mask} is white everywhere, but 000.png also shows what is beside the head: paint black what is not "
        "person"
    )
    # Where the pictures end within the head, nothing else is to be seen.
    located = locate_head([views[0].cropped(60, 30, 72, 90)], "mm")
    assert float(located.views[0].mask.min()) == 1.0


def test_where_a_mask_came_from_is_not_forgotten(scene: Path) -> None:
    view = read_idr(scene)[0]
    assert view.mask_file == scene / "mask" / "000.png"
    assert view.cropped(1, 2, 30, 40).resized(20).mask_file == view.mask_file
    assert view.mask.shape[0] < LARGEST_SIDE
