"""Triangle meshes with colours, and their files (PLY, OBJ, GLB through trimesh)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.files import write_atomically
from protome.geometry.transforms import Similarity

MESH_SUFFIXES = (".ply", ".obj", ".glb")


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; the frame and the unit are the caller's to name."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 3"] | None = None
    """RGB per vertex in [0, 1] (sRGB values, as in images)."""
    normals: Float[np.ndarray, "v 3"] | None = None
    """Unit vertex normals that point outwards."""

    def transformed(self, b_from_a: Similarity) -> Mesh:
        """Return the mesh mapped by a similarity."""
        rotation = b_from_a.rotation.detach().double().cpu().numpy()
        offset = b_from_a.translation.detach().double().cpu().numpy()
        vertices = float(b_from_a.scale) * (self.vertices @ rotation.T) + offset
        normals = None if self.normals is None else self.normals @ rotation.T
        return replace(self, vertices=vertices, normals=normals)

    def scaled(self, factor: float) -> Mesh:
        """Return the mesh with all lengths multiplied by a factor."""
        return replace(self, vertices=self.vertices * factor)

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
        scene = self.to_trimesh()
        option = "vertex_normal" if path.suffix.lower() == ".ply" else "include_normals"
        write_atomically(path, lambda part: scene.export(part, **{option: self.normals is not None}))

    @staticmethod
    def load(path: str | Path) -> Mesh:
        """Read PLY, OBJ or GLB (all parts of a GLB joined); colours where the file has them per vertex.

        Raises:
            InputError: no such file, or it holds no triangles.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} does not exist: give a mesh file")
        try:
            loaded = trimesh.load_scene(path, process=False)
        except Exception as error:
            raise InputError(f"{path} cannot be read as a mesh ({error}): give a PLY, OBJ or GLB file") from error
        # Joined here and not by trimesh, whose joining forgets the file's normals.
        parts = []
        for node in loaded.graph.nodes_geometry:
            pose, name = loaded.graph[node]
            part = loaded.geometry[name]
            if isinstance(part, trimesh.Trimesh) and len(part.faces):
                parts.append(_placed(part, np.asarray(pose, np.float64)))
        if not parts:
            raise InputError(f"{path} holds no triangles: give a mesh with faces")
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        colours = [part.colours for part in parts if part.colours is not None]
        return Mesh(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate(colours) if len(colours) == len(parts) else None,
            np.concatenate([part.normals for part in parts if part.normals is not None]),
        )


def _placed(part: trimesh.Trimesh, pose: Float[np.ndarray, "4 4"]) -> Mesh:
    """Return one part of a file at its place, with its own normals."""
    colours = None
    if isinstance(part.visual, trimesh.visual.ColorVisuals) and part.visual.kind == "vertex":
        colours = np.asarray(part.visual.vertex_colors)[:, :3].astype(np.float64) / 255.0
    # Normals follow the inverse transpose, which also holds for unequal scales and mirrors.
    normals = np.asarray(part.vertex_normals, np.float64) @ np.linalg.inv(pose[:3, :3])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    faces = np.array(part.faces, np.int64)
    if np.linalg.det(pose[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return Mesh(np.asarray(part.vertices, np.float64) @ pose[:3, :3].T + pose[:3, 3], faces, colours, normals)
