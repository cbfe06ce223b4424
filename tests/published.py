"""Stand-ins for VALID's avatars as they are published: whole people on a skeleton, quantised and compressed.

`write_published` makes a file in another vertex order than the bust's, with its arms level.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

RAW = 3
"""Groups whose bytes are stored as they are."""


def packed_attributes(rows: np.ndarray) -> bytes:
    """Return bytes of elements as a compressed stream that uses whole bytes only."""
    count, stride = rows.shape
    block = min(8192 // stride // 16 * 16, 256)
    out, last = [b"\xa0"], np.zeros(stride, np.uint8)
    for first in range(0, count, block):
        part = rows[first : first + block]
        steps = np.diff(np.concatenate([last[None], part]), axis=0).astype(np.uint8).view(np.int8)
        folded = ((steps << 1) ^ (steps >> 7)).view(np.uint8)
        groups = -(-len(part) // 16)
        full = np.zeros((groups * 16, stride), np.uint8)
        full[: len(part)] = folded
        header = bytes(sum(RAW << 2 * bit for bit in range(min(4, groups - four))) for four in range(0, groups, 4))
        out += [header + full[:, column].tobytes() for column in range(stride)]
        last = part[-1]
    return b"".join(out) + bytes(max(32, stride))


def packed_triangles(faces: np.ndarray) -> bytes:
    """Return triangles as a compressed stream in which every corner is told by its number."""
    last, numbers = 0, []
    for corner in faces.reshape(-1).tolist():
        step, last = corner - last, corner
        value, text = 2 * step if step >= 0 else -2 * step - 1, b""
        while value > 127:
            text, value = text + bytes([value & 127 | 128]), value >> 7
        numbers.append(text + bytes([value]))
    each = [b"\xff" + b"".join(numbers[place : place + 3]) for place in range(0, len(numbers), 3)]
    return b"\xe1" + b"\xff" * len(faces) + b"".join(each) + bytes(16)


@dataclass
class Writer:
    """A binary glTF file in the making."""

    views: list[dict] = field(default_factory=list)
    accessors: list[dict] = field(default_factory=list)
    data: bytes = b""

    def view(self, data: bytes, **more: object) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def compressed(self, data: bytes, mode: str, count: int, stride: int) -> int:
        packed: dict[str, object] = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": len(data),
            "byteStride": stride,
        }
        packed |= {"count": count, "mode": mode}
        self.data += data + bytes(-len(data) % 4)
        plain = {"buffer": 1, "byteLength": count * stride, "extensions": {"EXT_meshopt_compression": packed}}
        self.views.append(plain | ({"byteStride": stride} if mode == "ATTRIBUTES" else {}))
        return len(self.views) - 1

    def attribute(self, values: np.ndarray, code: int, kind: str, normalised: bool = True) -> int:
        """Return the accessor of compressed elements, padded to whole words as the format wants it."""
        rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
        rows = np.concatenate([rows, np.zeros((len(rows), -rows.shape[1] % 4), np.uint8)], 1)
        view = self.compressed(packed_attributes(rows), "ATTRIBUTES", *rows.shape)
        row = {"bufferView": view, "componentType": code, "count": len(values), "type": kind, "normalized": normalised}
        self.accessors.append(row)
        return len(self.accessors) - 1

    def triangles(self, faces: np.ndarray) -> int:
        view = self.compressed(packed_triangles(faces), "TRIANGLES", faces.size, 4)
        self.accessors.append({"bufferView": view, "componentType": 5125, "count": faces.size, "type": "SCALAR"})
        return len(self.accessors) - 1

    def matrices(self, values: np.ndarray) -> int:
        view = self.view(np.ascontiguousarray(values.transpose(0, 2, 1), "<f4").tobytes())
        self.accessors.append({"bufferView": view, "componentType": 5126, "count": len(values), "type": "MAT4"})
        return len(self.accessors) - 1

    def image(self, picture: np.ndarray) -> int:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "WEBP", lossless=True)
        return self.view(stream.getvalue())


@dataclass(frozen=True)
class Piece:
    """One mesh: places in the scene, texture coordinates (v down) and the joint that each vertex hangs on."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    joints: np.ndarray
    colour: tuple[int, int, int]


