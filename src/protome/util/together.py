"""Results of several files, which take the place of an earlier result all at once."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from protome.errors import InputError
from protome.util.files import refusal
from protome.util.locks import only_run, remove

READY = ".result.ready"
"""Name of the folder, in a folder of results, that holds a complete result whose files are being moved."""
RECORD = "result.json"
"""The file that says what a result is; it lists its own `files`."""
MOST_CARRIED = 20_000
"""Above this number of other files a folder is not exchanged: each would need a link."""


def write_together(folder: Path, writer: Callable[[Path], object]) -> None:
    """Have `writer` fill an empty folder and, when all of its files are complete, put them into `folder` all at once.

    The new files are written beside `folder`, what else lies in it is linked to them, and the two folders are exchanged
    in one step of the operating system. A process that is killed leaves the complete old or the complete new result.
    Files that the old `result.json` lists and the new result has not are removed, if that has a `result.json` itself.

    Where folders cannot be exchanged (a mount point, the folder that the user works in, a file system without links)
    the files are moved one by one: `result.json` disappears first and appears last, and what a killed process has not
    moved is moved by the next run. If `writer` fails, also because the disk is full, `folder` stays as it was.

    Raises:
        InputError: the file system refuses (no space left, no permission), or another run writes to the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_run(folder):
            finish(folder)
            _replace(folder, writer)
    except OSError as error:
        raise InputError(f"cannot write into {folder} ({error.strerror or error}): choose another folder") from error


def finish(folder: Path) -> None:
    """Move the files of a complete result that a killed process has left half moved."""
    if (folder / READY).is_dir():
        _move_in(folder / READY, folder)


def _replace(given: Path, writer: Callable[[Path], object]) -> None:
    folder = given.resolve()
    stage = _stage(folder)
    try:
        try:
            writer(stage)
        except InputError as error:
            raise InputError(str(error).replace(str(stage), str(given))) from error
        except Exception as error:
            if (reason := refusal(error)) is None:
                raise
            raise InputError(f"cannot write into {given} ({reason}): choose another folder") from error
        _check_places(stage, folder)
        if stage.parent != folder.parent or _is_used(folder) or not _exchanged(stage, folder):
            os.rename(stage, folder / READY)
            finish(folder)
    finally:
        remove(stage)


def _check_places(stage: Path, folder: Path) -> None:
    for path in _files(stage):
        twin = folder / path.relative_to(stage)
        if twin.is_dir() and not twin.is_symlink():
            raise IsADirectoryError(errno.EISDIR, f"{os.strerror(errno.EISDIR)}: {twin}")


def _stage(folder: Path) -> Path:
    """Make an empty folder beside `folder`; inside it, where that is not allowed."""
    name = f".{folder.name}.{os.getpid()}.partial"
    for place in (folder.parent / name, folder / f".result.{os.getpid()}.partial"):
        try:
            place.mkdir()
        except OSError:
            if place.parent == folder:
                raise
            continue
        if place.stat().st_dev == folder.stat().st_dev:
            return place
        place.rmdir()
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def _is_used(folder: Path) -> bool:
    """Return whether the user works in the folder: a shell would be left in one that is gone."""
    try:
        return Path.cwd().resolve().is_relative_to(folder)
    except OSError:
        return True


def _exchanged(stage: Path, folder: Path) -> bool:
    """Give the folders each other's name, once `stage` has all that is to stay; return whether that was possible."""
    new = {path.name for path in stage.iterdir()}
    obsolete = _obsolete(folder, new)
    shutil.copymode(folder, stage)
    try:
        if len(list(zip(range(MOST_CARRIED + 1), folder.rglob("*"), strict=False))) > MOST_CARRIED:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        for name in sorted(os.listdir(folder)):
            if name not in obsolete:
                _carry(folder / name, stage / name)
        swap(stage, folder)
    except (OSError, NotImplementedError):
        _take_back(folder, stage, new)
        return False
    _move_late(stage, folder, obsolete)
    return True


def _obsolete(folder: Path, new: set[str]) -> set[str]:
    """Return the names that the result in a folder lists as its own, without those of the new result.

    None where the new files are no result of their own, but are added to the one that is there.
    """
    if RECORD not in new:
        return set()
    try:
        listed = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        names = {name for name in listed if isinstance(name, str) and (folder / name).parent == folder}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names - new if not (folder / name).is_dir()}


def _carry(old: Path, new: Path) -> None:
    """Link a file, or all files of a folder, to where the new result lies; what is new there stays."""
    if old.is_dir() and not old.is_symlink():
        if new.is_dir() or not new.exists():
            if not new.exists():
                new.mkdir()
                shutil.copystat(old, new)
            for path in old.iterdir():
                _carry(path, new / path.name)
    elif not os.path.lexists(new):
        os.link(old, new, follow_symlinks=False)


def _take_back(folder: Path, stage: Path, new: set[str]) -> None:
    """Remove the links that `_carry` has made."""
    for path in _files(stage):
        twin = folder / path.relative_to(stage)
        if os.path.lexists(twin) and path.lstat().st_ino == twin.lstat().st_ino:
            path.unlink()
    for path in stage.iterdir():
        if path.name not in new:
            remove(path)


def _move_late(stage: Path, folder: Path, obsolete: set[str]) -> None:
    """Move what somebody has put into the old folder, now `stage`, after its files were linked."""
    for path in _files(stage):
        twin = folder / path.relative_to(stage)
        if not os.path.lexists(twin) and path.relative_to(stage).parts[0] not in obsolete:
            twin.parent.mkdir(parents=True, exist_ok=True)
            os.rename(path, twin)


def _move_in(ready: Path, folder: Path) -> None:
    """Move the files of a complete result into a folder one by one; may be repeated after any part of it."""
    new = {path.name for path in ready.iterdir()}
    for name in _obsolete(folder, new):
        remove(folder / name)
    if RECORD in new:
        (folder / RECORD).unlink(missing_ok=True)
    for path in sorted(_files(ready), key=lambda path: path == ready / RECORD):
        twin = folder / path.relative_to(ready)
        twin.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, twin)
    remove(ready)


def _files(folder: Path) -> Iterator[Path]:
    """Return all files below a folder, links included."""
    return (path for path in list(folder.rglob("*")) if path.is_symlink() or not path.is_dir())


def swap(one: Path, other: Path) -> None:
    """Exchange the names of two files or folders in one step.

    Raises:
        OSError: the file system refuses.
        NotImplementedError: this operating system has no such call.
    """
    if sys.platform == "win32":
        raise NotImplementedError("this operating system cannot exchange two names")
    library = ctypes.CDLL(None, use_errno=True)
    here, names = -100, (os.fsencode(one), os.fsencode(other))
    if hasattr(library, "renameat2"):  # Linux; 2 is RENAME_EXCHANGE
        failed = library.renameat2(here, names[0], here, names[1], 2)
    elif hasattr(library, "renamex_np"):  # macOS; 2 is RENAME_SWAP
        failed = library.renamex_np(names[0], names[1], 2)
    else:
        raise NotImplementedError("this operating system cannot exchange two names")
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one))
