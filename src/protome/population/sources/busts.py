"""Busts cut out of VALID's avatars as they are published: whole people, arms out, each file in its own vertex order.

All bodies have the same texture coordinates. A table of those of the bust's vertices therefore locates each of them on
any body, whatever order its file has; a vertex that the cut has made lies inside a triangle.

`python -m protome.population.sources.busts VALID_HEADS OUT.npz` takes that table
(`assets/valid_layout.npz`) from busts.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.geometry.neighbours import tree_of
from protome.population.sources.gltf import Glb, Skinned
from protome.population.sources.valid import EYE_CORNERS, ValidHeads, identity
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

BODY, WIG = "H_DDS_HighRes", "h_wig"
SMALL = {"eye_left": "h_L_eye", "eye_right": "h_R_eye", "gland_left": "h_L_gland", "gland_right": "h_R_gland"}
"""The parts of a published avatar that a bust keeps; teeth are not visible."""
OUTFITS = ("Busi", "Casual")
BALD = ("Black_M_2",)
"""People without hair; others have it as a wig or as part of the body."""
SHOULDER_DEG, ARM_DEG = 6.0, 56.0
"""How far shoulders and upper arms are turned down from the published pose, whose arms are level."""
SAME_UV = 2e-5
TEXTURE = 1024


@dataclass(frozen=True)
class Layout:
    """The bust that is cut out of every body: its vertices, as places in the texture, and its triangles."""

    uv: Float[np.ndarray, "v 2"]
    """Texture coordinates, v down."""
    faces: Int[np.ndarray, "f 3"]
    weld: Int[np.ndarray, "v"]
    """For each vertex the representative of its position."""
    landmarks: dict[str, int]
    names: tuple[str, ...]
    """The avatars that the population is made from, `<identity>_<outfit>`."""

    @staticmethod
    def load() -> Layout:
        """Read the layout that ships with the package."""
        with np.load(str(resources.files("protome") / "assets" / "valid_layout.npz")) as stored:
            return Layout(
                stored["uv"].astype(np.float64), stored["faces"].astype(np.int64), stored["weld"].astype(np.int64),
                dict(zip(stored["landmark_names"].tolist(), stored["landmarks"].tolist(), strict=True)),
                tuple(stored["names"].tolist()),
            )  # fmt: skip

    @staticmethod
    def of(heads: ValidHeads) -> Layout:
        """Take the layout from busts that are there."""
        return Layout(heads.uv, heads.faces, heads.weld, heads.landmarks, heads.names)

    def save(self, path: Path) -> None:
        """Write the layout as the package's asset."""
        arrays = {
            "uv": self.uv.astype(np.float32), "faces": self.faces.astype(np.uint16),
            "weld": self.weld.astype(np.uint16), "landmark_names": np.array(list(self.landmarks)),
            "landmarks": np.array(list(self.landmarks.values())), "names": np.array(self.names),
        }  # fmt: skip
        write_atomically(path, lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]

    def picked(self, body: Skinned) -> tuple[Int[np.ndarray, "v 3"], Float[np.ndarray, "v 3"]]:
        """Return for each vertex three vertices of a body and their shares.

        Raises:
            ValueError: the body has other texture coordinates.
        """
        away, nearest = tree_of(body.uv).query(self.uv)
        corners = np.repeat(nearest[:, None], 3, 1)
        shares = np.tile([1.0, 0.0, 0.0], (len(self.uv), 1))
        a, b, c = (body.uv[body.faces[:, side]] for side in range(3))
        area = _cross(b - a, c - a)
        solid = np.abs(area) > 1e-12
        for vertex in np.flatnonzero(away > SAME_UV):
            point = self.uv[vertex]
            with np.errstate(divide="ignore", invalid="ignore"):
                inside = np.stack([_cross(b - point, c - point), _cross(c - point, a - point)], 1) / area[:, None]
            inside = np.concatenate([inside, 1 - inside.sum(1, keepdims=True)], 1)
            depth = np.where(solid, inside.min(1), -np.inf)
            face = int(depth.argmax())
            if depth[face] < -0.2:
                raise ValueError(f"nothing of it lies at ({point[0]:.4f}, {point[1]:.4f}) of its texture")
            corners[vertex], shares[vertex] = body.faces[face], inside[face]
        return corners, shares


