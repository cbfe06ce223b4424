"""One run at a time in a folder, by locks that end with the process that holds them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from protome.errors import InputError

LOCK = ".protome.lock"
"""Name of the lock in a folder of results."""
PARTIAL = re.compile(r"^\.(?P<stem>.+)\.(?P<process>\d+)\.partial(\..+)?$")
"""Names of unfinished files and folders: those of `write_atomically` and `write_together`."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Errors of file systems that have no locks."""
_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())
"""The locks that the present run holds."""


@contextmanager
def only_run(place: Path) -> Iterator[None]:
    """Hold a folder of results, or a file to be written, while the block runs, and first remove what killed runs left.

    A run may hold the same place again. The operating system ends the lock with the process that holds it, however it
    ends: a lock file that was left behind stops nobody.

    Raises:
        InputError: another run holds it.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        yield  # torchrun has started several processes for one run, of which the first writes
        return
    place = place.resolve()
    lock = place / LOCK if place.is_dir() else place.with_name(f".{place.name}.lock")
    if lock in _held.get():
        yield
        return
    try:
        held = lock_file(lock)
    except OSError as error:
        raise InputError(f"cannot write into {lock.parent} ({error.strerror}): choose another folder") from error
    if held is None:
        raise InputError(f"another run{_holder(lock)} writes to {place}: wait for its end, or choose another place")
    before = _held.set(_held.get() | {lock})
    try:
        remove_partial(place)
        yield
    finally:
        _held.reset(before)
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(held)


def lock_file(path: Path) -> int | None:
    """Make a file, lock it and return its descriptor, which holds the lock; None if another process holds it."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(held):
            os.close(held)
            return None
        try:
            if os.path.sameopenfile(held, probe := os.open(path, os.O_RDONLY)):
                os.close(probe)
                os.ftruncate(held, 0)
                os.write(held, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return held
            os.close(probe)
        except FileNotFoundError:
            pass
        os.close(held)  # the last holder removed the file between the two steps


def _holder(lock: Path) -> str:
    """Return who holds a lock, in brackets, where the lock says so."""
    try:
        process, host = lock.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return ""
    return f" (process {process} on {host})"


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _runs(process: int) -> bool:
        return False  # whoever asks holds the lock
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in _WITHOUT_LOCKS
        return True

    def _runs(process: int) -> bool:
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return True


def remove_partial(place: Path) -> None:
    """Remove what killed runs left unfinished in a folder, in the folders in it and beside it, or beside a file.

    What a running process writes stays. This process writes nothing yet: a file with its number is of an earlier one.
    """
    if place.is_dir():
        found = [*partial(place), *(path for path in partial(place.parent) if _stem(path) == place.name)]
        found += [path for folder in _folders(place) for path in partial(folder)]
    else:
        found = [path for path in partial(place.parent) if place.name.startswith(_stem(path))]
    for path in found:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, as far as that is allowed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def partial(folder: Path) -> list[Path]:
    """Return the unfinished files and folders of ended processes in a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    matches = [match for name in names if (match := PARTIAL.match(name))]
    ended = [match for match in matches if int(match["process"]) == os.getpid() or not _runs(int(match["process"]))]
    return [folder / match.string for match in ended]


def _folders(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _stem(path: Path) -> str:
    match = PARTIAL.match(path.name)
    return "" if match is None else match["stem"]
