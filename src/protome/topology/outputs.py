"""Files of a head on the template: GLB with nodes for skin, teeth, eyes and hair, and OBJ with quads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from trimesh import Trimesh

from protome.asset.gltf import Glb, add_materials, jpeg, png
from protome.topology.bones import NAMES as BONES
from protome.topology.bones import PARENTS, SKULL, Bones
from protome.topology.fitted import TemplateHead
from protome.topology.relief import TemplateRelief
from protome.topology.rig import Rig
from protome.topology.template import Part

NODES: dict[str, tuple[Part, ...]] = {
    "skin": (Part.SKIN, Part.LINING), "teeth": (Part.UPPER_TEETH, Part.LOWER_TEETH, Part.TONGUE),
    "eye_left": (Part.LEFT_EYE,), "eye_right": (Part.RIGHT_EYE,), "hair": (Part.HAIR,),
}  # fmt: skip
"""The meshes of a GLB file and what they hold."""
ALL_TARGETS = ("skin",)
"""Meshes that have every expression as a target; the others have those that move them."""
LEAST_MM = 0.01
"""Smaller moves are left out of a file."""
_ARRAY, _INDICES, _FLOAT, _UNSIGNED = 34962, 34963, 5126, 5125
GROUPS = {
    Part.SKIN: "skin", Part.LINING: "lining", Part.UPPER_TEETH: "teeth_upper", Part.LOWER_TEETH: "teeth_lower",
    Part.TONGUE: "tongue", Part.LEFT_EYE: "eye_left", Part.RIGHT_EYE: "eye_right", Part.HAIR: "hair",
}  # fmt: skip


def template_glb(
    head: TemplateHead, image: UInt8[np.ndarray, "n n 3"], rig: Rig | None = None, unlit: bool = True,
    relief: TemplateRelief | None = None,
) -> bytes:  # fmt: skip
    """Return a GLB in metres, with a normal map where there is a relief.

    With a rig its meshes have the expressions as morph targets, named in `targetNames`, and follow the bones torso,
    neck, skull and jaw. Each eye is a node whose origin is the middle of its eyeball, about which it turns; it hangs on
    the skull.
    """
    glb = Glb()
    images = [{"bufferView": glb.view(jpeg(image)), "mimeType": "image/jpeg", "name": "colour"}]
    if relief is not None:
        images.append({"bufferView": glb.view(png(relief.image)), "mimeType": "image/png", "name": "normal"})
    material = add_materials(glb, {"name": "head", "doubleSided": True}, unlit, relief is not None)
    bones = None if rig is None else Bones.of(rig)
    nodes: list[dict[str, Any]] = []
    meshes: list[dict[str, Any]] = []
    for name, parts in NODES.items():
        eye = name.startswith("eye")
        pivot = head.eyes.pivots[0 if name == "eye_left" else 1] if eye else np.zeros(3)
        origin = np.zeros(3) if bones is None or not eye else bones.places[SKULL]
        node = {"name": name, "mesh": len(meshes), "translation": (1e-3 * (pivot - origin)).tolist()}
        nodes.append(node if bones is None or eye else node | {"skin": 0})
        mesh = _mesh(glb, name, head, parts, pivot, rig, None if eye else bones, relief)
        mesh["primitives"][0] |= material
        meshes.append(mesh)
    if bones is None:
        roots = [len(nodes)]
        nodes.append({"name": "head", "children": list(range(len(nodes)))})
    else:
        roots = [k for k, node in enumerate(nodes) if "skin" in node] + [len(nodes)]
        eyes = [k for k, node in enumerate(nodes) if "skin" not in node]
        first, inverse = len(nodes), np.tile(np.eye(4, dtype=np.float32), (len(BONES), 1, 1))
        nodes += _bone_nodes(bones, first, eyes)
        inverse[:, 3, :3] = -1e-3 * bones.places  # by columns
        glb.tree["skins"] = [{
            "joints": list(range(first, len(nodes))), "skeleton": first,
            "inverseBindMatrices": glb.accessor(inverse.reshape(-1, 16), "MAT4"),
        }]  # fmt: skip
    glb.tree |= {
        "scene": 0, "scenes": [{"nodes": roots}], "nodes": nodes,
        "meshes": meshes, "textures": [{"sampler": 0, "source": number} for number in range(len(images))],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": images,
    }  # fmt: skip
    return glb.bytes()


def _bone_nodes(bones: Bones, first: int, eyes: Sequence[int]) -> list[dict[str, Any]]:
    """Return the nodes of the bones, numbered from `first` on; the eyes' nodes hang on the skull."""
    nodes: list[dict[str, Any]] = []
    for number, (name, parent) in enumerate(zip(BONES, PARENTS, strict=True)):
        place = bones.places[number] - (bones.places[parent] if parent >= 0 else 0)
        children = [first + k for k, above in enumerate(PARENTS) if above == number]
        children += eyes if number == SKULL else []
        node = {"name": name, "translation": (1e-3 * place).tolist()}
        nodes.append(node | {"children": children} if children else node)
    return nodes


