"""A zip file that is made while it is sent."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CHUNK = 1 << 20


class _Pipe:
    """What a zip file is written to: it keeps what has not been sent yet."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken = bytes(self.waiting)
        self.waiting.clear()
        return taken


def zipped(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Return the parts of a zip file of files by their names; only text and dense meshes are compressed."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]  # it writes, and never seeks
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            dense = path.suffix in (".ply", ".obj", ".stl", ".html", ".json", ".txt")
            entry.compress_type = zipfile.ZIP_DEFLATED if dense else zipfile.ZIP_STORED
            with path.open("rb") as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield pipe.take()
    yield pipe.take()
