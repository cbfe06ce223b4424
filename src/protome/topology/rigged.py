"""A rigged head read back from its GLB file, to be posed and drawn."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from protome.asset.picture import Textured
from protome.errors import InputError
from protome.topology.retopologize import RIGGED, gltf_tree
from protome.util.reading import reading

_TYPES = {5126: np.float32, 5125: np.uint32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


@dataclass(frozen=True)
class RiggedHead:
    """All meshes of a rigged head as one, head frame, millimetres."""

    vertices: Float[np.ndarray, "u 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "u 2"]
    image: UInt8[np.ndarray, "n m 3"]
    moves: dict[str, Float[np.ndarray, "u 3"]]
    """How each named target moves the vertices at full strength."""

    def posed(self, weights: dict[str, float]) -> Textured:
        """Return the head with targets of given strengths; names that it lacks are left out."""
        vertices = self.vertices.copy()
        for name, weight in weights.items():
            if weight and name in self.moves:
                vertices += weight * self.moves[name]
        return Textured(vertices, self.faces, self.uv, self.image)

    @staticmethod
    def load(path: Path) -> RiggedHead:
        """Read head_rigged.glb of a result folder, or a file that `protome retopologize` wrote.

        Raises:
            InputError: there is none, or the file has no targets.
        """
        file = path / RIGGED if path.is_dir() else path
        if not file.is_file():
            made = f"run `protome retopologize {path}` first" if path.is_dir() else "give a result folder"
            raise InputError(f"{file} does not exist: {made}")
        with reading(file, "a rigged head", "give head_rigged.glb as protome wrote it"):
            return _read(file)


def _read(file: Path) -> RiggedHead:
    tree = gltf_tree(file)
    content = file.read_bytes()
    start = 20 + struct.unpack("<I", content[12:16])[0] + 8
    vertices, faces, uv, offset = [], [], [], 0
    parts: list[tuple[str, int, np.ndarray]] = []
    origins = _origins(tree)
    for number, node in enumerate(tree["nodes"]):
        if "mesh" not in node:
            continue
        mesh = tree["meshes"][node["mesh"]]
        primitive = mesh["primitives"][0]
        place = _values(tree, content, start, primitive["attributes"]["POSITION"])
        vertices.append(1000 * (place + origins[number]))
        uv.append(_values(tree, content, start, primitive["attributes"]["TEXCOORD_0"]))
        faces.append(_values(tree, content, start, primitive["indices"]).reshape(-1, 3).astype(np.int64) + offset)
        for name, target in zip(
            mesh.get("extras", {}).get("targetNames", ()), primitive.get("targets", ()), strict=True
        ):
            parts.append((name, offset, 1000 * _values(tree, content, start, target["POSITION"])))
        offset += len(place)
    if not parts:
        raise InputError(f"{file} has no morph targets: give the head_rigged.glb of a result")
    moves: dict[str, np.ndarray] = {}
    for name, first, move in parts:
        whole = moves.setdefault(name, np.zeros((offset, 3)))
        whole[first : first + len(move)] += move
    view = tree["bufferViews"][tree["images"][0]["bufferView"]]
    first = start + view.get("byteOffset", 0)
    image = np.asarray(Image.open(io.BytesIO(content[first : first + view["byteLength"]])).convert("RGB"))
    return RiggedHead(np.concatenate(vertices), np.concatenate(faces), np.concatenate(uv), image, moves)


def _origins(tree: dict[str, Any]) -> Float[np.ndarray, "n 3"]:
    """Return where each node has its origin; nodes are only shifted, and skinned meshes lie as they are."""
    nodes: list[dict[str, Any]] = tree["nodes"]
    parent: dict[int, int] = {}
    for number, node in enumerate(nodes):
        parent |= dict.fromkeys(node.get("children", ()), number)
    found = np.zeros((len(nodes), 3))
    for number in range(len(nodes)):
        at: int | None = number
        for _ in nodes:  # no file is deeper than its nodes are many
            if at is None:
                break
            found[number] += nodes[at].get("translation", [0.0, 0.0, 0.0])
            at = parent.get(at)
    return found


def _values(tree: dict[str, Any], content: bytes, start: int, number: int) -> Float[np.ndarray, "n k"]:
    """Return an accessor's values in double precision, sparse ones filled in."""
    accessor = tree["accessors"][number]
    width = _WIDTHS[accessor["type"]]

    def raw(view: int, count: int, kind: int, columns: int) -> np.ndarray:
        own = tree["bufferViews"][view]
        return np.frombuffer(
            content, _TYPES[kind], count * columns, start + own.get("byteOffset", 0)
        ).reshape(count, columns)  # fmt: skip

    values = np.zeros((accessor["count"], width))
    if "bufferView" in accessor:
        values[:] = raw(accessor["bufferView"], accessor["count"], accessor["componentType"], width)
    if "sparse" in accessor:
        sparse = accessor["sparse"]
        rows = raw(sparse["indices"]["bufferView"], sparse["count"], sparse["indices"]["componentType"], 1)[:, 0]
        values[rows] = raw(sparse["values"]["bufferView"], sparse["count"], accessor["componentType"], width)
    return values
