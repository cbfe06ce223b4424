"""What a fit begins with: the scene without what contradicts itself, estimates of the head, and its size."""

from __future__ import annotations

from dataclasses import dataclass

from protome.capture.size import Size
from protome.encoder.encoder import LatentEstimate
from protome.encoder.scale import MetricScale, sized
from protome.fit.methods import Method
from protome.fit.support import supported, with_one_body
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene


@dataclass(frozen=True)
class Beginning:
    """A scene with the head in its size, and what is estimated of the head; `fit_head` goes on from here."""

    scene: Scene
    estimate: LatentEstimate | None
    expressions: tuple[LatentStatistics, ...]
    """One for all photos, or one for each."""
    size: Size
    shown: int
    """The front-most photo, whose expression the head gets."""


def begin(scene: Scene, prior: Prior, chosen: Method, size: MetricScale | None = None) -> Beginning:
    """Return what a method's fit to a scene begins with. `size` is a known length of the person.

    Raises:
        InputError: as `protome.encoder.scale.sized`.
    """
    # A field on the processor: the masks' rays are followed there.
    resting = prior.to("cpu")
    scene = supported(scene, resting.bounds, resting.bind(resting.mean()).sdf)
    estimate = chosen.estimate(scene, prior)
    expressions = chosen.expressions(scene, prior, estimate)
    scene, estimate, found = sized(size, estimate, scene, prior)
    shown = next(iter(scene.front_most()), 0)
    return Beginning(with_one_body(scene, estimate, shown), estimate, expressions, found, shown)
