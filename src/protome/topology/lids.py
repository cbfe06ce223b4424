"""The colour of lids: skin that an open eye folds away, so that its photo shows lashes and eyeball there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from trimesh import Trimesh

from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.neighbours import tree_of
from protome.topology.template import Part, Template

NEAR_EYE = 2.6
"""Radii around an eyeball's centre within which lids lie, and the skin whose colour they take."""
PLAIN, HIDDEN = 1.25, 1.9
"""How many times as large as on an open eye skin is on a closed one: below the first it keeps the photo's colour, above
the second it has none of it."""
EDGE_MM, EDGE_STIFFNESS = 2.0, 2.0
"""Distance beyond hidden skin over which a lid's colours go over to the photo's, and the smoothness of that."""
LASHES_MM = (3.0, 5.0)
"""Distances from an open eye's margin up to which a photo shows lashes and liner, and beyond which it shows skin."""
VISIBLE = 0.25
"""How much the colours of hidden skin count that lies beyond the lashes, against those of skin around the lids."""
STIFFNESS = (60.0, 6.0)
"""Of the colours' smoothness: in the first pass, which finds lashes and brows, and in the second."""
DARKER = 0.12
"""Departure of brightness from the first pass, as a share, at which skin counts half: lashes and brows are darker."""
RANGE = (0.3, 0.9)
"""Quantiles of the brightness of the skin around within which a lid's lies: crease and liner are no lid."""
TINTS = (0.2, 0.8)
"""The same for each channel without the brightness."""
SHADE = (-0.25, 0.1)
"""The most that a closed lid's own slope darkens and brightens it, in logarithms."""
LINE_MM, LASHES = (1.8, 3.0), 0.45
"""Distances from an upper lid's margin, which lies behind its edge, within which and up to which lashes darken a lid;
and the share of the light that they take."""
GRAIN = (0.004, 0.015)
"""Least and largest standard deviation of a lid's grain, as a share of its brightness."""


@dataclass(frozen=True)
class LidColours:
    """What the texels of lids are painted with, at the vertices of the template."""

    share: Float[np.ndarray, "v"]
    """How much of it shows: 0 on skin that keeps the photo's colour, 1 on folded skin."""
    colours: Float32[np.ndarray, "v 3"]
    grain: float
    """Standard deviation of the skin's small irregularities around the eyes, as a share of its brightness."""


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


def lid_colours(
    template: Template, vertices: Float[np.ndarray, "v 3"], colours: Float32[np.ndarray, "v 3"]
) -> LidColours:
    """Return colours of lids that continue those of the skin around, with the shade that closed lids have.

    `vertices` is the template on a head, `colours` what the head's texture has at them. Lids are taken as they are on
    a closed eye. What the photo shows of a lid's skin beyond the lashes counts too, so that its make-up is kept.
    """
    hidden, near, faces = folded(template), _near(template), _skin(template)
    share, found, grains = np.zeros(len(near)), colours.copy(), [GRAIN[0]]
    before, after = _normals(vertices, faces), _normals(_closed(template, vertices), faces)
    light = _light(template, before, colours)
    for number in range(len(template.pivots)):
        index = np.flatnonzero(near == number)
        number_of = np.full(len(near), -1)
        number_of[index] = np.arange(len(index))
        smoothness = laplacian(number_of[faces[(number_of[faces] >= 0).all(1)]], len(index))
        known = _known(template, number, hidden, index)
        lit, shade = before[index] @ light, after[index] @ light
        own = np.log(colours[index].clip(0.02).astype(float)) - lit[:, None]
        even = smooth_extension(smoothness, known, own, STIFFNESS[0])
        away = (own - even).mean(1)
        trusted = known / (1 + (away / DARKER) ** 2)
        even = smooth_extension(smoothness, trusted, own, STIFFNESS[1])
        sure = (trusted > 0.5) & (hidden[index] <= 0)
        middle = np.median(lit[sure])
        shade = np.clip(shade - middle, *SHADE)
        even = _within(even, own[sure])
        lashes = LASHES * _lash_line(template, number, index, hidden)
        found[index] = np.exp(even + middle + shade[:, None]) * (1 - lashes)[:, None]
        rim = tree_of(template.vertices[index[hidden[index] > 0]]).query(template.vertices[index])[0]
        wide = np.where(hidden[index] > 0, 1.0, (1 - rim / EDGE_MM).clip(0, 1))
        weights = np.where((wide >= 1) | (wide <= 0), 1.0, 0.0)
        share[index] = smooth_extension(smoothness, weights, wide[:, None], EDGE_STIFFNESS)[:, 0].clip(0, 1)
        calm = trusted > 0.7
        grains.append(1.4826 * float(np.median(np.abs(away[calm]))) if calm.any() else GRAIN[0])
    return LidColours(share, found.clip(0, 1).astype(np.float32), float(np.clip(max(grains), *GRAIN)))


