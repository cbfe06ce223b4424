"""What training heads are cut from in glTF files: posed meshes on a skeleton, compressed as published.

Mesh libraries read plain glTF. This reads what avatars are published as: quantised (`KHR_mesh_quantization`),
compressed (`EXT_meshopt_compression`), with WebP textures (`EXT_texture_webp`), and bound to joints.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.geometry.glb import glb_tree
from protome.population.sources.meshopt import (
    decode_attributes,
    decode_exponential,
    decode_indices,
    decode_triangles,
)  # fmt: skip
from protome.util.bit_depth import eight_bits

MESHOPT = "EXT_meshopt_compression"
KINDS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
FILTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"NONE": np.asarray, "EXPONENTIAL": decode_exponential}
"""What the bytes of attributes stand for; normals and turns, which have others, are not read."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Skinned:
    """One mesh of a file, with what binds it to joints."""

    vertices: Float[np.ndarray, "v 3"]
    """As stored: in the frame of the skin's inverse bind matrices, or of the mesh's node where there is no skin."""
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """Texture coordinates, v down."""
    material: int | None
    node: int
    joints: Int[np.ndarray, "v k"] | None
    """Nodes."""
    weights: Float[np.ndarray, "v k"] | None
    bind: Float[np.ndarray, "j 4 4"] | None
    """For each node of the file, its inverse bind matrix."""


