"""Which photo colours which part of a head, and the low frequencies that join the parts without a seam."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.csgraph import dijkstra

from protome.asset.smooth import Smoother, factors
from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges

RENDERER_WEIGHT = 0.08
"""Weight of the renderer's colours: they are taken where every photo has less."""
_REGION_MM = 12.0
"""Length over which the photos' weights are smoothed before the choice: parts are not smaller."""
_FEATHER_MM = 2.5
"""Length over which one photo's details pass into the next one's."""
_KEPT_MM, _KEPT_OTHER_MM = 12.0, 60.0
"""Length from a seam over which photos, and over which mirror images and the renderer, give way to what they join."""
_FIXED = 1e6
_GAP_MM = 8.0
"""Half the width up to which a gap between what photos show takes the colours of its rims."""
_HOLLOWS_MM = 0.0
"""Below this height there are dark hollows that no photo looks into: nostrils, ears, the mouth."""
_OUTLIER = 0.10
"""Distance from the median colour of three or more photos at which a photo counts half."""
_FEW = 3


@dataclass(frozen=True)
class Choice:
    """The sources' shares in the colours of a head; the last source is the renderer."""

    share: Float[np.ndarray, "v s"]
    """Share of each source's details at each vertex; the shares of a vertex add up to 1."""
    offset: Float[np.ndarray, "v s 3"]
    """What is added to each source's colours: it joins the parts, and is smooth within each."""
    low: Float[np.ndarray, "v 3"]
    """The smooth colours that result."""


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
    # Of a lone vertex whose neighbours show a source that does not show it, nothing is left.
    feather = np.where(feather.any(1, keepdims=True), feather, chosen)
    share = feather / feather.sum(1, keepdims=True)
    low = joined(mesh, label, seen, colours, _blended(weights, colours, label, direct), direct)
    return Choice(share, np.where(seen[..., None], low[:, None] - colours, 0.0), low)


def agreement(colours: Float[np.ndarray, "v s 3"], seen: Bool[np.ndarray, "v s"]) -> Float[np.ndarray, "v s"]:
    """Return factors for the photos' weights: near 1 where a colour agrees with the median of three or more photos.

    Highlights, hair and people in front of the head differ from it. Where fewer photos see a vertex all factors are 1.
    """
    many = seen.sum(1) >= _FEW
    factors = np.ones(seen.shape)
    if many.any():
        shown = np.where(seen[many][..., None], colours[many], np.nan)
        apart = np.abs(shown - np.nanmedian(shown, axis=1, keepdims=True)).max(-1)
        factors[many] = 1 / (1 + (np.nan_to_num(apart) / _OUTLIER) ** 4)
    return factors


def _blended(
    weights: Float[np.ndarray, "v s"], colours: Float[np.ndarray, "v s 3"], label: Int[np.ndarray, "v"], direct: int
) -> Float[np.ndarray, "v 3"]:
    """Return the weighted mean of the photos' colours where one of them is chosen, elsewhere the chosen colour."""
    own = np.take_along_axis(colours, label[:, None, None], 1)[:, 0]
    total = weights[:, :direct].sum(1)
    mean = (weights[:, :direct, None] * colours[:, :direct]).sum(1) / np.maximum(total, 1e-9)[:, None]
    return np.where(((label < direct) & (total > 0))[:, None], mean, own)


def joined(
    mesh: Mesh,
    label: Int[np.ndarray, "v"],
    seen: Bool[np.ndarray, "v s"],
    colours: Float[np.ndarray, "v s 3"],
    wanted: Float[np.ndarray, "v 3"],
    direct: int,
) -> Float[np.ndarray, "v 3"]:
    """Return colours at the vertices whose differences along edges are the chosen sources', without a step at seams.

    A screened Poisson equation (Bhat et al. 2008): at seams the difference is the mean of both sources', and everything
    keeps near `wanted`. Photos are joined first; mirror images and the renderer then join them, and do not change them.
    Where the renderer fills a narrow gap, its differences do not count.
    """
    ends = Edges.of(mesh.faces).ends
    first, second = ends.T
    steps, weight = np.zeros((len(first), 3)), np.zeros(len(first))
    filled = gaps(mesh, label == seen.shape[1] - 1)
    for end in (first, second):
        source = label[end]
        known = seen[first, source] & seen[second, source] & ~filled[end]
        steps += np.where(known[:, None], colours[second, source] - colours[first, source], 0.0)
        weight += known
    steps = steps / np.maximum(weight, 1)[:, None]
    area = np.maximum(igl.massmatrix(mesh.vertices, mesh.faces).diagonal(), 1e-6)
    photo = label < direct
    low = wanted.copy()
    for chosen, length, known in ((photo, _KEPT_MM, np.zeros_like(photo)), (~photo, _KEPT_OTHER_MM, photo)):
        used = (chosen[first] & (chosen | known)[second]) | (chosen[second] & (chosen | known)[first])
        if chosen.any():
            low = _poisson(ends[used], steps[used], np.where(chosen, area / length**2, _FIXED), low)
    return low


def gaps(mesh: Mesh, unseen: Bool[np.ndarray, "v"]) -> Bool[np.ndarray, "v"]:
    """Return which unseen vertices above the eyes lie in gaps: near what is seen, and not at the rim of a wide part.

    A fold of hair over skin hides a strip of both. The field may be of another mind there than the photo beside it, and
    a dark line would remain. This is the morphological closing of what is seen, along the mesh's edges; head frame,
    millimetres.
    """
    if not unseen.any() or unseen.all():
        return np.zeros_like(unseen)
    ends = Edges.of(mesh.faces).ends
    lengths = np.linalg.norm(mesh.vertices[ends[:, 0]] - mesh.vertices[ends[:, 1]], axis=1)
    graph = coo_array((np.maximum(lengths, 1e-6), ends.T), shape=(len(unseen),) * 2).tocsr()

    def far(starts: Bool[np.ndarray, "v"]) -> Bool[np.ndarray, "v"]:
        away = dijkstra(graph, directed=False, indices=np.flatnonzero(starts), limit=_GAP_MM, min_only=True)
        return ~np.isfinite(away)

    wide = far(~unseen)
    closed = far(wide) if wide.any() else unseen
    return unseen & closed & (mesh.vertices[:, 1] > _HOLLOWS_MM)


def _poisson(
    ends: Int[np.ndarray, "e 2"],
    steps: Float[np.ndarray, "e 3"],
    kept: Float[np.ndarray, "v"],
    wanted: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 3"]:
    """Return values whose differences along edges are near `steps` and that are near `wanted`, `kept` as much."""
    number, count = np.arange(len(ends)), len(kept)
    signs = np.r_[-np.ones(len(ends)), np.ones(len(ends))]
    incidence = coo_array((signs, (np.r_[number, number], ends.T.reshape(-1))), shape=(len(ends), count)).tocsr()
    system = csc_array(incidence.T @ incidence + diags_array(kept))
    return factors(system).solve(incidence.T @ steps + kept[:, None] * wanted)
