"""PLY files without conversion: every value of every element, text or binary, with vertices in the file's own order.

Source: "The PLY Polygon File Format" (Turk, 1994), with the names of types that later tools have added. Readers made
for display renumber vertices at texture seams, and drop further values or return them in different shapes for text and
binary files. Landmarks are vertex indices, and our own meshes have one further value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8", "float16": "f2",
}  # fmt: skip
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")
LONGEST_HEADER = 1 << 16

Values = np.ndarray | list[np.ndarray]
"""One property of an element: a value for each of its items (n), lists of one length (n, k), or an array for each."""


@dataclass(frozen=True)
class _Property:
    name: str
    kind: str
    """numpy's name of the values' type."""
    count: str | None = None
    """numpy's name of the type of a list's length; None for a single value."""


@dataclass(frozen=True)
class _Element:
    name: str
    length: int
    properties: list[_Property]


@dataclass(frozen=True)
class Ply:
    """A file's elements."""

    elements: dict[str, dict[str, Values]]
    """Properties by name, by the name of their element."""

    @staticmethod
    def load(path: Path) -> Ply:
        """Read a file.

        Raises:
            ValueError: it is no PLY file, or does not match its header (also as another
                ArithmeticError, where a number is not one of its type).
            OSError: it cannot be read.
        """
        content = path.read_bytes()
        order, elements, start = _header(content)
        if order:
            return Ply(_binary(memoryview(content)[start:], elements, order))
        words = np.array(content[start:].split(), np.bytes_)
        return Ply(_text(words.astype(np.float64) if len(words) else np.zeros(0), elements))

    def values(self, element: str, *names: str) -> Float[np.ndarray, "n k"] | None:
        """Return properties as the columns of a table; None where one is missing or is a list."""
        columns = [self.elements.get(element, {}).get(name) for name in names]
        if not all(isinstance(column, np.ndarray) and column.ndim == 1 for column in columns):
            return None
        with np.errstate(invalid="ignore"):  # what is no number is found out by those who use the values
            return np.stack([np.asarray(column, np.float64) for column in columns], 1)

    def colours(self) -> Float[np.ndarray, "v 3"] | None:
        """Return the vertices' RGB in [0, 1], where they have any."""
        own = self.elements.get("vertex", {}).get("red")
        values = self.values("vertex", "red", "green", "blue")
        if values is None or not isinstance(own, np.ndarray):
            return None
        if own.dtype.kind == "f" and (not len(values) or values.max() <= 1):
            return values
        return values / (65535.0 if own.dtype.itemsize == 2 else 255.0)

    def triangles(self) -> Int[np.ndarray, "f 3"]:
        """Return the faces, those with more corners cut into a fan of triangles.

        Raises:
            ValueError: a corner is a vertex that the file does not hold.
        """
        own = self.elements.get("face", {})
        corners = next((own[name] for name in CORNERS if name in own), None)
        if corners is None or not len(corners):
            return np.zeros((0, 3), np.int64)
        alike = corners if isinstance(corners, np.ndarray) and corners.ndim == 2 else None
        groups = [alike] if alike is not None else _by_length(corners)
        fans = [
            np.stack([group[:, [0, k, k + 1]] for k in range(1, group.shape[1] - 1)], 1).reshape(-1, 3)
            for group in groups
            if group.shape[1] >= 3
        ]
        faces = np.concatenate(fans).astype(np.int64) if fans else np.zeros((0, 3), np.int64)
        count = len(next(iter(self.elements.get("vertex", {}).values()), ()))
        if len(faces) and not 0 <= faces.min() <= faces.max() < count:
            raise ValueError("a face has a corner that is none of its vertices")
        return faces


def _by_length(lists: Values) -> list[np.ndarray]:
    lengths = np.array([len(row) for row in lists])
    return [np.stack([lists[i] for i in np.flatnonzero(lengths == length)]) for length in np.unique(lengths)]


