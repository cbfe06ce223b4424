"""Files from outside: what a decoder makes of a damaged one ends in one sentence that names the file.

Decoders raise anything on bytes that no program wrote: overflows, type errors, errors of their own. What is in a
`reading` block should therefore be no more than decoding and checking.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from protome.errors import InputError

LONGEST_REASON = 200
MOST_BYTES = 4 << 30
"""Of the arrays in one file: more than any model, scan or shard here has."""


@contextmanager
def reading(path: Path, what: str, advice: str) -> Iterator[None]:
    """Turn every failure to decode a file into one sentence: that it cannot be read as `what`, and `advice`.

    Raises:
        InputError: the file is missing or anything else goes wrong; one that is raised inside passes.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: {advice}") from error
    except Exception as error:
        raise InputError(f"{path} cannot be read as {what}: {advice}") from error


def reason(error: Exception) -> str:
    """Return what an error of a library says, as a part of a sentence."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST_REASON else said[:LONGEST_REASON] + "…"


def read_arrays(path: Path, what: str, advice: str) -> dict[str, np.ndarray]:
    """Return the arrays of one of NumPy's archives, none of which may hold Python objects.

    Raises:
        InputError: as `reading`; or an array claims more than the file holds, or than `MOST_BYTES`.
    """
    with reading(path, what, advice):
        with zipfile.ZipFile(path) as archive:
            claimed = sum(_claim(archive, member) for member in archive.infolist())
        if claimed > MOST_BYTES:
            raise InputError(f"{path} claims to hold {claimed >> 30} GiB of numbers: {advice}")
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}


def _claim(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return the bytes that an array takes in memory.

    Raises:
        ValueError: it is no array, or claims to hold more than is there.
    """
    with archive.open(member) as opened:
        head = io.BytesIO(opened.read(1 << 16))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    size = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if size > member.file_size:
        raise ValueError(f"{member.filename} is cut off")
    return size
