"""Folders for temporary files that do not outlive their process for long, however it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protome.errors import InputError
from protome.util.files import refusal
from protome.util.locks import lock_file

PREFIX = "protome-"
_LOCK = ".lock"
_NEW = PREFIX + "new-"
_NEW_S = 60.0
"""Seconds after which a folder without a lock, or without its last name, is not one that is just being made."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make an empty folder for temporary files, which is removed after the block; first remove those of killed runs.

    Raises:
        InputError: there is no place for temporary files, or no space left in it.
    """
    try:
        folder, held = _made()
    except OSError as error:
        raise _nowhere(error) from error
    try:
        _remove_stale(folder.parent)
        yield folder
    except OSError as error:
        if error.filename is not None and not Path(str(error.filename)).is_relative_to(folder):
            raise
        raise _nowhere(error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _made() -> tuple[Path, int | None]:
    """Make a folder, which gets its name when it is locked: nobody takes it for one that was left behind."""
    new = Path(tempfile.mkdtemp(prefix=_NEW))
    held = lock_file(new / _LOCK)
    return new.rename(new.with_name(PREFIX + new.name.removeprefix(_NEW))), held


def _nowhere(error: OSError) -> InputError:
    place = tempfile.gettempdir() if tempfile.tempdir else "any of the usual places"
    return InputError(
        f"cannot write temporary files into {place} ({refusal(error)}): free space, or set TMPDIR to another folder"
    )


def _remove_stale(place: Path) -> None:
    """Remove this user's temporary folders whose process has ended, which their locks say."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            facts = folder.lstat()
            if not folder.is_dir() or folder.is_symlink() or (hasattr(os, "getuid") and facts.st_uid != os.getuid()):
                continue
            if not (folder / _LOCK).is_file() or folder.name.startswith(_NEW):
                # Another program's, or of a version without locks, or made this moment.
                if time.time() - facts.st_mtime > _NEW_S and {*os.listdir(folder)} & _KNOWN:
                    shutil.rmtree(folder, ignore_errors=True)
            elif (held := lock_file(folder / _LOCK)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


_KNOWN = frozenset(("images.npz", "features.db", _LOCK))
"""What a folder without a lock holds if it is one of this program's."""
