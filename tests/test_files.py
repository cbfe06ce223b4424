"""Output places are checked before the work, and files change only when the new content is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from protome.errors import InputError
from protome.util.files import check_output_file, check_output_folder, write_atomically


def test_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folder_with_content_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "head.ply").write_text("old")
    check_output_folder(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("head.ply", "old")]


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="a file is in the way"):
        check_output_folder(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "kept"


def test_no_space_for_a_name_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        check_output_folder(tmp_path / ("n" * 300))


def test_a_folder_is_no_file_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"):
        check_output_file(tmp_path)


def test_file_check_makes_the_folder_only(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new" / "prior.safetensors")
    assert list((tmp_path / "new").iterdir()) == []


def test_writer_sees_the_suffix_and_its_file_takes_the_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "text.txt"
    seen: list[Path] = []

    def writer(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_text("complete")
        assert not path.exists()

    write_atomically(path, writer)
    assert seen[0].suffix == ".txt"
    assert seen[0].parent == path.parent
    assert [(item.name, item.read_text()) for item in path.parent.iterdir()] == [("text.txt", "complete")]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text("x")
        temporary.chmod(0o600)

    (tmp_path / "usual.txt").touch()
    write_atomically(tmp_path / "text.txt", write)
    assert (tmp_path / "text.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ValueError("bug"), ValueError),
        (OSError(28, "No space left on device"), InputError),
        (KeyboardInterrupt(), None),
    ],
)
def test_a_failed_writer_leaves_the_old_file(tmp_path: Path, failure: BaseException, raised: type | None) -> None:
    path = tmp_path / "text.txt"
    path.write_text("old")

    def writer(temporary: Path) -> None:
        temporary.write_text("half")
        raise failure

    with pytest.raises(raised or KeyboardInterrupt):
        write_atomically(path, writer)
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("text.txt", "old")]
