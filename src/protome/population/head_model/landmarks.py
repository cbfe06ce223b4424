"""The places of the detector's landmarks on the head's surface, estimated from renders of people of known shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from protome.capture.landmarks import detect
from protome.geometry.align import Surface
from protome.geometry.camera import Camera, direction
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.geometry.triangles import barycentric
from protome.population.compose import ComposedHead, Composer
from protome.population.face_landmarks import FACE_OVAL
from protome.population.picture import photograph
from protome.population.surface import OuterSurface
from protome.units import UNIT_MM
from protome.util.progress import progress

LANDMARKS = 468
"""The face's; those of the irises lie on the eyeballs and follow the gaze."""
SIZE, FOCAL, DISTANCE_MM = 320, 1.2, 700.0
YAW, PITCH = 28.0, 12.0
"""Largest angles of the cameras, degrees; beyond, the detector has to extrapolate the far side."""
FACING = 0.25
"""Least cosine between a surface and the direction to the camera for a ray to locate a landmark."""
LEAST_OBSERVATIONS = 8
"""With fewer observations a landmark's place counts as unknown."""
REACH_MM = 15.0
"""Rays through landmarks of the outline may pass the face and meet the neck: observations farther than this from the
start are rejected."""
LEAST_SPREAD_MM = 0.7


@dataclass(frozen=True)
class DetectedLandmarks:
    """Places on the template's surface, averaged over people and pictures."""

    faces: Int[np.ndarray, "468"]
    weights: Float[np.ndarray, "468 3"]
    spread_mm: Float[np.ndarray, "468"]
    """Standard deviation of a single observation along each axis of the surface."""


def detected_landmarks(
    composer: Composer,
    template_mm: Float[np.ndarray, "v 3"],
    head_mm: Mesh,
    start_mm: Float[np.ndarray, "468 3"],
    pictures: int,
    seed: int,
    *,
    quiet: bool = False,
) -> DetectedLandmarks:
    """Render people of the population, detect their landmarks, and intersect the rays through these with the skin.

    `template_mm` are the body's vertices in the frame of `head_mm`, the surface for which the places are returned;
    `start_mm` gives the places of landmarks with too few observations.

    Raises:
        InputError: MediaPipe is not installed.
    """
    rng = np.random.default_rng([seed, 468])
    surfaces, cameras, images = [], [], []
    with progress("picturing people", pictures, quiet=quiet) as step:
        for head in _people(composer, rng, pictures):
            surface, camera = OuterSurface(head, rng), _camera(rng)
            photo = photograph(surface, camera.transformed(Similarity.scaling(1 / UNIT_MM, torch.float64)), over=1)
            surfaces.append(surface)
            cameras.append(camera)
            images.append(torch.from_numpy(photo.image).float())
            step(1)
    places = []
    for found, surface, camera in zip(detect(images, with_masks=False), surfaces, cameras, strict=True):
        if found.faces:
            places.append(_on_template(surface, camera, found.faces[0][:LANDMARKS], template_mm))
    stacked = np.stack(places)
    stacked[np.linalg.norm(stacked - start_mm, axis=2) > REACH_MM] = np.nan
    known = np.isfinite(stacked[..., 0]).sum(0) >= LEAST_OBSERVATIONS
    middle, spread = start_mm.copy(), np.full(LANDMARKS, np.nan)
    for number in np.flatnonzero(known):
        observed = stacked[np.isfinite(stacked[:, number, 0]), number]
        middle[number] = np.median(observed, 0)
        # Two of the three directions lie in the surface; the median of a length is robust against outliers.
        spread[number] = np.median(np.linalg.norm(observed - middle[number], axis=1)) / 1.177
    foot = Surface(head_mm).closest(middle)
    corners = head_mm.vertices[head_mm.faces[foot.faces]]
    weights = np.clip(barycentric(corners, foot.points), 0, 1)
    spread = np.maximum(np.where(known, spread, REACH_MM), LEAST_SPREAD_MM)
    # The accepted observations of the outline are biased, and few are from the side.
    spread[list(FACE_OVAL)] = np.maximum(spread[list(FACE_OVAL)], REACH_MM / 2)
    return DetectedLandmarks(foot.faces, weights / weights.sum(1, keepdims=True), spread)


def _people(composer: Composer, rng: np.random.Generator, count: int) -> Iterator[ComposedHead]:
    """Yield avatars as they are and new people in turns, without held-out people."""
    names = composer.valid.training_names
    for number in range(count):
        yield composer.original(names[rng.integers(len(names))], rng) if number % 2 else composer.person(rng)


def _camera(rng: np.random.Generator) -> Camera:
    yaw, pitch = np.radians(rng.uniform(-YAW, YAW)), np.radians(rng.uniform(-PITCH, PITCH))
    target = torch.tensor([0.0, -25.0, -30.0], dtype=torch.float64)
    place = target + DISTANCE_MM * direction(yaw, pitch)
    return Camera.look_at(place, target, FOCAL * SIZE * 1.8, SIZE, SIZE)


def _on_template(
    surface: OuterSurface, camera: Camera, pixels: torch.Tensor, template_mm: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, "468 3"]:
    """Return where the rays through landmarks meet skin, as places on the template; NaN where they do not."""
    rays = camera.rays(pixels.double())
    origins, directions = rays.origins.numpy() / 1000, rays.directions.numpy()
    points, ray, face = surface.rays.intersects_location(origins, directions, multiple_hits=False)
    facing = -(surface.mesh.face_normals[face] * directions[ray]).sum(1)
    body = surface.head.parts[0]
    skin = (surface.soup.part[face] == 0) & (facing > FACING)
    points, ray, face = points[skin], ray[skin], surface.soup.local[face[skin]]
    corners = body.faces[face]
    weights = barycentric(body.vertices[corners], points)
    places = np.full((LANDMARKS, 3), np.nan)
    places[ray] = (template_mm[corners] * weights[..., None]).sum(1)
    return places
