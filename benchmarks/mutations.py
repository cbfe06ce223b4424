"""Damage to files: bits, pieces and extreme numbers in bytes; words in text; nodes of JSON; arrays of an archive."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import numpy as np

WORDS = (
    b"nan", b"-1", b"0", b"1e308", b"-inf", b"1000000000", b"18446744073709551616", b"", b"\xff\xfe",
    b"../../etc/hosts", b"/etc/hosts", b"x" * 300,
)  # fmt: skip
"""What takes the place of a word of a text."""
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**30, 1e308, float("nan"), "", "../../etc/hosts", "/etc/hosts", "x" * 300, [], {}, [[]],
)  # fmt: skip
"""What takes the place of a node of JSON."""
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 10**9, 2**40, 2**63 - 1, 2**64 - 1)
"""What takes the place of one, two, four or eight bytes: sizes, counts and offsets of binary formats."""


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with one damage: to its bytes, or to what they say where it is JSON, text or an archive."""
    if rng.random() < 0.5 and data[:2] == b"PK":
        return _archive(data, rng)
    if rng.random() < 0.5 and data.lstrip()[:1] in (b"{", b"["):
        return _json(data, rng)
    if rng.random() < 0.5 and b"\0" not in data[:400]:
        return _text(data, rng)
    return mutated_bytes(data, rng)


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with a flipped bit, cut off, or with a piece inserted, taken out or overwritten.

    Half of the places lie in the first kilobyte, where formats have their headers.
    """
    kind, most = int(rng.integers(6)), len(data) if rng.random() < 0.5 else min(len(data), 1024)
    place = int(rng.integers(max(most, 1)))
    piece = bytes(rng.integers(0, 256, int(rng.integers(1, 40)), dtype=np.uint8))
    if kind == 0 and data:
        return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data[:place] + piece + data[place:]
    if kind == 3:
        return data[:place] + data[place + len(piece) :]
    if kind == 4:
        width = int(rng.choice([1, 2, 4, 8]))
        order = "little" if rng.random() < 0.7 else "big"
        value = EXTREMES[int(rng.integers(len(EXTREMES)))] % (1 << (8 * width))
        return data[:place] + value.to_bytes(width, order) + data[place + width :]  # type: ignore[arg-type]
    return data[:place] + piece + data[place + len(piece) :]


def _text(data: bytes, rng: np.random.Generator) -> bytes:
    """Return text with a word replaced, or a line taken out or repeated."""
    if rng.random() < 0.3:
        lines = data.split(b"\n")
        place = int(rng.integers(len(lines)))
        return b"\n".join(lines[:place] + lines[place : place + 1] * int(rng.choice([0, 2, 50])) + lines[place + 1 :])
    words = list(re.finditer(rb"[^\s,;=\"'<>\[\]{}:]+", data))
    if not words:
        return mutated_bytes(data, rng)
    word = words[int(rng.integers(len(words)))]
    return data[: word.start()] + WORDS[int(rng.integers(len(WORDS)))] + data[word.end() :]


def _json(data: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON in which a node has another value, is missing, or is deeply nested."""
    try:
        tree = json.loads(data)
    except ValueError:  # lines of JSON
        return _text(data, rng)
    if rng.random() < 0.02:
        return b"[" * 100_000
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            nodes.append((node, key))
            walk(node[key])

    walk(tree)
    if not nodes:
        return mutated_bytes(data, rng)
    parent, key = nodes[int(rng.integers(len(nodes)))]
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = VALUES[int(rng.integers(len(VALUES)))]
    return json.dumps(tree).encode()


def _archive(data: bytes, rng: np.random.Generator) -> bytes:
    """Return NumPy's archive in which an array has another shape, type or content, is missing or holds objects."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile):
        return mutated_bytes(data, rng)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    array = arrays[name]
    change = int(rng.integers(9))
    if change == 0:
        del arrays[name]
    elif change == 1:
        arrays[name] = array[:0] if array.ndim else np.zeros(0)
    elif change == 2:
        arrays[name] = array.ravel()[: int(rng.integers(1, array.size + 1))] if array.size else np.array(0)
    elif change == 3 and array.dtype.kind in "fiu" and array.size:
        arrays[name] = array.copy()
        worst = (
            (np.nan, 1e300, -1e300) if array.dtype.kind == "f" else (2**31 - 1, -1 if array.dtype.kind == "i" else 0)
        )
        with np.errstate(over="ignore"):
            arrays[name].ravel()[int(rng.integers(array.size))] = np.array(rng.choice(worst)).astype(array.dtype)
    elif change == 4:
        arrays[name] = np.array(["words"] * max(1, min(array.size, 9)))
    elif change == 5:
        arrays[name] = np.array([print], object)
    elif change == 6:
        arrays[name] = array[None]
    elif change == 7:
        arrays[name] = array.astype(np.complex64) if array.dtype.kind in "fiu" else np.zeros(3)
    else:
        arrays["of_no_use"] = np.zeros((1 << 10, 1 << 10), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