def _cross(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def cut_busts(avatars: Path, out: Path, *, layout: Layout | None = None, quiet: bool = False) -> Path:
    """Write the busts of VALID's published avatars (`c-frame/valid-avatars-glb`) to the folder `out`.

    Each body takes its rest pose with the arms turned down as in photographs; the origin is the mean of the corners of
    its eyes.

    Raises:
        InputError: an avatar is missing or is not as published.
    """
    layout = layout or Layout.load()
    check_output_folder(out)
    found = {path.stem: path for path in sorted(avatars.rglob("*.glb"))}
    if missing := [name for name in layout.names if name not in found]:
        raise InputError(
            f"{avatars} lacks {missing[0]}.glb and {len(missing) - 1} more of {len(layout.names)} avatars: give a "
            "clone of github.com/c-frame/valid-avatars-glb"
        )
    bodies, rows = [], []
    with progress("cutting busts", len(layout.names), quiet=quiet) as step:
        for name in layout.names:
            body, hair = _cut(found[name], out / f"{name}.glb", layout, identity(name) in BALD)
            bodies.append(body)
            rows.append({"file": f"{name}.glb", "hair": {"geometry": hair}})
            step(1, name)
    arrays = {
        "names": np.array(layout.names), "vertices_arms_down": np.stack(bodies).astype(np.float32),
        "faces": layout.faces.astype(np.int32), "uv": layout.uv.astype(np.float32),
        "weld": layout.weld.astype(np.int32),
    }  # fmt: skip
    for path, tree in (("landmarks.json", {"landmarks": layout.landmarks}), ("index.json", {"files": rows})):
        write_atomically(out / path, lambda part, tree=tree: part.write_text(json.dumps(tree)))  # type: ignore[misc]
    # What says that the folder is complete comes last.
    write_atomically(out / "bodies.npz", lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]
    return out


def _cut(path: Path, out: Path, layout: Layout, bald: bool) -> tuple[Float[np.ndarray, "v 3"], str]:
    """Write one bust and return its body's vertices and its kind of hair."""
    avatar = Glb(path)
    nodes = avatar.nodes()
    body = avatar.mesh(avatar.node(BODY))
    try:
        corners, shares = layout.picked(body)
    except ValueError as error:
        raise InputError(f"{path} is another body ({error}): give the avatars as they were published") from error

    def bust(places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "v 3"]:
        return (places[corners] * shares[..., None]).sum(1)

    still = bust(avatar.posed(body))
    origin = still[[layout.landmarks[key] for key in EYE_CORNERS]].mean(0)
    turned = {
        avatar.node(f"{side}{joint}"): Rotation.from_euler("z", sign * degrees, degrees=True)
        for side, sign in (("Left", -1), ("Right", 1))
        for joint, degrees in (("Shoulder", SHOULDER_DEG), ("Arm", ARM_DEG))
    }
    down = bust(avatar.posed(body, turned)) - origin
    colours = _colours(avatar, body)
    scene = trimesh.Scene()
    scene.add_geometry(_coloured(still - origin, layout.faces, layout.uv, colours), geom_name="body")
    for name, node in SMALL.items():
        if node in nodes:
            part = avatar.mesh(nodes[node])
            scene.add_geometry(_coloured(avatar.posed(part) - origin, part.faces, part.uv, colours), geom_name=name)
    if WIG in nodes:
        wig = avatar.mesh(nodes[WIG])
        places = avatar.posed(wig) - origin
        scene.add_geometry(_coloured(places, wig.faces, wig.uv, _colours(avatar, wig)), geom_name="wig")
    write_atomically(out, lambda part: part.write_bytes(scene.export(file_type="glb")))
    return down, "wig" if WIG in nodes else "none" if bald else "body"


def _colours(avatar: Glb, mesh: Skinned) -> trimesh.visual.material.PBRMaterial:
    return trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(avatar.texture(mesh.material, TEXTURE)), metallicFactor=0.0,
        roughnessFactor=0.6, doubleSided=True,
    )  # fmt: skip


def _coloured(vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, material: object) -> trimesh.Trimesh:
    visual = trimesh.visual.TextureVisuals(uv=np.stack([uv[:, 0], 1 - uv[:, 1]], 1), material=material)
    return trimesh.Trimesh(vertices, faces, visual=visual, process=False)


if __name__ == "__main__":
    Layout.of(ValidHeads(Path(sys.argv[1]))).save(Path(sys.argv[2]))
