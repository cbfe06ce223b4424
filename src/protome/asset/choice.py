"""Which photo colours which part of a head, and the low frequencies that join the parts without a seam."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu

from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges

RENDERER_WEIGHT = 0.03
"""Weight of the renderer's colours: they are taken where every photo has less."""
_REGION_MM = 12.0
"""Length over which the photos' weights are smoothed before the choice: parts are not smaller."""
_FEATHER_MM = 2.5
"""Length over which one photo's details pass into the next one's."""
_KEPT = 0.04
_KEPT_RENDERER = 1e-3
"""How strongly low frequencies keep to the photos' and to the renderer's own, per vertex, where seams weigh 1."""
_OUTLIER = 0.10
"""Distance from the median colour of three or more photos at which a photo counts half."""
_FEW = 3


@dataclass(frozen=True)
class Smoother:
    """Smoothing of values on the vertices of a mesh over a length (one implicit step of the heat equation)."""

    solve: object
    mass: Float[np.ndarray, "v"]

    @staticmethod
    def of(mesh: Mesh, length: float) -> Smoother:
        """Return the smoothing over a standard deviation in the mesh's unit."""
        mass = np.maximum(igl.massmatrix(mesh.vertices, mesh.faces).diagonal(), 1e-9)
        stiffness = -igl.cotmatrix(mesh.vertices, mesh.faces)
        return Smoother(splu(csc_array(diags_array(mass) + length**2 / 2 * stiffness)), mass)

    def __call__(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
        """Return smoothed values of each column."""
        return self.solve.solve(self.mass[:, None] * values)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Choice:
    """The sources' shares in the colours of a head; the last source is the renderer."""

    share: Float[np.ndarray, "v s"]
    """Share of each source's details at each vertex; the shares of a vertex add up to 1."""
    offset: Float[np.ndarray, "v s 3"]
    """What is added to each source's colours: it joins the parts, and is smooth within each."""


def choose(
    mesh: Mesh,
    weights: Float[np.ndarray, "v s"],
    colours: Float[np.ndarray, "v s 3"],
    direct: int,
) -> Choice:
    """Return the choice among photos for a closed mesh, from each source's weight and smooth colours at each vertex.

    The last source is the renderer, whose weight is positive everywhere; the first `direct` are photos, the others
    their mirror images. A source has no colour where its weight is 0.
    """
    weights = weights.copy()
    seen = weights > 0
    weights[:, :direct] *= agreement(colours[:, :direct], seen[:, :direct])
    region = Smoother.of(mesh, _REGION_MM)
    smooth = np.where(seen, region(weights), 0.0)
    smooth[:, -1] = RENDERER_WEIGHT
    label = smooth.argmax(1)
    chosen = np.eye(weights.shape[1])[label]
    feather = np.where(seen, np.maximum(Smoother.of(mesh, _FEATHER_MM)(chosen), 0), 0.0)
    feather = np.where(feather > 0.02, feather, 0.0)
    share = feather / feather.sum(1, keepdims=True)
    low = joined(mesh.faces, label, seen, colours, _blended(weights, colours, label, direct))
    return Choice(share, np.where(seen[..., None], low[:, None] - colours, 0.0))


def agreement(colours: Float[np.ndarray, "v s 3"], seen: Bool[np.ndarray, "v s"]) -> Float[np.ndarray, "v s"]:
    """Return factors for the photos' weights: near 1 where a colour agrees with the median of three or more photos.

    Highlights, hair and people in front of the head differ from it. Where fewer photos see a vertex all factors are 1.
    """
    median = np.nan_to_num(np.nanmedian(np.where(seen[..., None], colours, np.nan), axis=1, keepdims=True))
    apart = np.abs(colours - median).max(-1)
    return np.where((seen.sum(1) >= _FEW)[:, None], 1 / (1 + (apart / _OUTLIER) ** 4), 1.0)


def _blended(
    weights: Float[np.ndarray, "v s"], colours: Float[np.ndarray, "v s 3"], label: Int[np.ndarray, "v"], direct: int
) -> Float[np.ndarray, "v 3"]:
    """Return the weighted mean of the photos' colours where one of them is chosen, elsewhere the chosen colour."""
    own = np.take_along_axis(colours, label[:, None, None], 1)[:, 0]
    total = weights[:, :direct].sum(1)
    mean = (weights[:, :direct, None] * colours[:, :direct]).sum(1) / np.maximum(total, 1e-9)[:, None]
    return np.where(((label < direct) & (total > 0))[:, None], mean, own)


def joined(
    faces: Int[np.ndarray, "f 3"],
    label: Int[np.ndarray, "v"],
    seen: Bool[np.ndarray, "v s"],
    colours: Float[np.ndarray, "v s 3"],
    wanted: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 3"]:
    """Return colours at the vertices whose differences along edges are the chosen sources', without a step at seams.

    A screened Poisson equation (Bhat et al. 2008): at seams the difference is the mean of both sources', and everything
    keeps near `wanted`, renderer and mirror images less so than photos.
    """
    first, second = Edges.of(faces).ends.T
    steps, weight = np.zeros((len(first), 3)), np.zeros(len(first))
    for end in (first, second):
        source = label[end]
        known = seen[first, source] & seen[second, source]
        difference = colours[second, source] - colours[first, source]
        steps += np.where(known[:, None], difference, 0.0)
        weight += known
    steps = steps / np.maximum(weight, 1)[:, None]
    count = len(label)
    incidence = coo_array(
        (np.r_[-np.ones(len(first)), np.ones(len(first))], (np.tile(np.arange(len(first)), 2), np.r_[first, second])),
        shape=(len(first), count),
    ).tocsr()
    kept = np.where(label == seen.shape[1] - 1, _KEPT_RENDERER, _KEPT)
    system = csc_array(incidence.T @ incidence + diags_array(kept))
    return splu(system).solve(incidence.T @ steps + kept[:, None] * wanted)
