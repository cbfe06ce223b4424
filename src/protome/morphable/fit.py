"""Fitting a mesh head model to face landmarks in one or several photos of a person.

Where a model knows the places of MediaPipe's 468 landmarks, all of them are used ("dense"), otherwise the 68 that stand
for iBUG's. MediaPipe predicts a face mesh: the points of its outline stay on the skin when the head turns, and do not
slide along the silhouette as the jaw lines of other detectors do. They are located less accurately, and are weighted
less by the deviation that the model states for each landmark.

Source: Levenberg-Marquardt on robust residuals with Gaussian priors, in the spirit of Blanz and Vetter (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.least_squares import Residuals, minimise
from protome.geometry.pose import check_pose, solve_pose
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.morphable.ibug import from_mediapipe
from protome.morphable.model import MorphableModel, PosedHead, SurfaceAnchors, yaw_degrees

MEDIAPIPE, DENSE, IBUG = 478, 468, 68
POSE = 6
ZOOM_DEVIATION = 0.15
"""Standard deviation of the logarithm of a focal length that the file does not record, around the camera's own."""
JAW_DEVIATION = 0.15
"""Standard deviation of the jaw's turns in radians, for models that have a jaw."""
LEAST_FACING = 0.25
"""A landmark's deviation grows as its surface turns away from the camera, by at most one over this factor."""
SURE_TURNED, TURNED_DEGREES = 25.0, 15.0
"""Rotation of a face in degrees beyond which the deviations of all its landmarks grow, and the further rotation that
doubles them: the detector was made for faces from the front."""
WORST_FIT = 0.05
"""Largest weighted root mean square error of a plausible fit, in units of the face's size in the image."""
MOST_UNUSUAL = 3.0
"""Largest root mean square of a plausible identity's coefficients."""


@dataclass(frozen=True)
class Sighting:
    """Landmarks of the person in one photo."""

    landmarks: Float[Tensor, "l 2"]
    """Pixels: MediaPipe's 478, or iBUG's 68 from any detector."""
    camera: Camera
    """Its focal length and image size are used; its pose is estimated."""
    focal_known: bool = False
    """Whether the focal length is recorded and not assumed."""
    name: str = "the photo"


@dataclass(frozen=True)
class LandmarkFitConfig:
    """Settings of the fit."""

    points: Literal["dense", "ibug68"] = "dense"
    """Which landmarks to use of MediaPipe's: all, where the model knows them, or the 68 that stand for iBUG's."""
    trust: float = 0.5
    """Weight of the landmarks against the priors; below 1 because errors of neighbouring landmarks are correlated."""
    width: float = 2.0
    """Residual in deviations up to which the robust loss is quadratic."""
    max_steps: int = 40
    """Largest number of steps."""


@dataclass(frozen=True)
class LandmarkFit:
    """The result of a fit."""

    model: MorphableModel
    identity: Float[Tensor, "i"]
    """Standard deviations."""
    expressions: Float[Tensor, "p e"]
    """One for each photo."""
    turns: Float[Tensor, "p t 3"] | None
    """Rotation vectors of the joints in each photo, for models with joints."""
    cameras: tuple[Camera, ...]
    """One for each photo, posed in the head frame, millimetres."""
    error_px: tuple[float, ...]
    """Root mean square reprojection error in pixels, each landmark weighted by its accuracy."""
    relative_error: tuple[float, ...]
    """The same in units of the face's size in the image."""

    def head(self, photo: int = 0) -> PosedHead:
        """Return the person's head in the head frame, with the expression of one photo."""
        expressive = self.model.with_shape(self.identity).with_expression(self.expressions[photo])
        identity = Similarity.identity(self.identity.dtype)
        return expressive.with_pose(identity, None if self.turns is None else self.turns[photo])


def fit_landmarks(
    model: MorphableModel, sightings: Sequence[Sighting], config: LandmarkFitConfig | None = None
) -> LandmarkFit:
    """Return the maximum a posteriori person, expressions and cameras for the landmarks in one or several photos.

    All photos share one identity; each has its own expression, pose and, where it is not recorded, focal length.

    Raises:
        InputError: no photos; a number of landmarks that no detector here gives; or landmarks that fit no face.
    """
    config = config or LandmarkFitConfig()
    if not sightings:
        raise InputError("no landmarks given: give those of one or more photos of a person")
    photos = [PhotoResiduals.of(model.to(torch.float64), sighting, config) for sighting in sightings]
    sizes = len(model.identity), len(model.expression), photos[0].own
    layout = [_columns(sizes, number) for number in range(len(photos))]
    total = sizes[0] + len(photos) * (sizes[1] + sizes[2])
    pull = torch.zeros(total, dtype=torch.float64)
    for photo, columns in zip(photos, layout, strict=True):
        pull[columns] = photo.pull

    def evaluate(unknowns: Float[Tensor, "k"]) -> Residuals:
        values, rows = [], []
        for photo, columns in zip(photos, layout, strict=True):
            value, jacobian = photo.linearised(unknowns[columns])
            row = jacobian.new_zeros(len(value), total)
            row[:, columns] = jacobian
            values.append(value)
            rows.append(row)
        value = torch.cat(values)
        return Residuals(value, torch.cat(rows), torch.full_like(value, config.trust * config.width))

    start = torch.zeros(total, dtype=torch.float64)
    found = minimise(evaluate, start, pull, width=config.width, max_steps=config.max_steps, tolerance=1e-4).unknowns
    results = [photo.result(found[columns]) for photo, columns in zip(photos, layout, strict=True)]
    identity = found[: sizes[0]]
    _check(identity, results, sightings)
    precision = model.template.dtype
    turns = [result.turns for result in results if result.turns is not None]
    return LandmarkFit(
        model, identity.to(precision), torch.stack([result.expression for result in results]).to(precision),
        torch.stack(turns).to(precision) if turns else None, tuple(result.camera for result in results),
        tuple(result.error_px for result in results), tuple(result.error_px / result.face_px for result in results),
    )  # fmt: skip


