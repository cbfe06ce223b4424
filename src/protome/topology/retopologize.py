"""A reconstructed head given the template's mesh: files beside those of the reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from protome.asset.formats import NORMAL_FILE
from protome.asset.picture import Textured
from protome.errors import InputError
from protome.geometry.glb import glb_tree
from protome.geometry.mesh import Mesh
from protome.prior.prior import load_fitted
from protome.topology.fitted import TemplateHead
from protome.topology.outputs import template_glb, write_template_obj
from protome.topology.relief import TemplateRelief
from protome.topology.rig import Rig
from protome.topology.texture import template_texture
from protome.turntable import read_textured
from protome.util.files import check_output_folder
from protome.util.image_files import open_image
from protome.util.locks import only_run
from protome.util.progress import progress
from protome.util.reading import reading
from protome.util.together import write_together

PLAIN, RIGGED, OBJ = "head_template.glb", "head_rigged.glb", "head_template.obj"


def retopologize(result: Path, out: Path | None = None, *, quiet: bool = False) -> TemplateHead:
    """Write the head of a result on the template: head_template.glb, head_template.obj and head_rigged.glb.

    They go into the result's own folder unless another is given. The texture has the size of the head's own. Recovered
    detail (`head_normal.png`) becomes a normal map.

    Raises:
        InputError: the folder holds no head of a reconstruction, or no textured one, or the prior it was fitted with
            has no deformation.
    """
    out = out or result
    if not result.is_dir():
        raise InputError(f"{result} is no folder: give one that `protome reconstruct` wrote")
    check_output_folder(out)
    with only_run(out):
        source = read_textured(result)
        head = load_fitted(result / "field.safetensors")
        if _is_neutral(result / "result.json"):
            head = head.neutral()
        if head.field.deformation is None:
            raise InputError(
                f"{result} was made by a method without a deformation, which the template is pulled back through: "
                "reconstruct with another --method"
            )
        with progress("laying the template onto the head", 3, quiet=quiet) as step:
            made = TemplateHead.of(head, _closed(source.vertices, source.faces))
            step(1)
            image = template_texture(made, source, len(source.image))
            relief = _relief(result / NORMAL_FILE, made, source)
            step(1)
            rig = Rig.of(made)
            unlit = "KHR_materials_unlit" in gltf_tree(result / "head.glb").get("extensionsUsed", ())

            def write(folder: Path) -> None:
                (folder / PLAIN).write_bytes(template_glb(made, image, None, unlit, relief))
                (folder / RIGGED).write_bytes(template_glb(made, image, rig, unlit, relief))
                write_template_obj(folder / OBJ, made, image)

            write_together(out, write)
            step(1)
    return made


def _relief(path: Path, made: TemplateHead, source: Textured) -> TemplateRelief | None:
    """Return the relief of a head whose result has a normal map; None where it has none.

    Raises:
        InputError: the map cannot be read.
    """
    if not path.is_file():
        return None
    with open_image(path) as image:
        return TemplateRelief.of(made, source, np.asarray(image.convert("RGB")))


def _is_neutral(path: Path) -> bool:
    """Return whether a result's mesh was written without the expression that its field has."""
    if not path.is_file():
        return False
    with reading(path, "a result", "give a folder that `protome reconstruct` wrote"):
        own = json.loads(path.read_text(encoding="utf-8")).get("expression")
        return isinstance(own, dict) and own.get("written") == "neutral"


def gltf_tree(path: Path) -> dict:
    """Return the description in a GLB file.

    Raises:
        InputError: the file is no GLB file.
    """
    with reading(path, "a GLB file", "give a result of protome"):
        return glb_tree(path.read_bytes())


def _closed(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Return a textured mesh with its seams closed."""
    places, number = np.unique(np.round(vertices, 4), axis=0, return_inverse=True)
    joined = number.reshape(-1)[faces]
    whole = (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 2] != joined[:, 0])
    return Mesh(places, joined[whole])
