"""Blender without a window, as the module bpy from PyPI, that reads GLB files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = "PROTOME_BPY_PYTHON"
"""Environment variable that names a Python which has bpy, if the one of the tests has not."""
_SCRIPT = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-1])
meshes = [each for each in bpy.data.objects if each.type == "MESH"]
tree = meshes[0].data.materials[0].node_tree
images = [node.image for node in tree.nodes if node.type == "TEX_IMAGE" and node.image]
print("FOUND" + json.dumps({
    "meshes": len(meshes), "size": list(meshes[0].dimensions), "faces": len(meshes[0].data.polygons),
    "uv": len(meshes[0].data.uv_layers), "images": [list(image.size) for image in images],
}))
"""


def in_blender(glb: Path) -> dict:
    """Import a GLB file and return what Blender has: meshes, size in metres, faces, images with their sizes.

    Skips the test where there is no bpy.
    """
    return _said(_SCRIPT, glb)


def python_of_blender() -> str:
    """Return the Python that has Blender's module; skip the test where there is none."""
    python = os.environ.get(PYTHON, sys.executable)
    if subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False).returncode:
        pytest.skip(f"Blender's module bpy is missing: pip install bpy, or name a Python that has it in {PYTHON}")
    return python


def _said(script: str, *arguments: Path | str) -> dict:
    """Return what a script says to a Python that has Blender."""
    python = python_of_blender()
    ran = subprocess.run([python, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.rpartition("FOUND")[2].splitlines()[0])


_TARGETS = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-2])
found = {}
for each in bpy.data.objects:
    if each.type == "MESH":
        keys = each.data.shape_keys.key_blocks if each.data.shape_keys else []
        names, largest = [key.name for key in keys], 0.0
        if sys.argv[-1] in names:
            moved, rest = keys[sys.argv[-1]].data, keys["Basis"].data
            largest = max((a.co - b.co).length for a, b in zip(moved, rest))
        found[each.name] = {"names": names, "largest": largest, "origin": list(each.matrix_world.translation)}
print("FOUND" + json.dumps(found))
"""


def targets_in_blender(glb: Path, name: str) -> dict:
    """Import a GLB file and return what Blender has of each mesh: names of its targets, its origin, and the largest
    move of one target in metres.

    Skips the test where there is no bpy.
    """
    return _said(_TARGETS, glb, name)
