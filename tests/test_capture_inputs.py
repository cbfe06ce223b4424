"""What can be given as photos: files, folders, patterns and videos; repeats, too many, and what is no photo."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protome.capture.inputs import load_photos
from protome.errors import InputError, ProtomeWarning
from protome.scenes.pictures import MOST_VIEWS
from test_capture_video import frame, write_video


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have it."""
    for number, name in enumerate(("b.PNG", "a.webp", "c.tif")):
        picture(tmp_path / name, number)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "Thumbs.db").write_bytes(b"\0")
    (tmp_path / ".hidden.png").write_bytes(b"\0")
    picture(tmp_path / "other" / "d.png", 9)
    Image.fromarray(np.pad(np.full((40, 40), 255, np.uint8), 12)).save(tmp_path / "b.mask.png")
    return tmp_path


def test_folders_are_read_by_name_without_what_is_no_photo(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photos = load_photos([folder])
    assert [photo.name for photo in photos] == ["a.webp", "b.PNG", "c.tif"]
    assert [photo.mask is not None for photo in photos] == [False, True, False]
    assert [photo.shown for photo in photos] == [str(folder / photo.name) for photo in photos]


def test_files_keep_their_order_and_patterns_are_expanded(folder: Path) -> None:
    assert [photo.name for photo in load_photos([folder / "c.tif", folder / "a.webp"])] == ["c.tif", "a.webp"]
    assert [photo.name for photo in load_photos([f"{folder}/*.[tw]*", folder / "other"])] == [
        "a.webp", "c.tif", "d.png",
    ]  # fmt: skip


def test_what_a_shell_expands_is_read_like_a_folder(folder: Path) -> None:
    given = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    with pytest.warns(ProtomeWarning) as warned:
        photos = load_photos(given)
    assert [photo.name for photo in photos] == ["a.webp", "b.PNG", "c.tif"]
    assert [str(one.message).endswith("; the file is left out") for one in warned] == [True, True]


def test_videos_and_photos_share_the_number(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", [frame(number, False) for number in range(60)])
    for number in range(10):
        picture(tmp_path / f"{number}.png", number)
    photos = load_photos([tmp_path])
    assert sum(photo.frame is None for photo in photos) == 10
    assert len(photos) == MOST_VIEWS
    assert [photo.frame is None for photo in photos][-1] is False  # in the order of names


@pytest.mark.parametrize("count", [33, 200])
def test_of_many_photos_some_are_used_evenly_spread(count: int, tmp_path: Path) -> None:
    for number in range(count):
        picture(tmp_path / f"{number:03d}.png", number)
    with pytest.warns(ProtomeWarning, match=rf"^{count} photos were given: 32 of them, evenly spread, are used$"):
        photos = load_photos([tmp_path])
    numbers = [int(photo.name[:3]) for photo in photos]
    assert len(numbers) == MOST_VIEWS
    assert set(np.diff(numbers)) <= {count // 32, count // 32 + 1}


def test_a_photo_given_twice_is_used_once(folder: Path) -> None:
    shutil.copy(folder / "b.PNG", folder / "copy.png")
    Image.open(folder / "b.PNG").save(folder / "same pixels.tiff")
    (folder / "b.mask.png").unlink()
    given = [folder / "b.PNG", folder / "b.PNG", folder / "copy.png", folder / "a.webp", folder / "same pixels.tiff"]
    with pytest.warns(ProtomeWarning) as warned:
        photos = load_photos(given)
    assert [photo.name for photo in photos] == ["b.PNG", "a.webp"]
    first = folder / "b.PNG"
    assert [str(one.message) for one in warned] == [
        f"{first} was given twice: it is used once",
        f"{folder / 'copy.png'} is the same photo as {first}: it is used once",
        f"{folder / 'same pixels.tiff'} is the same photo as {first}: it is used once",
    ]


def test_many_repeats_are_told_of_in_a_few_lines(folder: Path) -> None:
    for number in range(40):
        shutil.copy(folder / "b.PNG", folder / f"c{number:02d}.png")
    with pytest.warns(ProtomeWarning) as warned:
        load_photos([folder])
    assert len(warned) == 4
    assert str(warned[3].message) == "37 more photos repeat others: each is used once"


def test_a_broken_file_of_a_folder_is_left_out_and_a_named_one_refused(folder: Path) -> None:
    (folder / "aa.jpg").write_bytes(b"broken")
    picture(folder / "tiny.png", 3, (20, 20))
    with pytest.warns(ProtomeWarning) as warned:
        assert len(load_photos([folder])) == 3
    assert sorted(str(one.message).split(" ")[1] for one in warned) == ["cannot", "has"]
    with pytest.raises(InputError, match=r"aa\.jpg cannot be read as an image"):
        load_photos([folder / "a.webp", folder / "aa.jpg"])
    with pytest.raises(InputError, match=r"gone\.jpg does not exist"):
        load_photos([folder / "a.webp", folder / "gone.jpg"])
    with pytest.raises(InputError, match=r"notes\.txt cannot be read as an image"):
        load_photos([folder / "notes.txt"])


def test_folders_without_photos_are_refused_in_one_sentence(tmp_path: Path) -> None:
    def refusal(given: Path) -> str:
        with pytest.raises(InputError) as refused:
            load_photos([given])
        return str(refused.value).replace(str(tmp_path), "FOLDER")

    assert refusal(tmp_path) == "FOLDER holds no photos: it is empty; give a folder of JPEG, PNG or HEIC files"
    for name in ("a.txt", "b.pdf"):
        (tmp_path / name).write_text("hello")
    picture(tmp_path / "inner" / "a.png")
    assert refusal(tmp_path) == (
        "FOLDER holds no photos: found a.txt, b.pdf, inner/, of which FOLDER/inner holds some; give a folder of JPEG, "
        "PNG or HEIC files"
    )
    assert refusal(tmp_path / "*.jpg") == "no photo matches FOLDER/*.jpg: give the paths of photos, or a folder of them"
    (tmp_path / "inner" / "a.png").write_bytes(b"broken")
    picture(tmp_path / "inner" / "b.png", size=(9, 9))
    with pytest.warns(ProtomeWarning, match="left out"):
        assert refusal(tmp_path / "inner") == (
            "none of the 2 files given is a photo that can be used: give photos of a person"
        )