def _within(values: Float[np.ndarray, "i 3"], known: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "i 3"]:
    """Return logarithms of colours with brightness and tint in the ranges of known ones."""
    bright, own = values.mean(1, keepdims=True), known.mean(1, keepdims=True)
    tint = (values - bright).clip(*np.quantile(known - own, TINTS, axis=0))
    return bright.clip(*np.quantile(own, RANGE)) + tint


def _known(
    template: Template, number: int, hidden: Float[np.ndarray, "v"], index: Int[np.ndarray, "i"]
) -> Float[np.ndarray, "i"]:
    """Return how much the photo's colours of skin near an eye count."""
    margins = template.lids[number]
    away = tree_of(template.vertices[margins[margins >= 0]]).query(template.vertices[index])[0]
    clear = ((away - LASHES_MM[0]) / (LASHES_MM[1] - LASHES_MM[0])).clip(0, 1)
    return clear * np.where(hidden[index] > 0, VISIBLE, 1.0) * (template.trust[index] > 0.99)


def _lash_line(
    template: Template, number: int, index: Int[np.ndarray, "i"], hidden: Float[np.ndarray, "v"]
) -> Float[np.ndarray, "i"]:
    """Return 1 at the edge of an upper lid, where lashes grow, falling to 0 above it."""
    upper = template.lids[number][:, 0]
    line = template.vertices[upper[upper >= 0]]
    line = line[np.argsort(line[:, 0])]
    steps = np.linspace(0, len(line) - 1, 20 * len(line))
    line = np.stack([np.interp(steps, np.arange(len(line)), line[:, axis]) for axis in range(3)], 1)
    away = tree_of(line).query(template.vertices[index])[0]
    above = template.vertices[index, 1] > template.pivots[number, 1]
    return hidden[index] * above * (1 - ((away - LINE_MM[0]) / (LINE_MM[1] - LINE_MM[0])).clip(0, 1))


def _closed(template: Template, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Return a head with both eyes closed as the template closes them."""
    return vertices + sum(template.moves[template.names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))


def _light(
    template: Template, normals: Float[np.ndarray, "v 3"], colours: Float32[np.ndarray, "v 3"]
) -> Float[np.ndarray, "3"]:
    """Return by how much the logarithm of brightness rises along each axis of the skin's normals around the eyes.

    Brows, lashes and other dark places lie far from the plane that is fitted and lose their weight.
    """
    chosen = (_near(template) >= 0) & (template.trust > 0.99)
    design = np.concatenate([np.ones((int(chosen.sum()), 1)), normals[chosen]], 1)
    value = np.log(colours[chosen].mean(1).clip(0.02).astype(float))
    weights = np.ones(len(value))
    found = np.zeros(4)
    for _ in range(6):
        ridge = np.diag([1e-6, *[0.02 * len(value)] * 3])
        found = np.linalg.solve(design.T @ (weights[:, None] * design) + ridge, design.T @ (weights * value))
        weights = 1 / (1 + ((value - design @ found) / 0.1) ** 2)
    return found[1:]


def _normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    return np.array(Trimesh(vertices, faces, process=False).vertex_normals)


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
