"""`MetricScale`: a known length that fixes a head's scale, and the distance from the camera that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture.size import PRIOR_STD, Size, estimate_size
from protome.capture.skin import eyes_closed
from protome.encoder.encoder import LatentEstimate
from protome.encoder.features import IRIS, mean_pupils
from protome.errors import InputError
from protome.face import NOSE_TIP
from protome.geometry.camera import Camera
from protome.geometry.pose import turned_degrees
from protome.geometry.transforms import Similarity
from protome.prior.prior import HeadLatents, Prior
from protome.scene import Scene, View
from protome.units import UNIT_MM

PUPILS_MM = (40.0, 85.0)
"""Interpupillary distances from the smallest child's to the largest adult's."""
DISTANCE_MM = (150.0, 20_000.0)
NO_PUPILS = "no photo shows both pupils from the front, eyes open: leave --pupils out, or add one that does"
MOST_TURNED = 30.0
"""Degrees from the front up to which both pupils are visible enough to determine their distance."""


@dataclass(frozen=True)
class MetricScale:
    """One known length in millimetres: a single photo, or photos without known cameras, leave the scale open."""

    pupils_mm: float | None = None
    """Interpupillary distance, with the gaze of the photos; opticians measure it."""
    distance_mm: float | None = None
    """From the camera to the tip of the nose; for a single photo."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: none or both are given, or one is no human's.
        """
        if (self.pupils_mm is None) == (self.distance_mm is None):
            raise InputError("the scale follows from the pupils' distance or the camera's: give one of the two")
        for option, value, (least, most) in (
            ("pupils", self.pupils_mm, PUPILS_MM), ("distance", self.distance_mm, DISTANCE_MM)
        ):  # fmt: skip
            if value is not None and not least <= value <= most:
                raise InputError(f"--{option} {value:g}: give {least:g} to {most:g} millimetres")

    def known(self, estimate: LatentEstimate | None, scene: Scene, prior: Prior) -> LatentEstimate:
        """Return the estimate with each photo's head at the distance from its camera that this length implies.

        Raises:
            InputError: there is no estimate, because the cameras fix the scale; a camera's distance is given for
                several photos; or the pupils' and no photo shows both.
        """
        if estimate is None:
            raise InputError(
                "--pupils and --distance set the scale for the methods protome and sira++, from one photo or from "
                "photos without common cameras: leave them out here"
            )
        if self.distance_mm is not None and len(scene.views) > 1:
            raise InputError(f"--distance is of one photo, and there are {len(scene.views)}: give --pupils instead")
        cameras, nose = _estimated_cameras(estimate, scene), _nose(estimate, prior)
        factors = [self._distance_factor(view, camera, nose) for view, camera in zip(scene.views, cameras, strict=True)]
        known = [factor for factor in factors if factor is not None]
        if not known:
            raise InputError(NO_PUPILS)
        return _moved(estimate, cameras, nose, float(torch.tensor(known).log().median().exp()))

    def scaled(self, scene: Scene) -> Scene:
        """Return a scene whose cameras were found together, in the size that this length implies.

        Raises:
            InputError: a camera's distance is given; or no photo shows both pupils.
        """
        if self.pupils_mm is None:
            raise InputError(f"--distance is of one photo, and there are {len(scene.views)}: give --pupils instead")
        views = scene.to(torch.float64).in_head_frame().views
        found = [self._distance_factor(view, own.camera, None) for view, own in zip(scene.views, views, strict=True)]
        known = [factor for factor in found if factor is not None]
        if not known:
            raise InputError(NO_PUPILS)
        return _scaled(scene, float(torch.tensor(known).log().median().exp()))

    def _distance_factor(self, view: View, camera: Camera, nose: Float[Tensor, "3"] | None) -> float | None:
        """Return the true over the estimated distance from a camera (head frame, inner unit); None if unknown."""
        if self.distance_mm is not None and nose is not None:
            return self.distance_mm / UNIT_MM / float((nose - camera.centre).norm())
        assert self.pupils_mm is not None
        if view.landmarks is None or turned_degrees(camera.centre.numpy()) > MOST_TURNED:
            return None
        if eyes_closed(view.landmarks):
            return None
        irises = view.landmarks[-2 * IRIS :: IRIS].double()
        rays = camera.unproject(irises)
        eyes = camera.to_camera(mean_pupils() / UNIT_MM)
        apart = torch.nn.functional.normalize(eyes[1] - eyes[0], dim=0) * self.pupils_mm / UNIT_MM
        # One pupil lies on each ray; the head's orientation gives the direction from one to the other.
        depths = torch.linalg.lstsq(torch.stack([-rays[0], rays[1]], 1), apart[:, None]).solution
        return float(depths.mean() / eyes[:, 2].mean())


def sized(
    given: MetricScale | None, estimate: LatentEstimate | None, scene: Scene, prior: Prior
) -> tuple[Scene, LatentEstimate | None, Size]:
    """Return scene and estimate with the head in its size in millimetres, and where that comes from.

    A given length fixes the size; otherwise given cameras do; without such cameras it is estimated from the photos. The
    factor of the size that is returned is then applied already: to the cameras where all photos have placed them, else
    to the estimate.

    Raises:
        InputError: as `MetricScale.known` and `MetricScale.scaled`.
    """
    if given is not None:
        size = Size(1.0, None, ("the pupils' distance" if given.pupils_mm is not None else "the camera's distance",))
        if scene.estimate is not None:
            return given.scaled(scene), estimate, size
        return scene, given.known(estimate, scene, prior), size
    millimetres = Similarity.scaling(UNIT_MM, torch.float64)
    if scene.estimate is not None:
        views = scene.to(torch.float64).in_head_frame().views
        size = estimate_size(scene.views, [view.camera.transformed(millimetres) for view in views])
        return _scaled(scene, size.factor), estimate, size
    if estimate is None:
        known = (
            Size(1.0, None, ("the scene's cameras",)) if scene.metric else Size(1.0, 100 * PRIOR_STD, ("the prior",))
        )
        return scene, None, known
    cameras = _estimated_cameras(estimate, scene)
    size = estimate_size(scene.views, [camera.transformed(millimetres) for camera in cameras])
    return scene, _moved(estimate, cameras, _nose(estimate, prior), size.factor), size


def _scaled(scene: Scene, factor: float) -> Scene:
    """Return a scene in the head frame with the distances to its cameras multiplied by a factor."""
    scaling = Similarity.scaling(factor)
    return replace(scene, views=tuple(view.transformed(scaling) for view in scene.views))


def _estimated_cameras(estimate: LatentEstimate, scene: Scene) -> list[Camera]:
    """Return the photos' cameras in the estimated head frame, inner unit."""
    views = scene.to(torch.float64).in_head_frame().views
    return [view.camera.transformed(correction) for view, correction in zip(views, estimate.corrections, strict=True)]


def _nose(estimate: LatentEstimate, prior: Prior) -> Float[Tensor, "3"]:
    """Return the tip of the estimated nose, head frame, inner unit."""
    device = prior.bounds.device
    latents = HeadLatents(estimate.shape.mean.to(device), estimate.appearance.mean.to(device))
    return prior.landmarks_of(prior.field, latents)[NOSE_TIP].double().cpu()


def _moved(
    estimate: LatentEstimate, cameras: Sequence[Camera], nose: Float[Tensor, "3"], factor: float
) -> LatentEstimate:
    """Return the estimate with the distances from the cameras to the nose multiplied by a factor."""
    moved = []
    for camera, correction in zip(cameras, estimate.corrections, strict=True):
        back = (1 - factor) * (nose - camera.centre)
        moved.append(Similarity(torch.eye(3).double(), back, torch.ones(()).double()).compose(correction))
    return replace(estimate, corrections=tuple(moved))
