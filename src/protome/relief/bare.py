"""Where a photo shows bare skin, by what the perception network sees: hair and beards have no relief of skin."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool

from protome.capture.skin import disc
from protome.perception.parts import BEARD, FRONT, HAIR
from protome.perception.perceive import perceive
from protome.perception.sight import packaged_sight
from protome.scene import View

MOST_COVERED = 0.5
"""Probability of hair, beard or things in front up to which skin counts as bare."""


def bare(view: View, least: float) -> Bool[np.ndarray, "h w"]:
    """Return the pixels where neither hair nor a beard nor a thing in front is seen; all, where no network is used.

    What has a smaller radius than `least`, pixels, is ignored.
    """
    sight = packaged_sight()
    shape = view.image.shape[0], view.image.shape[1]
    if sight is None or not sight.uses_people or view.landmarks is None:
        return np.ones(shape, bool)
    parts = perceive(sight.network, view.image, view.landmarks[:468]).parts_on(*shape)
    covered = (parts[..., [HAIR, BEARD, FRONT]].sum(-1) > MOST_COVERED).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(covered, cv2.MORPH_OPEN, disc(max(1, round(least))))) == 0