def _header(content: bytes) -> tuple[str, list[_Element], int]:
    """Return the byte order ("" for text), the elements, and where their values start."""
    lines = content[:LONGEST_HEADER].splitlines(keepends=True)
    if not lines or lines[0].strip().lower() != b"ply":
        raise ValueError("its first line is not ply")
    order, elements, start = None, list[_Element](), len(lines[0])
    for line in lines[1:]:
        start += len(line)
        words = line.decode("utf-8", errors="replace").split()
        if words[:1] == ["end_header"]:
            if order is None:
                raise ValueError("its header has no format")
            return order, elements, start
        try:
            if words[:1] == ["format"]:
                order = ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2]), []))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append(_Property(words[4], TYPES[words[3]], TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1].properties.append(_Property(words[2], TYPES[words[1]]))
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(f"its header cannot be understood: {' '.join(words)}") from error
    raise ValueError("its header does not end")


def _text(words: Float[np.ndarray, "w"], elements: list[_Element]) -> dict[str, dict[str, Values]]:
    found: dict[str, dict[str, Values]] = {}
    with np.errstate(invalid="raise"):  # words that are not numbers of their type
        for element in elements:
            table, width = _uniform_text(words, element)
            if table is None:
                found[element.name], width = _rows_of_text(words, element)
            else:
                found[element.name] = table
            words = words[width:]
    return found


def _uniform_text(words: Float[np.ndarray, "w"], element: _Element) -> tuple[dict[str, Values] | None, int]:
    """Return an element whose lists all have the length of the first item's, and its number of words; else None."""
    columns, at = dict[str, Values](), 0
    spans: list[tuple[_Property, int, int]] = []
    for own in element.properties:
        length = 1
        if own.count is not None:
            at += 1
            length = int(words[at - 1]) if element.length and at <= len(words) else 0
        if length < 0:
            return None, 0
        spans.append((own, at, length))
        at += length
    total = at * element.length
    if total > len(words):
        return None, 0
    table = words[:total].reshape(element.length, at)
    for own, start, length in spans:
        if own.count is None:
            columns[own.name] = table[:, start].astype(own.kind)
        elif (table[:, start - 1] == length).all():
            columns[own.name] = table[:, start : start + length].astype(own.kind)
        else:
            return None, 0
    return columns, total


def _rows_of_text(words: Float[np.ndarray, "w"], element: _Element) -> tuple[dict[str, Values], int]:
    """Return an element item by item, and its number of words."""
    rows: dict[str, list[np.ndarray]] = {own.name: [] for own in element.properties}
    at = 0
    for _ in range(element.length):
        for own in element.properties:
            length = 1
            if own.count is not None:
                length = int(words[at]) if at < len(words) else 0
                at += 1
            if length < 0 or at + length > len(words):
                raise ValueError("it is shorter than its header says")
            rows[own.name].append(words[at : at + length].astype(own.kind))
            at += length
    return _joined(rows, element), at


def _binary(content: memoryview, elements: list[_Element], order: str) -> dict[str, dict[str, Values]]:
    found: dict[str, dict[str, Values]] = {}
    for element in elements:
        table, width = _uniform_binary(content, element, order)
        if table is None:
            found[element.name], width = _rows_of_binary(content, element, order)
        else:
            found[element.name] = table
        content = content[width:]
    return found


def _uniform_binary(content: memoryview, element: _Element, order: str) -> tuple[dict[str, Values] | None, int]:
    """Return an element whose lists all have the length of the first item's, and its number of bytes; else None."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    at = 0
    lengths = list[int]()
    for number, own in enumerate(element.properties):
        length = 1
        if own.count is not None:
            kind = np.dtype(order + own.count)
            stored = content[at : at + kind.itemsize]
            length = int(np.frombuffer(stored, kind)[0]) if element.length and len(stored) == kind.itemsize else 0
            fields.append((f"count{number}", kind.str))
            at += kind.itemsize
        at += np.dtype(own.kind).itemsize * length
        if length < 0 or at * element.length > len(content):
            return None, 0
        fields.append((f"value{number}", order + own.kind, (length,)))
        lengths.append(length)
    table = np.frombuffer(content[: at * element.length], np.dtype(fields))
    columns: dict[str, Values] = {}
    for number, own in enumerate(element.properties):
        if own.count is None:
            columns[own.name] = table[f"value{number}"][:, 0]
        elif (table[f"count{number}"] == lengths[number]).all():
            columns[own.name] = table[f"value{number}"]
        else:
            return None, 0
    return columns, at * element.length


def _rows_of_binary(content: memoryview, element: _Element, order: str) -> tuple[dict[str, Values], int]:
    """Return an element item by item, and its number of bytes."""
    rows: dict[str, list[np.ndarray]] = {own.name: [] for own in element.properties}
    kinds = {own.name: np.dtype(order + own.kind) for own in element.properties}
    counts = {own.name: np.dtype(order + own.count) for own in element.properties if own.count is not None}
    at = 0

    def taken(kind: np.dtype, length: int) -> np.ndarray:
        nonlocal at
        if length < 0 or at + kind.itemsize * length > len(content):
            raise ValueError("it is shorter than its header says")
        at += kind.itemsize * length
        return np.frombuffer(content[at - kind.itemsize * length : at], kind)

    for _ in range(element.length):
        for own in element.properties:
            length = int(taken(counts[own.name], 1)[0]) if own.name in counts else 1
            rows[own.name].append(taken(kinds[own.name], length))
    return _joined(rows, element), at


def _joined(rows: dict[str, list[np.ndarray]], element: _Element) -> dict[str, Values]:
    single = {own.name for own in element.properties if own.count is None}
    return {name: np.concatenate(own) if name in single else own for name, own in rows.items()}