class Glb:
    """A binary glTF file."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InputError: it cannot be read, or is no binary glTF file.
        """
        self.path = path
        try:
            data = path.read_bytes()
            self.tree = glb_tree(data)
        except Exception as error:  # also of what is in the description
            raise InputError(f"{path} is no complete binary glTF 2.0 file: get it again from its source") from error
        self._data = data[28 + int.from_bytes(data[12:16], "little") :]

    def nodes(self) -> dict[str, int]:
        """Return the nodes that hold meshes, by name."""
        return {node.get("name", ""): i for i, node in enumerate(self.tree["nodes"]) if "mesh" in node}

    def node(self, name: str) -> int:
        """Return the node of a name.

        Raises:
            InputError: there is none.
        """
        for index, node in enumerate(self.tree["nodes"]):
            if node.get("name") == name:
                return index
        raise InputError(f"{self.path} has no node {name}: give the avatars as they were published")

    @cached_property
    def _parents(self) -> dict[int, int]:
        return {child: i for i, node in enumerate(self.tree["nodes"]) for child in node.get("children", ())}

    def world(self, node: int, turned: dict[int, Rotation] | None = None) -> Float[np.ndarray, "4 4"]:
        """Return a node's pose in the scene; `turned` turns nodes, and what hangs on them, about their own places.

        The turns are in the scene's axes.
        """
        row = self.tree["nodes"][node]
        if "matrix" in row:
            own = np.array(row["matrix"], float).reshape(4, 4).T
        else:
            own = np.eye(4)
            turn = Rotation.from_quat(row.get("rotation", (0, 0, 0, 1))).as_matrix()
            own[:3, :3] = turn * np.array(row.get("scale", (1, 1, 1)), float)
            own[:3, 3] = row.get("translation", (0, 0, 0))
        if node in self._parents:
            own = self.world(self._parents[node], turned) @ own
        if turned and node in turned:
            own[:3, :3] = turned[node].as_matrix() @ own[:3, :3]
        return own

    def posed(self, mesh: Skinned, turned: dict[int, Rotation] | None = None) -> Float[np.ndarray, "v 3"]:
        """Return a mesh's vertices in the scene, its joints turned as in `world`."""
        flat = np.concatenate([mesh.vertices, np.ones((len(mesh.vertices), 1))], 1)
        if mesh.joints is None or mesh.weights is None or mesh.bind is None:
            return flat @ self.world(mesh.node, turned)[:3].T
        moved = np.zeros_like(mesh.vertices)
        share = mesh.weights / mesh.weights.sum(1, keepdims=True)
        for joint in np.unique(mesh.joints[mesh.weights > 0]):
            pose = self.world(int(joint), turned) @ mesh.bind[joint]
            weight = np.where(mesh.joints == joint, share, 0.0).sum(1)
            some = weight > 0
            moved[some] += weight[some, None] * (flat[some] @ pose[:3].T)
        return moved

    def mesh(self, node: int) -> Skinned:
        """Return the mesh of a node, its parts one after the other."""
        row = self.tree["nodes"][node]
        parts = self.tree["meshes"][row["mesh"]]["primitives"]
        places: list[np.ndarray] = []
        faces, uvs, joints, weights = [], [], [], []
        for part in parts:
            own = part["attributes"]
            first = sum(len(other) for other in places)
            faces.append(first + self.array(part["indices"]).reshape(-1, 3).astype(np.int64))
            places.append(self.array(own["POSITION"]).astype(np.float64))
            uvs.append(self._textured(part.get("material"), self.array(own["TEXCOORD_0"]).astype(np.float64)))
            if "skin" in row:
                joints.append(self.array(own["JOINTS_0"]).astype(np.int64))
                weights.append(self.array(own["WEIGHTS_0"]).astype(np.float64))
        bound: tuple = (None, None, None)
        if "skin" in row:
            skin = self.tree["skins"][row["skin"]]
            order = np.array(skin["joints"])
            bind = np.zeros((len(self.tree["nodes"]), 4, 4))
            bind[order] = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            bound = (order[np.concatenate(joints)], np.concatenate(weights), bind)
        return Skinned(
            np.concatenate(places), np.concatenate(faces), np.concatenate(uvs), parts[0].get("material"), node, *bound
        )

    def _textured(self, material: int | None, uv: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "v 2"]:
        """Return texture coordinates as the material's `KHR_texture_transform` moves them, rotations left out."""
        found = self._base(material).get("extensions", {}).get("KHR_texture_transform", {})
        return uv * np.array(found.get("scale", (1, 1))) + np.array(found.get("offset", (0, 0)))

    def _base(self, material: int | None) -> dict[str, Any]:
        if material is None:
            return {}
        return self.tree["materials"][material].get("pbrMetallicRoughness", {}).get("baseColorTexture", {})

    def texture(self, material: int | None, side: int) -> UInt8[np.ndarray, "side side 3"]:
        """Return a material's colours, resampled to `side` pixels.

        Raises:
            InputError: it has none.
        """
        base = self._base(material)
        if "index" not in base:
            raise InputError(f"{self.path} has a part without colours: give the avatars as they were published")
        row = self.tree["textures"][base["index"]]
        source = row.get("extensions", {}).get("EXT_texture_webp", row)["source"]
        image = Image.open(io.BytesIO(self._view(self.tree["images"][source]["bufferView"]).tobytes()))
        return np.asarray(eight_bits(image).convert("RGB").resize((side, side), Image.Resampling.LANCZOS))

    def array(self, accessor: int) -> np.ndarray:
        """Return an accessor's numbers, one row for each element; normalised ones become fractions.

        Raises:
            InputError: they are compressed in a way that is not known.
        """
        row = self.tree["accessors"][accessor]
        kind, width = np.dtype(KINDS[row["componentType"]]), WIDTHS[row["type"]]
        view = self.tree["bufferViews"][row["bufferView"]]
        start, size = row.get("byteOffset", 0), kind.itemsize * width
        stride = view.get("byteStride", view.get("extensions", {}).get(MESHOPT, {}).get("byteStride", size))
        data = self._view(row["bufferView"]).data
        try:
            rows = np.ndarray((row["count"], size), np.uint8, data, start, (stride, 1))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path} ends before its last mesh: get it again from its source") from error
        found = np.ascontiguousarray(rows).view(kind.newbyteorder("<")).reshape(row["count"], width)
        if not row.get("normalized"):
            return found
        most = {np.int8: 127, np.uint8: 255, np.int16: 32767, np.uint16: 65535}[kind.type]
        return np.maximum(found.astype(np.float64) / most, -1.0)

    def _view(self, number: int) -> UInt8[np.ndarray, "bytes"]:
        view = self.tree["bufferViews"][number]
        packed = view.get("extensions", {}).get(MESHOPT)
        place = packed or view
        start = place.get("byteOffset", 0)
        data = self._data[start : start + place["byteLength"]]
        if packed is None:
            return np.frombuffer(data, np.uint8)
        count, stride = packed["count"], packed["byteStride"]
        try:
            if packed["mode"] == "ATTRIBUTES":
                found = decode_attributes(data, count, stride)
                return FILTERS[packed.get("filter", "NONE")](found).view(np.uint8).reshape(-1)
            decode = {"TRIANGLES": decode_triangles, "INDICES": decode_indices}[packed["mode"]]
            return decode(data, count).astype(f"<u{stride}").reshape(-1).view(np.uint8)
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(f"{self.path} is compressed in a way that cannot be read ({error})") from error
