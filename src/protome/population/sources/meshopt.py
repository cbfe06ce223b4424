"""Decoder of the compressed buffers that glTF files may hold (`EXT_meshopt_compression`).

The streams are those of the extension's specification: bytes of attributes as differences from one element to the
next, packed in groups of sixteen; triangles as recently coded edges and corners; indices as differences. No
library decodes them without a compiler, and only the first version of the format is in use in glTF.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int, UInt8

ATTRIBUTES, TRIANGLES, INDICES = 0xA0, 0xE1, 0xD1
"""The first byte of each kind of stream: its kind and the version of the format."""
GROUP, BLOCK_BYTES, MOST_IN_BLOCK = 16, 8192, 256
TAIL_BYTES = 32
"""Attributes end with the element before the first one, which fills at least so much."""
RECENT = 16
"""How many edges and vertices are remembered."""

Thing = TypeVar("Thing")


class DecodeError(ValueError):
    """The bytes are not such a stream."""


def decode_attributes(data: bytes, count: int, stride: int) -> UInt8[np.ndarray, "count stride"]:
    """Return `count` elements of `stride` bytes each.

    Raises:
        DecodeError: the bytes are something else, or too few.
    """
    stream = np.frombuffer(data, np.uint8)
    if not len(stream) or stream[0] != ATTRIBUTES:
        raise DecodeError("no compressed attributes")
    last = stream[len(stream) - stride :].astype(np.uint8)
    end = len(stream) - max(TAIL_BYTES, stride)
    block = min(BLOCK_BYTES // stride // GROUP * GROUP, MOST_IN_BLOCK)
    found = np.empty((count, stride), np.uint8)
    at = 1
    for first in range(0, count, block):
        size = min(block, count - first)
        for column in range(stride):
            coded, at = _bytes(stream, at, end, size)
            # Signs are folded in: 0, -1, 1, -2, ... and sums wrap around.
            steps = (coded >> 1) ^ (0 - (coded & 1)).astype(np.uint8)
            found[first : first + size, column] = last[column] + np.cumsum(steps, dtype=np.uint8)
        last = found[first + size - 1]
    if at != end:
        raise DecodeError(f"{end - at} bytes are left over")
    return found


def _bytes(stream: UInt8[np.ndarray, "b"], at: int, end: int, size: int) -> tuple[UInt8[np.ndarray, "size"], int]:
    """Return a block's bytes of one column, and where the stream goes on."""
    groups = -(-size // GROUP)
    header, at = at, at + -(-groups // 4)
    found = np.zeros((groups, GROUP), np.uint8)
    for group in range(groups):
        if at > end:
            raise DecodeError("the stream ends early")
        width = (0, 2, 4, 8)[int(stream[header + group // 4]) >> 2 * (group % 4) & 3]
        packed = stream[at : at + GROUP * width // 8]
        at += len(packed)
        if width == 8:
            found[group] = packed
        elif width:
            # The first value is in the highest bits; the largest one stands for a whole byte that follows.
            shifts = np.arange(8 - width, -1, -width, dtype=np.uint8)
            largest = (1 << width) - 1
            values = (packed[:, None] >> shifts & largest).reshape(-1)
            whole = values == largest
            extra = int(whole.sum())
            values[whole] = stream[at : at + extra]
            found[group] = values
            at += extra
    return found.reshape(-1)[:size], at


class _Varints:
    """Whole numbers of seven bits a byte, one after the other."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def byte(self) -> int:
        if self.at >= self.end:
            raise DecodeError("the stream ends early")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            part = self.byte()
            value |= (part & 127) << shift
            shift += 7
            if part < 128 or shift >= 35:
                return value

    def signed(self) -> int:
        return _unfolded(self.number())


def _unfolded(value: int) -> int:
    """Return 0, -1, 1, -2, ... for 0, 1, 2, 3, ..."""
    return -(value >> 1) - 1 if value & 1 else value >> 1


def decode_indices(data: bytes, count: int) -> Int[np.ndarray, "count"]:
    """Return `count` indices, each coded as the difference from the last one of two sequences.

    Raises:
        DecodeError: the bytes are something else, or too few.
    """
    if not data or data[0] != INDICES:
        raise DecodeError("no compressed indices")
    numbers = _Varints(data, 1, len(data) - 4)
    last = [0, 0]
    found = np.empty(count, np.int64)
    for place in range(count):
        value = numbers.number()
        which = value & 1
        last[which] += _unfolded(value >> 1)
        found[place] = last[which]
    return found


def decode_triangles(data: bytes, count: int) -> Int[np.ndarray, "f 3"]:
    """Return triangles of `count` corners altogether.

    Each triangle has one byte: the recent edge that it shares and its third corner, or that it shares none. A new
    corner is the next unused vertex; a corner that is not recent is coded by its number.

    Raises:
        DecodeError: the bytes are something else, or too few.
    """
    total = count // 3
    if not data or data[0] != TRIANGLES or len(data) < 1 + total + 16:
        raise DecodeError("no compressed triangles")
    codes, usual = data[1 : 1 + total], data[-16:]
    numbers = _Varints(data, 1 + total, len(data) - 16)
    edges: _Recent[tuple[int, int]] = _Recent()
    vertices: _Recent[int] = _Recent()
    next_, last = 0, 0
    found = np.empty((total, 3), np.int64)
    for place, code in enumerate(codes):
        if code < 0xF0:
            a, b = edges.back(1 + (code >> 4))
            corner = code & 15
            if corner == 0:
                c, next_ = next_, next_ + 1
                vertices.push(c)
            elif corner < 13:
                c = vertices.back(1 + corner)
            else:
                last += {13: -1, 14: 1}[corner] if corner < 15 else numbers.signed()
                c = last
                vertices.push(c)
        else:
            pair = numbers.byte() if code >= 0xFE else usual[code & 15]
            corners = (15 if code == 0xFF else 0, pair >> 4, pair & 15)
            if code >= 0xFE and pair == 0:
                next_ = 0
            chosen = []
            for corner in corners:
                # The vertices remembered are those before this triangle; unused ones are given out first.
                chosen.append(next_ if corner == 0 else 0 if corner == 15 else vertices.back(corner))
                next_ += corner == 0
            for side, corner in enumerate(corners):
                if corner == 15:
                    last += numbers.signed()
                    chosen[side] = last
            for vertex, corner in zip(chosen, corners, strict=True):
                if corner in (0, 15):
                    vertices.push(vertex)
            a, b, c = chosen
            edges.push((b, a))
        found[place] = a, b, c
        edges.push((c, b))
        edges.push((a, c))
    if numbers.at != numbers.end:
        raise DecodeError(f"{numbers.end - numbers.at} bytes are left over")
    return found


class _Recent(Generic[Thing]):
    """The last things pushed."""

    def __init__(self) -> None:
        self.things: list[Thing | None] = [None] * RECENT
        self.count = 0

    def push(self, thing: Thing) -> None:
        self.things[self.count % RECENT] = thing
        self.count += 1

    def back(self, steps: int) -> Thing:
        thing = self.things[(self.count - steps) % RECENT]
        if thing is None:
            raise DecodeError("a triangle is glued to nothing")
        return thing


def decode_exponential(data: UInt8[np.ndarray, "count stride"]) -> Float[np.ndarray, "count numbers"]:
    """Return numbers stored as a signed mantissa of 24 bits and, above it, a signed power of two."""
    packed = np.ascontiguousarray(data).view("<i4")
    return np.ldexp((packed << 8 >> 8).astype(np.float64), packed >> 24).astype(np.float32)
