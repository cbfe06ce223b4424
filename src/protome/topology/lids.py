"""The colour of lids: skin that an open eye folds away, so that its photo shows lashes and eyeball there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

from protome.geometry.extension import laplacian, smooth_extension
from protome.topology.template import Part, Template

NEAR_EYE = 2.6
"""Radii around an eyeball's centre within which lids lie, and the skin whose colour they take."""
PLAIN, HIDDEN = 1.25, 1.9
"""How many times as large as on an open eye skin is on a closed one: below the first it keeps the photo's colour, above
the second it has none of it."""
STIFFNESS = 30.0
"""Of the colours' smoothness, against the colours beside the lids."""
DARK = 0.4
"""Share of the skin around the eyes that is darker than lids: brows, lashes and folds."""
LASHES = 0.4
"""Share of the light that the upper lid's margin loses by its lashes."""


def folded(template: Template) -> Float[np.ndarray, "v"]:
    """Return how much of each vertex's skin an open eye hides: 0 where none, 1 where nearly all."""
    faces = _skin(template)
    stretch = np.ones(len(template.vertices))
    for side in ("Left", "Right"):
        closed = template.vertices + template.moves[template.names.index(f"eyeBlink{side}")]
        ratio = _areas(closed, faces) / np.maximum(_areas(template.vertices, faces), 1e-9)
        np.maximum.at(stretch, faces.ravel(), np.repeat(ratio, 3))
    near = _near(template)
    return np.where(near >= 0, np.clip((stretch - PLAIN) / (HIDDEN - PLAIN), 0.0, 1.0), 0.0)


def margin(template: Template) -> Float[np.ndarray, "v"]:
    """Return 1 at the margins of the upper lids, where lashes grow, and 0 elsewhere."""
    found = np.zeros(len(template.vertices))
    upper = template.lids[..., 0]
    found[upper[upper >= 0]] = 1.0
    return found


def lid_colours(
    template: Template, hidden: Float[np.ndarray, "v"], colours: Float32[np.ndarray, "v 3"]
) -> Float32[np.ndarray, "v 3"]:
    """Return colours of vertices in which folded skin continues the skin around it.

    `hidden` is what `folded` returns. Inner edges of lids are not followed: they have the eye's colour.
    """
    found = colours.copy()
    near, faces = _near(template), _skin(template)
    for number in range(len(template.pivots)):
        index = np.flatnonzero(near == number)
        number_of = np.full(len(near), -1)
        number_of[index] = np.arange(len(index))
        inside = (number_of[faces] >= 0).all(1)
        known = (hidden[index] <= 0) & (margin(template)[index] <= 0)
        brightness = colours[index].mean(1)
        known &= brightness >= np.quantile(brightness[known], DARK)
        smooth = smooth_extension(
            laplacian(number_of[faces[inside]], len(index)), known.astype(float), colours[index].astype(float),
            STIFFNESS,
        )  # fmt: skip
        low, high = np.quantile(colours[index][known], [0.05, 0.95], axis=0)
        share = hidden[index, None]
        found[index] = ((1 - share) * colours[index] + share * smooth.clip(low, high)).astype(np.float32)
    return found


def _skin(template: Template) -> Int[np.ndarray, "f 3"]:
    return template.triangles[template.triangle_part == Part.SKIN]


def _near(template: Template) -> Int[np.ndarray, "v"]:
    """Return the number of the eye near which a vertex of skin lies, or -1."""
    skin, found = template.has(Part.SKIN), np.full(len(template.vertices), -1)
    for number, (pivot, radius) in enumerate(zip(template.pivots, template.radii, strict=True)):
        found[skin & (np.linalg.norm(template.vertices - pivot, axis=1) < NEAR_EYE * radius)] = number
    return found


def _areas(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f"]:
    corners = vertices[faces]
    return 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
