"""Random bare heads with neutral faces: the training data for the head model's identities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protome.population.faces import FaceModes
from protome.population.makehuman.shapes import MakeHumanShapes
from protome.population.people import draw_identity, region_masks
from protome.population.sources.valid import EYE_CORNERS, ValidHeads

DETAIL_SHARE, DETAIL_SPREAD = 0.08, 0.35
"""How many of MakeHuman's sliders a person has off their middle, and how far."""
OWN_SHARE = 0.2
"""Share of people with an avatar's own face; the others have the face model's, or a mixture."""


@dataclass(frozen=True)
class HeadShapes:
    """Draws bodies from the sources, without held-out people."""

    valid: ValidHeads
    faces: FaceModes
    sliders: MakeHumanShapes | None
    bald: tuple[str, ...]
    """Training avatars whose scalp is bare: the others' carries hair in its shape."""
    template: Float[np.ndarray, "v 3"]
    """The mean bare head, metres, origin between the eyes."""
    masks: Float[np.ndarray, "r v"]

    @staticmethod
    def of(valid: ValidHeads, faces: FaceModes, sliders: MakeHumanShapes | None) -> HeadShapes:
        """Prepare the sources."""
        bald = tuple(name for name in valid.training_names if valid.is_bald(name))
        mean = np.mean([valid.body(name) for name in bald], 0)
        face = faces.face[:, None]
        template = (1 - face) * mean + face * (valid.mean + faces.towards_mean)
        template = template - template[[valid.landmarks[key] for key in EYE_CORNERS]].mean(0)
        return HeadShapes(valid, faces, sliders, bald, template, region_masks(template))

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "v 3"]:
        """Return the body of one person, metres."""
        chosen = rng.choice(len(self.bald), 3)
        own = np.tensordot(rng.dirichlet([2.0, 1.0, 1.0]), np.stack([self.valid.body(self.bald[k]) for k in chosen]), 1)
        kept = rng.choice([0.0, rng.uniform(0, 0.6), 1.0], p=[0.5, 0.5 - OWN_SHARE, OWN_SHARE])
        moves = (1 - 0.5 * kept) * draw_identity(self.faces, self.masks, self.template, rng)
        if self.sliders is not None:
            moves = moves + np.tensordot(self._sliders(rng).astype(np.float32), self.sliders.modes, 1)
        mean = self.faces.towards_mean
        target = (1 - kept) * (self.valid.mean + mean) + kept * (own + 0.3 * mean)
        face = self.faces.face[:, None]
        return (1 - face) * own + face * target + moves

    def _sliders(self, rng: np.random.Generator) -> Float[np.ndarray, "m"]:
        """Return the weights of MakeHuman's sliders: a handful of details, and for some people age and sex."""
        assert self.sliders is not None
        names = self.sliders.names
        details = np.array([not name.startswith("macro-") for name in names])
        weights = rng.normal(0, DETAIL_SPREAD, len(names)) * (rng.random(len(names)) < DETAIL_SHARE) * details
        if "macro-old" in names and rng.random() < 0.25:
            weights[names.index("macro-old")] = rng.uniform(0.1, 0.9)
        if "macro-male" in names and rng.random() < 0.4:
            weights[names.index("macro-male")] = rng.normal(0, 0.3)
        return weights

    def stream(self, seed: int) -> Iterator[Float[np.ndarray, "v 3"]]:
        """Yield people without end; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        while True:
            yield self.draw(rng)
