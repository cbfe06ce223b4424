"""GLB files of textured heads (glTF 2.0): one mesh, one material, images inside."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from protome.asset.asset import Asset

_JPEG_QUALITY = 94
_ARRAY, _INDICES = 34962, 34963
_COMPONENTS = {"float32": 5126, "uint32": 5125, "uint8": 5121}
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071
ROUGHNESS = 0.85


def write_glb(path: Path, asset: Asset) -> None:
    """Write `glb_of` as a file."""
    path.write_bytes(glb_of(asset))


def glb_of(asset: Asset) -> bytes:
    """Return a GLB in metres, without compression that a viewer would have to fetch.

    With detail it has the normal map and tangents. An unlit head has no use for them; its file holds a second, lit
    material as the variant "lit by the viewer" (KHR_materials_variants), which viewers leave aside unless asked.
    """
    glb = Glb()
    position = glb.accessor(asset.vertices().astype(np.float32) * np.float32(1e-3), "VEC3", _ARRAY, extent=True)
    normal = glb.accessor(_unit(asset.normals()), "VEC3", _ARRAY)
    uv = glb.accessor(asset.atlas.uv.astype(np.float32), "VEC2", _ARRAY)
    indices = glb.accessor(asset.atlas.faces.astype(np.uint32).reshape(-1), "SCALAR", _INDICES)
    image = glb.view(jpeg(asset.base_colour))
    attributes = {"POSITION": position, "NORMAL": normal, "TEXCOORD_0": uv}
    images = [{"bufferView": image, "mimeType": "image/jpeg", "name": "colour"}]
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices}
    if asset.detail is not None:
        attributes["TANGENT"] = glb.accessor(asset.detail.tangents, "VEC4", _ARRAY)
        held = glb.view(png(asset.detail.normals))
        images.append({"bufferView": held, "mimeType": "image/png", "name": "normal"})
    primitive |= add_materials(glb, {"name": "head"}, asset.material == "unlit", asset.detail is not None)
    glb.tree |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [{"name": "head", "primitives": [primitive]}],
        "textures": [{"sampler": 0, "source": number} for number in range(len(images))],
        "samplers": [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _CLAMP, "wrapT": _CLAMP}],
        "images": images,
    }
    return glb.bytes()


def add_materials(glb: Glb, named: dict[str, Any], unlit: bool, shaped: bool) -> dict[str, Any]:
    """Add the material of a head, whose texture 0 is its colour, and return what its primitives have to say of it.

    `shaped`: texture 1 is a normal map. An unlit material has no use for it: a second, lit one has it then, as the
    variant "lit by the viewer" (KHR_materials_variants).
    """
    lit = named | {
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": ROUGHNESS,
        },
    }  # fmt: skip
    bent = lit | {"normalTexture": {"index": 1}}
    if not unlit:
        glb.tree["materials"] = [bent if shaped else lit]
        return {"material": 0}
    glb.tree["materials"] = [lit | {"extensions": {"KHR_materials_unlit": {}}}]
    glb.tree["extensionsUsed"] = ["KHR_materials_unlit"]
    if not shaped:
        return {"material": 0}
    glb.tree["materials"].append(bent | {"name": f"{named['name']} lit by the viewer"})
    glb.tree["extensionsUsed"].append("KHR_materials_variants")
    names = [{"name": "light of the photos"}, {"name": "lit by the viewer"}]
    glb.tree["extensions"] = {"KHR_materials_variants": {"variants": names}}
    mappings = [{"material": number, "variants": [number]} for number in range(2)]
    return {"material": 0, "extensions": {"KHR_materials_variants": {"mappings": mappings}}}


def jpeg(image: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Return an image as JPEG with full colour resolution."""
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return held.getvalue()


def png(image: Shaped[np.ndarray, "h w *c"]) -> bytes:
    """Return an image of 8 or 16 bits as PNG."""
    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG", compress_level=4)
    return held.getvalue()


def _unit(normals: Shaped[np.ndarray, "u 3"]) -> Shaped[np.ndarray, "u 3"]:
    small = normals.astype(np.float32)
    return small / np.linalg.norm(small, axis=1, keepdims=True)


class Glb:
    """The two chunks of a GLB file while they are filled."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0", "generator": "protome"}}
        self.parts: list[bytes] = []
        self.length = 0

    def view(self, data: bytes, target: int | None = None) -> int:
        """Add bytes and return the number of their buffer view."""
        views = self.tree.setdefault("bufferViews", [])
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
        views.append(view if target is None else view | {"target": target})
        self.parts.append(data + b"\0" * (-len(data) % 4))
        self.length += len(self.parts[-1])
        return len(views) - 1

    def accessor(
        self, values: Shaped[np.ndarray, "n *c"], kind: str, target: int | None = None, extent: bool = False
    ) -> int:
        """Add an array and return the number of its accessor."""
        accessors = self.tree.setdefault("accessors", [])
        own: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes(), target),
            "componentType": _COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": kind,
        }
        if extent:
            own |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        accessors.append(own)
        return len(accessors) - 1

    def bytes(self) -> bytes:
        """Return the file (glTF 2.0 specification, section 4.4)."""
        self.tree["buffers"] = [{"byteLength": self.length}]
        text = json.dumps(self.tree, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        binary = b"".join(self.parts)
        head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
        return (
            head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        )
