"""Hair and clothes that no photo shows, in the colour of those that photos show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from protome.asset.choice import RENDERER_WEIGHT
from protome.asset.grain import NECK_MM, hair, like_skin
from protome.asset.smooth import Smoother, spanned
from protome.geometry.mesh import Mesh

_WELL = 0.2
"""Weight from which on a photo shows a vertex well."""
_FEWEST = 200
"""Vertices, of those that are seen and of those that are not, from which on their colours are compared."""
_MOST = 4.0
"""Limit of the gain, and of its inverse."""
_PASS_MM = 25.0
"""Length over which the gain begins beside what is seen."""
_BARE = 0.2
"""Share of what looks like skin among the unseen below the neck from which on clothes are not recognised there: bare
shoulders in the shade are brown, and so is hair on them."""
_DARKEST = 0.02
_LOWEST_MM = -190.0
"""Below this height photos often show hands, tables and other people."""
_ARM_MM, _ARM_TOP_MM = 150.0, -195.0
"""Farther from the middle and lower than this there are arms. What the prior says of their colours is orange or black
below a sleeve, because most of its people end there."""


def continued(
    mesh: Mesh, shown: Float[np.ndarray, "v s 3"], weights: Float[np.ndarray, "v s"]
) -> Float[np.ndarray, "v 3"]:
    """Return the mesh's colours, the renderer's, with hair and clothes that no photo shows in the colour of the seen.

    The renderer is fitted to what photos show. Behind, it keeps the prior's idea of a person whose front looks so, and
    the back of black hair may be brown. Each kind is multiplied by the ratio of the medians. Arms that no photo shows
    continue the shoulders. `shown` are the photos' smooth colours, with their weights. Head frame, millimetres.
    """
    colours = _followed(mesh, shown, weights)
    best, x, y = weights.max(1), mesh.vertices[:, 0], mesh.vertices[:, 1]
    arms = (best <= RENDERER_WEIGHT) & (np.abs(x) > _ARM_MM) & (y < _ARM_TOP_MM)
    photos = np.take_along_axis(shown, weights.argmax(1)[:, None, None], 1)[:, 0]
    known = np.where((best > RENDERER_WEIGHT)[:, None], photos, colours)
    return np.where(arms[:, None], np.clip(spanned(mesh, known, arms), 0, 1), colours)


def _followed(
    mesh: Mesh, shown: Float[np.ndarray, "v s 3"], weights: Float[np.ndarray, "v s"]
) -> Float[np.ndarray, "v 3"]:
    assert mesh.colours is not None
    best = weights.max(1)
    seen = best > _WELL
    photos = np.take_along_axis(shown, weights.argmax(1)[:, None, None], 1)[:, 0]
    known = np.where((best > RENDERER_WEIGHT)[:, None], photos, mesh.colours)
    height = mesh.vertices[:, 1]
    seen &= height > _LOWEST_MM
    unseen = best <= RENDERER_WEIGHT
    skin, torso = like_skin(mesh, known), height < NECK_MM
    clothes = ~skin & torso
    if skin[unseen & torso].sum() > _BARE * (unseen & torso).sum():
        clothes[:] = False
    gain, kinds = np.zeros((len(height), 3)), (hair(mesh, known), clothes)
    for kind in kinds:
        gain += np.where(kind[:, None], _gain(photos[kind & seen], mesh.colours[kind & unseen]), 0.0)
    if not gain.any():
        return mesh.colours
    share = Smoother.of(mesh, _PASS_MM)(np.where(unseen[:, None], gain, 0.0))
    return np.clip(mesh.colours * np.exp(np.where(np.any(kinds, axis=0)[:, None], share, 0.0)), 0, 1)


def _gain(seen: Float[np.ndarray, "k 3"], unseen: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Return the logarithm of the ratio of the medians; 0 where one of them has too few colours."""
    if min(len(seen), len(unseen)) < _FEWEST:
        return np.zeros(3)
    medians = [np.log(np.maximum(np.median(colours, axis=0), _DARKEST)) for colours in (seen, unseen)]
    return np.clip(medians[0] - medians[1], -np.log(_MOST), np.log(_MOST))
