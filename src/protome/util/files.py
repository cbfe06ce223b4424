"""Writing files atomically: an old file stays until the new one is complete."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from protome.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def check_output_folder(folder: Path) -> None:
    """Make `folder` if it is missing, and make sure that files can be written into it: before long work, not after.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"cannot write into {folder}, because a file is in the way: choose another folder") from error
    except OSError as error:
        raise InputError(f"cannot write into {folder} ({error.strerror}): choose another folder") from error


def check_output_file(path: Path) -> None:
    """Make the folder of the file `path` if it is missing, and make sure that the file can be written.

    Raises:
        InputError: `path` is a folder, or its own folder cannot be made or written to.
    """
    if path.is_dir():
        raise InputError(f"cannot write the file {path}, because it is a folder: choose another name")
    check_output_folder(path.parent)


def check_photos_exist(inputs: Iterable[Path]) -> None:
    """Make sure that files and folders of photos are there; patterns such as `*.jpg` are not looked at.

    Raises:
        InputError: one is missing.
    """
    for path in inputs:
        if not path.exists() and not glob.has_magic(str(path)):
            raise InputError(f"{path} does not exist: give the path of a photo")


def check_given_exist(given: Iterable[Path | None], what_to_do: str) -> None:
    """Make sure that the files and folders that a command is given are there, before libraries are loaded for them.

    Raises:
        InputError: one is missing.
    """
    for path in given:
        if path is not None and not path.exists():
            raise InputError(f"{path} does not exist: {what_to_do}")


def check_inputs_stay(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Make sure that no file to be written is a file to be read, whatever links or spellings lead to it.

    Raises:
        InputError: one is; the sentence names it.
    """
    given = {_identity(path): path for path in inputs if path.is_file()}
    if not given:
        return
    for output in outputs:
        if output.is_file() and _identity(output) in given:
            own = given[_identity(output)]
            known_as = "" if own == output else f" (as {output})"
            raise InputError(f"the result would replace the input {own}{known_as}: choose another place to write to")


def check_other_folder(inputs: Iterable[Path], out: Path) -> None:
    """Make sure that the folder to write to is none of the folders to read from.

    Raises:
        InputError: it is one of them.
    """
    for folder in inputs:
        if folder.is_dir() and out.is_dir() and os.path.samefile(folder, out):
            raise InputError(f"the result would be mixed with the input {folder}: choose another folder to write to")


def _identity(path: Path) -> tuple[int, int]:
    """Return what two paths of one file have in common (as `os.path.samefile`): hard and symbolic links are followed,
    and so is the case of letters where the file system ignores it."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def write_atomically(path: Path, writer: Callable[[Path], object]) -> None:
    """Have `writer` fill a temporary file beside `path` and, when it is complete, put it in the place of `path`.

    The folder is made if it is missing. The temporary name keeps the suffix, because writers choose formats by it.
    If `writer` fails, the temporary file is removed and a file already at `path` stays as it was.

    Raises:
        InputError: the file system refuses (no space left, no permission).
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        usual_mode = temporary.stat().st_mode
        writer(temporary)
        temporary.chmod(usual_mode)  # some libraries write files that only their owner may read
        os.replace(temporary, path)
    except Exception as error:
        if (reason := refusal(error)) is None:
            raise
        raise InputError(f"cannot write {path} ({reason}): choose another place for it") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def refusal(error: BaseException) -> str | None:
    """Return why the file system refused to write, in its own words; None if an error is about something else.

    Libraries in native code raise errors of their own, which only quote those of the file system.
    """
    if isinstance(error, InputError):
        return None
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
        words = os.strerror(number)
        if words in str(error) or f"os error {number}" in str(error) or f"errno = {number}" in str(error):
            return words
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split())
    of_torch = ("PytorchStreamWriter failed", "iostream error", "inline_container")
    return "it could not be written to its end" if any(part in str(error) for part in of_torch) else None


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays, compressed, as one npz file under exactly this name (numpy adds a suffix to others).

    Raises:
        InputError: as `write_atomically`.
    """
    import numpy as np  # here, because the command line imports this module and its help is not to wait for numpy

    def fill(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, fill)
