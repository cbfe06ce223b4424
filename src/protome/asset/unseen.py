"""Hair and clothes that no photo shows, in the colour of those that photos show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from protome.asset.choice import RENDERER_WEIGHT
from protome.asset.grain import NECK_MM, hair, like_skin
from protome.asset.smooth import Smoother
from protome.geometry.mesh import Mesh

_WELL = 0.2
"""Weight from which on a photo shows a vertex well."""
_FEWEST = 200
"""Vertices, of those that are seen and of those that are not, from which on their colours are compared."""
_MOST = 4.0
"""Limit of the gain, and of its inverse."""
_PASS_MM = 25.0
"""Length over which the gain begins beside what is seen."""
_HUES = 0.25
"""Median deviation of the logarithms of red, green and blue relative to their mean from which on what is seen is of
several hues: a white top and the brown hair on it are no cloth's colour."""
_DARKEST = 0.02
_LOWEST_MM = -190.0
"""Below this height photos often show hands, tables and other people."""


def continued(
    mesh: Mesh, shown: Float[np.ndarray, "v s 3"], weights: Float[np.ndarray, "v s"]
) -> Float[np.ndarray, "v 3"]:
    """Return the mesh's colours, the renderer's, with hair and clothes that no photo shows in the colour of the seen.

    The renderer is fitted to what photos show. Behind, it keeps the prior's idea of a person whose front looks so, and
    the back of black hair may be brown. Each kind is multiplied by the ratio of the medians. `shown` are the photos'
    smooth colours, with their weights. Head frame, millimetres.
    """
    assert mesh.colours is not None
    best = weights.max(1)
    seen = best > _WELL
    photos = np.take_along_axis(shown, weights.argmax(1)[:, None, None], 1)[:, 0]
    known = np.where((best > RENDERER_WEIGHT)[:, None], photos, mesh.colours)
    height = mesh.vertices[:, 1]
    clothes = ~like_skin(mesh, known) & (height < NECK_MM)
    seen &= height > _LOWEST_MM
    unseen = best <= RENDERER_WEIGHT
    gain, kinds = np.zeros((len(height), 3)), (hair(mesh, known), clothes)
    for kind in kinds:
        gain += np.where(kind[:, None], _gain(photos[kind & seen], mesh.colours[kind & unseen]), 0.0)
    if not gain.any():
        return mesh.colours
    share = Smoother.of(mesh, _PASS_MM)(np.where(unseen[:, None], gain, 0.0))
    return np.clip(mesh.colours * np.exp(np.where(np.any(kinds, axis=0)[:, None], share, 0.0)), 0, 1)


def _gain(seen: Float[np.ndarray, "k 3"], unseen: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    """Return the logarithm of the ratio of the medians; 0 where one of them has too few colours, or the seen ones have
    several hues."""
    if min(len(seen), len(unseen)) < _FEWEST or hue_spread(seen) > _HUES:
        return np.zeros(3)
    medians = [np.log(np.maximum(np.median(colours, axis=0), _DARKEST)) for colours in (seen, unseen)]
    return np.clip(medians[0] - medians[1], -np.log(_MOST), np.log(_MOST))


def hue_spread(colours: Float[np.ndarray, "k 3"]) -> float:
    """Return the largest of the channels' median deviations, in logarithms relative to the mean of the channels."""
    logs = np.log(np.maximum(colours, _DARKEST))
    hues = logs - logs.mean(1, keepdims=True)
    return float(np.median(np.abs(hues - np.median(hues, axis=0)), axis=0).max())
