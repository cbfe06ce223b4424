"""Triangle meshes with colours, and their files (PLY, OBJ, GLB; all but reading PLY through trimesh)."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.geometry.glb import glb_tree
from protome.geometry.ply import Ply
from protome.geometry.transforms import Similarity
from protome.util.files import write_atomically
from protome.util.reading import reason

MESH_SUFFIXES = (".ply", ".obj", ".glb")
_COLOUR = "_LINEAR_RGB"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; the frame and the unit are the caller's."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 3"] | None = None
    """RGB per vertex in [0, 1] (sRGB values, as in images)."""
    normals: Float[np.ndarray, "v 3"] | None = None
    """Unit vertex normals that point outwards."""
    visibility: Float[np.ndarray, "v"] | None = None
    """Visibility of each vertex in its best photo: 1 in frontal view, 0 if hidden. Only PLY files keep it."""

    def transformed(self, b_from_a: Similarity) -> Mesh:
        """Return the mesh mapped by a similarity."""
        rotation = b_from_a.rotation.detach().double().cpu().numpy()
        normals = None if self.normals is None else self.normals @ rotation.T
        return replace(self, vertices=b_from_a.apply_numpy(self.vertices), normals=normals)

    def scaled(self, factor: float) -> Mesh:
        """Return the mesh with all lengths multiplied by a factor."""
        return replace(self, vertices=self.vertices * factor)

    @property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """Lower and upper corner of the bounding box."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def largest_component(self) -> Mesh:
        """Return the connected part with the most faces."""
        groups = trimesh.graph.connected_component_labels(
            trimesh.graph.face_adjacency(self.faces), node_count=len(self.faces)
        )
        keep = self.faces[groups == np.bincount(groups).argmax()]
        used, inverse = np.unique(keep, return_inverse=True)
        return Mesh(
            self.vertices[used],
            inverse.reshape(-1, 3),
            None if self.colours is None else self.colours[used],
            None if self.normals is None else self.normals[used],
            None if self.visibility is None else self.visibility[used],
        )

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the same mesh as a trimesh object (no merging, no reordering)."""
        colours = None
        if self.colours is not None:
            rgb = np.clip(np.rint(self.colours * 255.0), 0, 255).astype(np.uint8)
            colours = np.concatenate([rgb, np.full((len(rgb), 1), 255, np.uint8)], 1)
        return trimesh.Trimesh(
            self.vertices, self.faces, vertex_normals=self.normals, vertex_colors=colours, process=False
        )

    def save(self, path: str | Path) -> None:
        """Write PLY, OBJ or GLB by the file's suffix; the file appears only when it is complete.

        Raises:
            InputError: the suffix is none of these.
        """
        path = Path(path)
        if path.suffix.lower() not in MESH_SUFFIXES:
            raise InputError(f"cannot write a mesh as {path.name}: use one of {', '.join(MESH_SUFFIXES)}")
        if path.suffix.lower() == ".glb":
            write_atomically(path, self._write_glb)
            return
        scene = self.to_trimesh()
        if self.visibility is not None and path.suffix.lower() == ".ply":
            scene.vertex_attributes["visibility"] = self.visibility.astype(np.float32)
        option = "vertex_normal" if path.suffix.lower() == ".ply" else "include_normals"
        write_atomically(path, lambda part: scene.export(part, **{option: self.normals is not None}))

    def _write_glb(self, path: Path) -> None:
        """Write linear colours, as glTF requires, and a material, because the default one is polished metal."""
        scene = Mesh(self.vertices, self.faces, None, self.normals).to_trimesh()
        if self.colours is not None:
            # A custom attribute keeps floating-point values; eight bits are too few for dark hair in linear colour.
            scene.vertex_attributes[_COLOUR] = linear_from_srgb(self.colours).astype(np.float32)
        scene.export(path, include_normals=self.normals is not None, tree_postprocessor=_finish_gltf)

    @staticmethod
    def load(path: str | Path) -> Mesh:
        """Read PLY, OBJ or GLB (all parts of a GLB joined); colours where the file has them per vertex.

        Raises:
            InputError: no such file, one that cannot be read, or it holds no triangles.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} does not exist: give a mesh file")
        try:
            parts = [_from_ply(Ply.load(path))] if path.suffix.lower() == ".ply" else _parts(path)
        except Exception as error:  # readers raise various errors on broken files
            raise InputError(
                f"{path} cannot be read as a mesh ({reason(error)}): give a PLY, OBJ or GLB file"
            ) from error
        parts = [part for part in parts if len(part.faces)]
        if not parts:
            raise InputError(f"{path} holds no triangles: give a mesh with faces")
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        colours = [part.colours for part in parts if part.colours is not None]
        visibility = [part.visibility for part in parts if part.visibility is not None]
        return Mesh(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate(colours) if len(colours) == len(parts) else None,
            np.concatenate([part.normals for part in parts if part.normals is not None]),
            np.concatenate(visibility) if len(visibility) == len(parts) else None,
        )


