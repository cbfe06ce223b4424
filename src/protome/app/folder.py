"""The folder in which the app keeps photos and heads: where it lies, whose it is, and how all of it is deleted."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from protome.app.job import RECORD
from protome.errors import InputError
from protome.util.files import check_output_folder

LOCK = "app.lock"
ONLY_OWNER = 0o700


def usual_folder() -> Path:
    """Return the folder of the app among the user's data, as the operating system has it."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "protome" / "app"


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make the folder, readable by its owner alone, and hold it while the block runs.

    Raises:
        InputError: another app uses it, or it cannot be made or written.
    """
    check_output_folder(folder)
    folder.chmod(ONLY_OWNER)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another protome app uses {folder}: stop it first, or choose another folder with --folder"
        ) from error
    try:
        yield folder
    finally:
        lock.release()


def job_folders(folder: Path) -> list[Path]:
    """Return the folders of jobs, also of those whose upload never ended."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and _is_job(path))


def forget(folder: Path) -> int:
    """Delete all photos and results of the app from a folder, and return of how many jobs. What else lies there stays.

    Raises:
        InputError: an app uses the folder, or something cannot be deleted.
    """
    if not folder.is_dir():
        return 0
    with held(folder):
        found = job_folders(folder)
        for path in found:
            delete(path)
    (folder / LOCK).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
    return len(found)


def delete(folder: Path) -> None:
    """Delete the folder of one job.

    Raises:
        InputError: something in it cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"cannot delete {folder} ({error.strerror}): delete it by hand") from error


def _is_job(path: Path) -> bool:
    return (path / RECORD).is_file() or (path / "input").is_dir()
