"""The files of an asset: GLB, OBJ with its material and image, STL for printing, USDZ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from trimesh import Trimesh

from protome.asset.asset import Asset
from protome.asset.gltf import png, write_glb
from protome.asset.usdz import write_usdz

VISIBILITY_FILE = "head_visibility.png"
ALBEDO_FILE = "head_albedo.png"
NORMAL_FILE = "head_normal.png"
DISPLACEMENT_FILE = "head_displacement.png"


def write_asset(folder: Path, asset: Asset, formats: tuple[str, ...]) -> None:
    """Write head.glb, head.obj (with head.mtl and head.png), head.stl and head.usdz, as asked for, into a folder.

    Beside them head_visibility.png and, where there are such, head_albedo.png, and head_normal.png with
    head_displacement.png (16 bits), all in the atlas. PLY files are not the asset's: they hold the dense mesh.
    """
    writers = {"glb": write_glb, "obj": write_obj, "stl": write_stl, "usdz": write_usdz}
    asked = [name for name in writers if name in formats]
    for name in asked:
        writers[name](folder / f"head.{name}", asset)
    if asked:
        Image.fromarray(asset.visibility).save(folder / VISIBILITY_FILE, "PNG")
        if asset.albedo is not None:
            Image.fromarray(asset.albedo).save(folder / ALBEDO_FILE, "PNG")
        if asset.detail is not None:
            (folder / NORMAL_FILE).write_bytes(png(asset.detail.normals))
            (folder / DISPLACEMENT_FILE).write_bytes(png(asset.detail.displacement))


def write_obj(path: Path, asset: Asset) -> None:
    """Write an OBJ in millimetres, y upwards, whose closed mesh has each vertex once, with its material and image."""
    atlas, stem = asset.atlas, path.with_suffix("")
    normals, corner = np.unique(np.round(asset.normals(), 5), axis=0, return_inverse=True)
    uv = atlas.uv * [1, -1] + [0, 1]
    corners = np.stack([atlas.vertex[atlas.faces], atlas.faces, corner.reshape(-1)[atlas.faces]], -1) + 1
    with path.open("w", encoding="ascii") as file:
        file.write(f"# protome: millimetres\nmtllib {stem.name}.mtl\no head\n")
        np.savetxt(file, atlas.mesh.vertices, "v %.5f %.5f %.5f")
        np.savetxt(file, uv, "vt %.6f %.6f")
        np.savetxt(file, normals, "vn %.5f %.5f %.5f")
        file.write("usemtl head\n")
        np.savetxt(file, corners.reshape(-1, 9), "f %d/%d/%d %d/%d/%d %d/%d/%d")
    lit = "illum 0\n" if asset.material == "unlit" else "illum 2\n"
    # Readers that know the keys of physically based materials read norm, the others take map_Bump for a normal map.
    maps = (
        "" if asset.detail is None else f"norm {NORMAL_FILE}\nmap_Bump -bm 1 {NORMAL_FILE}\ndisp {DISPLACEMENT_FILE}\n"
    )
    material = f"newmtl head\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\n{lit}map_Kd {stem.name}.png\n{maps}"
    path.with_suffix(".mtl").write_text(material, encoding="ascii")
    Image.fromarray(asset.base_colour).save(path.with_suffix(".png"), "PNG")


def write_stl(path: Path, asset: Asset) -> None:
    """Write a closed binary STL in millimetres as it stands on a printer's bed: z upwards, its base at z = 0."""
    mesh = asset.atlas.mesh
    x, y, z = mesh.vertices.T
    standing = np.stack([x, -z, y - y.min()], 1)
    Trimesh(standing, mesh.faces, process=False).export(path, file_type="stl")