def linear_from_srgb(colours: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Return linear light for sRGB values, both in [0, 1] (IEC 61966-2-1)."""
    bright = ((np.maximum(colours, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(colours <= 0.04045, colours / 12.92, bright)


def srgb_from_linear(light: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Return sRGB values for linear light, both in [0, 1] (IEC 61966-2-1)."""
    bright = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, bright)


def _finish_gltf(tree: dict[str, Any]) -> None:
    """Give the colour attribute its name in glTF and every part a matt material."""
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
            if _COLOUR in primitive["attributes"]:
                primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop(_COLOUR)


def _from_ply(file: Ply) -> Mesh:
    """Return the mesh in a PLY file.

    Raises:
        ValueError: its faces are not those of its vertices.
    """
    vertices = file.values("vertex", "x", "y", "z")
    faces = file.triangles()
    if vertices is None or not len(faces):
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    normals = file.values("vertex", "nx", "ny", "nz")
    if normals is None:
        normals = np.array(trimesh.Trimesh(vertices, faces, process=False).vertex_normals, np.float64)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    visibility = file.values("vertex", "visibility")
    return Mesh(vertices, faces, file.colours(), normals, None if visibility is None else visibility[:, 0])


def _parts(path: Path) -> list[Mesh]:
    """Return the meshes in a file of another kind, each with its node's pose applied.

    They are joined by the caller and not by trimesh, which would drop the file's normals.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".glb":
        glb_tree(content)
    # Without the path, no file that this one names is read: materials and pictures, which nothing here needs.
    loaded = trimesh.load_scene(io.BytesIO(content), file_type=path.suffix.lower()[1:], process=False)
    parts = []
    for node in loaded.graph.nodes_geometry:
        pose, name = loaded.graph[node]
        part = loaded.geometry[name]
        if isinstance(part, trimesh.Trimesh) and len(part.faces):
            parts.append(_placed(part, np.asarray(pose, np.float64), linear=path.suffix.lower() == ".glb"))
    return parts


def _placed(part: trimesh.Trimesh, pose: Float[np.ndarray, "4 4"], linear: bool) -> Mesh:
    """Return one posed part of a file with its own normals; `linear`: its colours are linear, not sRGB."""
    colours = None
    if isinstance(part.visual, trimesh.visual.ColorVisuals) and part.visual.kind == "vertex":
        colours = np.asarray(part.visual.vertex_colors)
    elif isinstance(part.visual, trimesh.visual.TextureVisuals):
        colours = part.visual.vertex_attributes.get("color")
    if colours is not None:
        colours = colours[:, :3].astype(np.float64) / (1.0 if colours.dtype.kind == "f" else 255.0)
        colours = srgb_from_linear(colours) if linear else colours
    # Normals follow the inverse transpose, which also holds for unequal scales and mirrors.
    normals = np.asarray(part.vertex_normals, np.float64) @ np.linalg.inv(pose[:3, :3])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    faces = np.array(part.faces, np.int64)
    if np.linalg.det(pose[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return Mesh(np.asarray(part.vertices, np.float64) @ pose[:3, :3].T + pose[:3, 3], faces, colours, normals)