def _columns(sizes: tuple[int, int, int], number: int) -> Tensor:
    """Return the unknowns that a photo depends on: the shared identity, its own expression, pose, zoom and jaw."""
    identity, own = sizes[0], sizes[1] + sizes[2]
    return torch.cat([torch.arange(identity), torch.arange(own) + identity + number * own])


def _check(identity: Tensor, results: Sequence[_Result], sightings: Sequence[Sighting]) -> None:
    for result, sighting in zip(results, sightings, strict=True):
        if not result.error_px < WORST_FIT * result.face_px:
            raise InputError(
                f"the landmarks of {sighting.name} fit no face of the model ({result.error_px:.0f} pixels apart): give "
                "a sharp photo that shows the face from the front or a three-quarter view"
            )
    unusual = float(identity.square().mean().sqrt()) if len(identity) else 0.0
    if not unusual < MOST_UNUSUAL:
        raise InputError(
            f"the landmarks of {sightings[0].name} give a face {unusual:.0f} deviations from the mean: give photos of "
            "one person, sharp, and with their true focal length"
        )


@dataclass(frozen=True)
class _Result:
    expression: Float[Tensor, "e"]
    turns: Float[Tensor, "t 3"] | None
    camera: Camera
    error_px: float
    face_px: float


@dataclass(frozen=True)
class PhotoResiduals:
    """The residuals of one photo, in double precision."""

    model: MorphableModel
    part: MorphableModel
    """The part of the model that determines the landmarks."""
    points: SurfaceAnchors
    camera: Camera
    pixels: Float[Tensor, "n 2"]
    scale: Float[Tensor, "n"]
    """One over a landmark's deviation in pixels."""
    start: Similarity
    """Camera from head."""
    sees_contour: bool
    pull: Float[Tensor, "k"]
    zooms: bool

    @staticmethod
    def of(model: MorphableModel, sighting: Sighting, config: LandmarkFitConfig) -> PhotoResiduals:
        points, pixels, dense = _observed(model, sighting, config)
        deviations = points.deviations
        mean = points.on(model.template, model.faces)
        K = sighting.camera.K.detach().cpu().double()
        trust = (deviations.min() / deviations) ** 2
        used = np.flatnonzero(trust.numpy() > 0)
        pose = solve_pose(mean.numpy()[used], pixels.numpy()[used], trust.numpy()[used], K.numpy())
        check_pose(pose, mean.numpy()[used], pixels.numpy()[used], sighting.name)
        start = Similarity(
            torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), torch.ones((), dtype=torch.float64)
        )
        pixel_mm = float(torch.sqrt(K[0, 0] * K[1, 1])) / float(pose.translation[2])
        deviations = deviations * landmark_doubt(model, points, mean, torch.from_numpy(pose.centre))
        identity, expression = len(model.identity), len(model.expression)
        zooms, jaws = not sighting.focal_known, _jaw(model) is not None
        # The zoom's and the jaw's unknowns are in deviations; the pose has practically no prior.
        pull = torch.full((identity + expression + POSE + 1 + 3 * jaws,), 0.5, dtype=torch.float64)
        pull[identity : identity + expression] /= model.expression_deviations**2
        pull[identity + expression : identity + expression + POSE] = 1e-9
        camera = sighting.camera.to("cpu").to(torch.float64)
        return PhotoResiduals(
            model, model.only(points), points, camera, pixels, 1 / (deviations * pixel_mm), start,
            model.contour is not None and not dense, pull, zooms,
        )  # fmt: skip

    @property
    def own(self) -> int:
        """Number of unknowns after those of identity and expression."""
        return len(self.pull) - len(self.model.identity) - len(self.model.expression)

    def placed(self, unknowns: Float[Tensor, "k"]) -> tuple[Similarity, Tensor, Tensor | None]:
        """Return camera from head, focal factor and the joints' turns."""
        own = unknowns[len(self.model.identity) + len(self.model.expression) :]
        turn = rotation_from_vector(own[:3])
        # The shift's unknowns are radians too, from the camera's viewpoint.
        shift = self.start.translation + self.start.translation[2].abs() * own[3:6]
        zoom = torch.exp(ZOOM_DEVIATION * own[6] * self.zooms)
        turns, jaw = None, _jaw(self.model)
        if jaw is not None and self.model.skeleton is not None:
            chosen = torch.zeros(len(self.model.skeleton.parents) - 1, 1, dtype=own.dtype)
            chosen[jaw - 1] = JAW_DEVIATION
            turns = chosen * own[7:10]
        return Similarity(turn @ self.start.rotation, shift, torch.ones_like(shift[0])), zoom, turns

    def posed(self, part: MorphableModel, unknowns: Float[Tensor, "k"]) -> PosedHead:
        """Return a part of the model in the camera's frame."""
        count = len(part.identity)
        pose, _, turns = self.placed(unknowns)
        expressive = part.with_shape(unknowns[:count]).with_expression(unknowns[count : count + len(part.expression)])
        return expressive.with_pose(pose, turns)

    def residuals(self, part: MorphableModel, unknowns: Float[Tensor, "k"]) -> Float[Tensor, "m"]:
        """Return x and y of every landmark, in deviations."""
        places = self.posed(part, unknowns).at(part.landmarks) @ self.camera.K.T
        zoom = self.placed(unknowns)[1]
        middle = self.camera.K[:2, 2]
        projected = middle + zoom * (places[:, :2] / places[:, 2:] - middle)
        return ((projected - self.pixels) * self.scale[:, None]).reshape(-1)

    def visible_part(self, unknowns: Float[Tensor, "k"]) -> MorphableModel:
        """Return the part of the model that determines the landmarks; those on the silhouette depend on the pose."""
        if not self.sees_contour:
            return self.part
        pose = self.placed(unknowns)[0]
        return self.model.only(self.model.landmark_points(yaw_degrees(pose, torch.zeros_like(pose.translation))))

    def linearised(self, unknowns: Float[Tensor, "k"]) -> tuple[Float[Tensor, "m"], Float[Tensor, "m k"]]:
        """Return residuals and their derivatives."""
        part = self.visible_part(unknowns)
        jacobian = torch.func.jacfwd(lambda there: self.residuals(part, there))(unknowns)
        return self.residuals(part, unknowns), jacobian

    def result(self, unknowns: Float[Tensor, "k"]) -> _Result:
        """Return the result that the unknowns describe."""
        pose, zoom, turns = self.placed(unknowns)
        count = len(self.model.identity)
        K = self.camera.K.clone()
        K[:2, :2] = K[:2, :2] * zoom
        T_head_camera = torch.eye(4, dtype=torch.float64)
        back = pose.inverse()
        T_head_camera[:3, :3], T_head_camera[:3, 3] = back.rotation, back.translation
        camera = Camera(K, T_head_camera, self.camera.width, self.camera.height).to(torch.float32)
        square = self.residuals(self.visible_part(unknowns), unknowns).reshape(-1, 2).square().sum(1)
        error = float((square.sum() / self.scale.square().sum()).sqrt())
        size = float((self.pixels.amax(0) - self.pixels.amin(0)).max())
        expression = unknowns[count : count + len(self.model.expression)]
        return _Result(expression, turns, camera, error, size)


