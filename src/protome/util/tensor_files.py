"""Safetensors files with the same bits for the same content."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

_METADATA = "__metadata__"


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors with texts about them.

    The library writes the texts in an order of chance, so that files of the same content differ. Here they are sorted.
    The format: the length of the header in eight bytes, the header as JSON padded with spaces, and the tensors.
    """
    save_file(dict(tensors), path, dict(metadata))
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header[_METADATA] = dict(sorted(header[_METADATA].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # the library may write a character in fewer bytes
            file.seek(8)
            file.write(text.ljust(length))