def _mesh(
    glb: Glb, name: str, head: TemplateHead, parts: Sequence[Part], pivot: Float[np.ndarray, "3"], rig: Rig | None,
    bones: Bones | None, relief: TemplateRelief | None,
) -> dict[str, Any]:  # fmt: skip
    template = head.template
    own = np.isin(template.triangle_part, parts)
    faces, uv_faces = template.triangles[own], template.uv_triangles[own]
    used, local = np.unique(uv_faces, return_inverse=True)
    vertex = np.zeros(len(template.uv), np.int64)
    vertex[uv_faces] = faces
    vertex = vertex[used]
    normals = np.array(Trimesh(head.vertices, faces, process=False).vertex_normals)[vertex]
    place = (1e-3 * (head.vertices[vertex] - pivot)).astype(np.float32)
    attributes = {
        "POSITION": glb.accessor(place, "VEC3", _ARRAY, extent=True),
        "NORMAL": glb.accessor(_unit(normals), "VEC3", _ARRAY),
        "TEXCOORD_0": glb.accessor(template.uv[used].astype(np.float32), "VEC2", _ARRAY),
    }
    if relief is not None:
        attributes["TANGENT"] = glb.accessor(relief.tangents[used], "VEC4", _ARRAY)
    if bones is not None:
        weights = bones.weights[vertex].astype(np.float32)
        weights /= weights.sum(1, keepdims=True)
        joints = np.where(weights > 0, np.arange(len(BONES)), 0).astype(np.uint8)
        attributes |= {
            "JOINTS_0": glb.accessor(joints, "VEC4", _ARRAY), "WEIGHTS_0": glb.accessor(weights, "VEC4", _ARRAY)
        }  # fmt: skip
    primitive: dict[str, Any] = {
        "attributes": attributes, "indices": glb.accessor(local.astype(np.uint32).reshape(-1), "SCALAR", _INDICES),
    }  # fmt: skip
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if rig is None:
        return mesh
    moves = rig.moves[:, vertex]
    moving = np.linalg.norm(moves, axis=2).max(1) > LEAST_MM
    chosen = [k for k in range(len(rig.names)) if name in ALL_TARGETS or moving[k]]
    if chosen:
        primitive["targets"] = [{"POSITION": _sparse(glb, moves[k])} for k in chosen]
        mesh["extras"] = {"targetNames": [rig.names[k] for k in chosen]}
        mesh["weights"] = [0.0] * len(chosen)
    return mesh


def _sparse(glb: Glb, moves: Float[np.ndarray, "n 3"]) -> int:
    """Add displacements, in millimetres, of which most are zero, and return the number of their accessor."""
    moved = np.flatnonzero(np.linalg.norm(moves, axis=1) > LEAST_MM)
    # At least one entry: not every reader takes an accessor without data.
    moved = moved if len(moved) else np.zeros(1, np.int64)
    values = (1e-3 * moves[moved]).astype(np.float32)
    whole = np.concatenate([values, np.zeros((1, 3), np.float32)]) if len(moved) < len(moves) else values
    accessors = glb.tree.setdefault("accessors", [])
    accessors.append({
        "componentType": _FLOAT, "count": len(moves), "type": "VEC3", "min": whole.min(0).tolist(),
        "max": whole.max(0).tolist(),
        "sparse": {
            "count": len(moved),
            "indices": {"bufferView": glb.view(moved.astype(np.uint32).tobytes()), "componentType": _UNSIGNED},
            "values": {"bufferView": glb.view(values.tobytes())},
        },
    })  # fmt: skip
    return len(accessors) - 1


def _unit(normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    small = normals.astype(np.float32)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-6, small / np.maximum(length, 1e-6), [0, 0, 1]), np.float32)


def write_template_obj(path: Path, head: TemplateHead, image: UInt8[np.ndarray, "n n 3"]) -> None:
    """Write an OBJ in millimetres with the template's polygons as they are, its groups, material and image beside."""
    template, stem = head.template, path.with_suffix("")
    with path.open("w", encoding="ascii") as file:
        file.write(f"# protome: millimetres\nmtllib {stem.name}.mtl\no head\n")
        np.savetxt(file, head.vertices, "v %.5f %.5f %.5f")
        np.savetxt(file, template.uv * [1, -1] + [0, 1], "vt %.6f %.6f")
        file.write("usemtl head\n")
        for part, name in GROUPS.items():
            file.write(f"g {name}\n")
            own = template.part == part
            for polygon, corners in zip(_lists(template.polygons[own]), _lists(template.uv_polygons[own]), strict=True):
                file.write("f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(polygon, corners, strict=True)) + "\n")
    material = f"newmtl head\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum 0\nmap_Kd {stem.name}.png\n"
    path.with_suffix(".mtl").write_text(material, encoding="ascii")
    Image.fromarray(image).save(path.with_suffix(".png"), "PNG")


def _lists(polygons: Int[np.ndarray, "p 4"]) -> list[list[int]]:
    return [[corner for corner in row if corner >= 0] for row in polygons.tolist()]