def landmark_doubt(
    model: MorphableModel, points: SurfaceAnchors, mean: Float[Tensor, "n 3"], camera: Float[Tensor, "3"]
) -> Float[Tensor, "n"]:
    """Return the factor of the landmarks' deviations relative to a frontal face; camera in the head frame.

    An oblique surface has fewer pixels, and a surface that faces away has none.
    """
    corners = model.template[model.faces[points.faces]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    towards = torch.nn.functional.normalize(camera - mean, dim=1)
    facing = (torch.nn.functional.normalize(normals, dim=1) * towards).sum(1)
    front = torch.nn.functional.normalize(normals, dim=1)[:, 2]
    turned = torch.rad2deg(torch.atan2(camera[:2].norm(), camera[2]))
    whole = 1 + ((turned - SURE_TURNED).clamp(min=0) / TURNED_DEGREES) ** 2
    return whole * (front.clamp(min=LEAST_FACING) / facing.clamp(min=LEAST_FACING)).clamp(min=1.0)


def _jaw(model: MorphableModel) -> int | None:
    if model.skeleton is None or "jaw" not in model.skeleton.names:
        return None
    return model.skeleton.names.index("jaw")


def _observed(
    model: MorphableModel, sighting: Sighting, config: LandmarkFitConfig
) -> tuple[SurfaceAnchors, Float[Tensor, "n 2"], bool]:
    """Return the model's points, their pixels, and whether they are MediaPipe's own."""
    pixels = sighting.landmarks.detach().cpu().double()
    if not bool(torch.isfinite(pixels).all()):
        raise InputError(f"landmarks of {sighting.name} are not finite: give pixels")
    if len(pixels) == MEDIAPIPE and config.points == "dense" and model.dense is not None:
        return model.dense, pixels[:DENSE], True
    if len(pixels) == MEDIAPIPE:
        return model.landmark_points(), from_mediapipe(pixels), False
    if len(pixels) == IBUG:
        return model.landmark_points(), pixels, False
    raise InputError(f"{len(pixels)} landmarks found in {sighting.name}: give MediaPipe's 478 or iBUG's 68")
