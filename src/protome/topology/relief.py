"""The normal map of a head in the template's layout: what the reconstruction's mesh and its own map have beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from protome.asset.picture import Textured
from protome.asset.source import sampled
from protome.asset.tangents import FLAT, axes_at, decoded, encoded, tangents
from protome.topology.fitted import TemplateHead
from protome.topology.laid import Laid, layout, meetings
from protome.topology.template import Part

STEEPEST = 0.5
"""Least cosine between a normal and the template's own: in folds the nearest surface may be another one."""


@dataclass(frozen=True)
class TemplateRelief:
    """A normal map in the template's layout."""

    image: UInt8[np.ndarray, "n n 3"]
    """As glTF has it: red to the right, green upwards, blue outwards; 0 to 255 is -1 to 1."""
    tangents: Float32[np.ndarray, "t 4"]
    """glTF's tangents of the template's texture vertices."""

    @staticmethod
    def of(head: TemplateHead, source: Textured, image: UInt8[np.ndarray, "n n 3"]) -> TemplateRelief:
        """Return the relief of skin and hair from a textured mesh with normals and its normal map, `image`.

        Everything else, and what meets nothing of the mesh nearby, keeps the template's own normals.
        """
        atlas = layout(head.template, head.vertices)
        assert atlas.mesh.normals is not None
        assert source.normals is not None
        own = atlas.mesh.normals[atlas.vertex]
        frame = tangents(atlas.mesh.vertices[atlas.vertex], own, atlas.uv, atlas.faces)
        given = tangents(source.vertices, source.normals, source.uv, source.faces)
        laid = Laid.of(head, len(image))
        flat = np.tile(FLAT, (len(laid.part), 1))
        values = image.astype(np.float32)
        for met in meetings(laid, atlas.mesh.normals, source):
            seen = sampled(values, met.on(source.uv * image.shape[1::-1], source.faces))
            wanted = decoded(seen, axes_at(source.faces[met.face], met.weights, source.normals, given))
            texels = laid.texels.part(met.texel)
            axes = axes_at(atlas.faces[texels.face], texels.weights, own, frame)
            solid = np.isin(laid.part[met.texel], (Part.SKIN, Part.HAIR))
            usable = solid & ((wanted * axes[2]).sum(1) > STEEPEST)
            flat[met.texel[usable]] = encoded(wanted, axes)[usable]
        return TemplateRelief(laid.texels.image(flat), frame)