JOINTS = {
    "Hips": (None, (0.0, 1.0, 0.0)), "LeftShoulder": ("Hips", (0.04, 1.5, 0.0)),
    "LeftArm": ("LeftShoulder", (0.1, 1.5, 0.0)), "RightShoulder": ("Hips", (-0.04, 1.5, 0.0)),
    "RightArm": ("RightShoulder", (-0.1, 1.5, 0.0)),
}  # fmt: skip
"""Each joint's parent and place in the scene, metres."""
ROLL = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""Joints have axes of their own."""


def write_published(path: Path, pieces: dict[str, Piece]) -> None:
    """Write an avatar."""
    out = Writer()
    names = list(JOINTS)
    nodes: list[dict] = []
    for name, (parent, place) in JOINTS.items():
        start = np.zeros(3) if parent is None else np.array(JOINTS[parent][1])
        # Only the root turns its axes; below it they are parallel.
        offset = np.array(place) - start if parent is None else ROLL.T @ (np.array(place) - start)
        node: dict = {"name": name, "translation": offset.tolist()}
        if parent is None:
            node["rotation"] = [0.5, 0.5, 0.5, 0.5]
        node["children"] = [names.index(other) for other, (above, _) in JOINTS.items() if above == name]
        nodes.append(node if node["children"] else {key: node[key] for key in node if key != "children"})
    textures, images, materials, meshes, skins = [], [], [], [], []
    for name, piece in pieces.items():
        # Places are fractions of a box; the way back is in the bind matrices.
        middle = piece.vertices.mean(0)
        size = np.abs(piece.vertices - middle).max()
        stored = np.rint((piece.vertices - middle) / size * 32767).astype(np.int16)
        images.append({"bufferView": out.image(np.full((8, 8, 3), piece.colour, np.uint8)), "mimeType": "image/webp"})
        textures.append({"extensions": {"EXT_texture_webp": {"source": len(images) - 1}}})
        base = {"index": len(textures) - 1, "extensions": {"KHR_texture_transform": {"scale": [1.25, 1.25]}}}
        materials.append({"pbrMetallicRoughness": {"baseColorTexture": base}})
        bind = np.zeros((len(names), 4, 4))
        for row, (_, place) in zip(bind, JOINTS.values(), strict=True):
            row[:3, :3], row[:3, 3], row[3, 3] = size * ROLL.T, ROLL.T @ (middle - np.array(place)), 1
        joints, weights = np.zeros((len(stored), 4), np.uint8), np.zeros((len(stored), 4), np.uint8)
        joints[:, 1], weights[:, 1] = piece.joints, 255
        shrunk = np.rint(piece.uv / 1.25 * 65535).astype(np.uint16)
        attributes = {
            "POSITION": out.attribute(stored, 5122, "VEC3"), "TEXCOORD_0": out.attribute(shrunk, 5123, "VEC2"),
            "JOINTS_0": out.attribute(joints, 5121, "VEC4", False), "WEIGHTS_0": out.attribute(weights, 5121, "VEC4"),
        }  # fmt: skip
        part = {"attributes": attributes, "indices": out.triangles(piece.faces), "material": len(materials) - 1}
        meshes.append({"primitives": [part]})
        skins.append({"joints": list(range(len(names))), "inverseBindMatrices": out.matrices(bind)})
        # A skinned mesh does not move with its own node.
        nodes.append({"name": name, "mesh": len(meshes) - 1, "skin": len(skins) - 1, "translation": [5, 5, 5]})
    tree = {
        "asset": {"version": "2.0"}, "nodes": nodes, "meshes": meshes, "skins": skins, "materials": materials,
        "textures": textures, "images": images, "bufferViews": out.views, "accessors": out.accessors,
        "buffers": [{"byteLength": len(out.data)}, {"byteLength": 0}],
    }  # fmt: skip
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(out.data), b"BIN\0") + out.data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
