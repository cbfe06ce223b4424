"""A head on the template: the same mesh for everybody, in one person's shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protome.geometry.mesh import Mesh
from protome.prior.prior import FittedHead
from protome.topology.eyes import Eyeballs, eyes_on_head, teeth_on_head
from protome.topology.hair import shell
from protome.topology.skin import skin_on_head
from protome.topology.template import Part, Template


@dataclass(frozen=True)
class TemplateHead:
    """One person's head with the template's vertices and polygons, head frame, millimetres."""

    template: Template
    vertices: Float[np.ndarray, "v 3"]
    eyes: Eyeballs

    @staticmethod
    def of(head: FittedHead, surface: Mesh, template: Template | None = None) -> TemplateHead:
        """Give a fitted head the template's mesh; `surface` is its closed outer surface, head frame, millimetres."""
        template = template or Template.load()
        vertices = teeth_on_head(template, skin_on_head(template, head, surface))
        vertices, eyes = eyes_on_head(template, vertices, surface)
        own = np.flatnonzero(template.has(Part.HAIR))
        number = np.full(len(vertices), -1)
        number[own] = np.arange(len(own))
        faces = number[template.triangles[template.triangle_part == Part.HAIR]]
        skin = Mesh(vertices, template.triangles[template.triangle_part == Part.SKIN])
        vertices[own] = shell(template.vertices[own], faces, skin, surface)
        return TemplateHead(template, vertices, eyes)
