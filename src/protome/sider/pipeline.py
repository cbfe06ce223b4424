"""SIDER's pipeline: from one photo to a face with wrinkles and folds."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.capture.cameras import camera_from_landmarks
from protome.capture.landmarks import choose_face, detect
from protome.capture.occlusion import BEARD, FRAMES, beard_share, frame_edge
from protome.capture.photo import load_photo
from protome.capture.skin import eyes_closed, skin_mask
from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Rays
from protome.geometry.mesh import Mesh
from protome.geometry.refine import Refined, refine_alike
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.morphable.face import NOW_LANDMARKS, face_triangles, part
from protome.morphable.fit import LandmarkFit, Sighting, fit_landmarks
from protome.morphable.loader import BUILT_IN, load_model
from protome.morphable.model import MorphableModel, yaw_degrees
from protome.relief.photo import Relief, recover_relief
from protome.render.cast import cast, interpolate, sky_visibility
from protome.scene import View
from protome.sider.displace import Displaced, displace
from protome.sider.fit import DETAIL_PRESETS, DetailConfig, DetailFit, FacePixels, fit_detail
from protome.sider.thick import vertex_normals
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.progress import progress

RELIEF = "relief"
"""The preset that recovers a height on the photo's own pixels; the others fit networks, as the paper does."""
SIZE = 256
"""Longer side, in pixels, of the window around the face (the paper's)."""
LEVELS = 2
"""Levels of subdivision of the face's triangles: to about a millimetre, which is a pixel of the window."""
UNSURE_TURNED = 40.0
"""Rotation in degrees beyond which the far cheek is hardly visible and its detail is the model's."""
DARKEST = 0.6
"""Share of the skin's median brightness below which a pixel is hair, a nostril or a cast shadow, not shading."""
OPEN = 0.88
"""Smallest sky visibility of skin on the coarse face: below it, occlusion would be taken for slopes."""
LEAST_SKIN = 400
"""Smallest number of skin pixels from which detail can be recovered."""


@dataclass(frozen=True)
class CoarseFace:
    """The model's head and the part of it that is refined; head frame, millimetres."""

    model: MorphableModel
    head: Mesh
    """The model's own mesh."""
    dense: Mesh
    """The same with the face's triangles subdivided on a smooth surface through the vertices, with normals."""
    face: Bool[np.ndarray, "f"]
    """Which of the dense triangles are the face's."""
    chart: Refined | None
    """The model's UV map, subdivided in the same way."""
    landmarks: Float[np.ndarray, "68 3"]
    """iBUG's, on the coarse head."""

    @staticmethod
    def of(model: MorphableModel, head: Mesh, landmarks: Float[np.ndarray, "68 3"], levels: int = LEVELS) -> CoarseFace:
        """Subdivide the face of a head of the model."""
        chosen = face_triangles(head, landmarks)
        others, count = head.faces, len(head.vertices)
        if model.chart is not None:
            others, count = model.chart.faces.numpy(), len(model.chart.uv)
        mesh, chart = refine_alike(head.faces, len(head.vertices), others, count, chosen, levels)
        vertices, normals = mesh.curved(head.vertices, vertex_normals(head))
        dense = Mesh(vertices, mesh.faces, normals=normals)
        return CoarseFace(model, head, dense, chosen[mesh.origin], chart if model.chart else None, landmarks)

    def inner(self) -> Mesh:
        """Return the face alone in inner units."""
        return part(self.dense, self.face).scaled(1 / UNIT_MM)


@dataclass(frozen=True)
class DetailedFace:
    """The face recovered from a photo."""

    coarse: CoarseFace
    displaced: Displaced
    """The coarse head and the detailed one, head frame, millimetres."""
    fit: DetailFit | Relief
    """What was fitted: networks, or a height on the photo's pixels."""
    window: View
    """The part of the photo that was fitted; its camera is in the head frame, millimetres."""
    seconds: dict[str, float]
    """Wall time of each stage."""
    settings: dict[str, str | int | float] = field(default_factory=dict)
    """The options, and the reprojection error of the landmarks."""

    @property
    def mesh(self) -> Mesh:
        """The detailed head in the model's own topology, with the face's triangles subdivided; millimetres."""
        return self.displaced.mesh

    def now_landmarks(self) -> Float[np.ndarray, "7 3"]:
        """Return the landmarks of the NoW protocol on the detailed head."""
        found = self.coarse.landmarks[list(NOW_LANDMARKS)]
        nearest = np.linalg.norm(self.coarse.dense.vertices - found[:, None], axis=2).argmin(1)
        assert self.coarse.dense.normals is not None
        return found + self.displaced.displacement[nearest, None] * self.coarse.dense.normals[nearest]


def recover_detail(
    photo: str | Path,
    *,
    model: str = BUILT_IN,
    preset: str = RELIEF,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> DetailedFace:
    """Fit a head model to the face in a photo, then recover the detail that it lacks from the shading.

    On a processor the same seed gives the same face.

    Raises:
        InputError: the photo, the model or an option is unusable, or the photo shows no face.
    """
    if preset not in (RELIEF, *DETAIL_PRESETS):
        raise InputError(f"no preset is called {preset}: use one of {', '.join((RELIEF, *DETAIL_PRESETS))}")
    where, started = choose_device(device), time.perf_counter()
    loaded = load_model(model)
    with progress("face", 1, quiet=quiet) as step:
        view, found = find_face(photo, loaded)
        step(1)
    posed = found.head()
    coarse = CoarseFace.of(loaded, posed.mesh(), posed.landmarks(found.cameras[0].centre).double().numpy())
    seconds = {"coarse mesh": time.perf_counter() - started}
    if preset == RELIEF:
        with progress("detail", 1, quiet=quiet) as step:
            detailed = add_relief(view, coarse)
            step(1)
    else:
        detailed = add_detail(view, coarse, DETAIL_PRESETS[preset], device=where, seed=seed, quiet=quiet)
    settings: dict[str, str | int | float] = {
        "photo": view.name, "model": model, "preset": preset, "seed": seed, "device": str(where),
        "landmark_error_px": found.error_px[0],
    }  # fmt: skip
    return replace(detailed, seconds=seconds | detailed.seconds, settings=settings)


def add_detail(
    view: View,
    coarse: CoarseFace,
    config: DetailConfig,
    *,
    device: torch.device | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> DetailedFace:
    """Recover the detail that a coarse face lacks from a photo with a known camera (head frame, millimetres).

    Raises:
        InputError: the photo shows too little skin.
    """
    window = face_window(view, coarse)
    config = suited_config(config, max(window.image.shape[:2]))
    pixels = face_pixels(window, coarse).to(device or torch.device("cpu"))
    fit = fit_detail(coarse.inner(), pixels, config, seed=seed, quiet=quiet)
    started = time.perf_counter()
    fit = replace(fit, fields=tuple(field.to("cpu") for field in fit.fields))
    displaced = displace(coarse.dense, coarse.face, fit.bind())
    seconds = fit.seconds | {"displacement": time.perf_counter() - started}
    return DetailedFace(coarse, displaced, fit, window, seconds)


def add_relief(view: View, coarse: CoarseFace) -> DetailedFace:
    """Recover the height that a coarse face lacks on the pixels of a photo with a known camera (head frame, mm).

    Raises:
        InputError: the photo shows too little skin.
    """
    started = time.perf_counter()
    relief = recover_relief(view, coarse.dense, coarse.face)
    if relief is None:
        raise InputError(f"{view.name} shows too little skin for detail: give a photo with a larger, unhidden face")
    base = coarse.dense
    assert base.normals is not None
    chosen = np.unique(base.faces[coarse.face])
    chosen = chosen[relief.shows(base.vertices[chosen])]
    displacement, normals = np.zeros(len(base.vertices)), base.normals.copy()
    displacement[chosen] = relief.at(relief.height, base.vertices[chosen])
    bent = normals[chosen] - relief.at(relief.slope, base.vertices[chosen])
    normals[chosen] = bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-12)
    moved = Mesh(base.vertices + displacement[:, None] * base.normals, base.faces, normals=normals)
    seconds = {"detail": time.perf_counter() - started}
    return DetailedFace(coarse, Displaced(base, moved, displacement), relief, relief.window, seconds)


def suited_config(config: DetailConfig, size: int) -> DetailConfig:
    """Return settings for a window of a given size: smaller windows constrain less and resolve fewer frequencies."""
    sparse = max(1.0, SIZE / size)
    waves = max(config.networks.coarse_frequencies, config.networks.frequencies - round(math.log2(sparse)))
    return replace(config, prior=config.prior * sparse, networks=replace(config.networks, frequencies=waves))


def find_face(photo: str | Path, model: MorphableModel) -> tuple[View, LandmarkFit]:
    """Return a photo with its person and landmarks, its camera as fitted, and the fit of the head model.

    Raises:
        InputError: as `load_photo`, `choose_face` and `fit_landmarks`.
    """
    read = load_photo(photo)
    (detection,) = detect([read.image])
    landmarks = choose_face(detection, str(photo))
    height, width = read.image.shape[:2]
    initial = camera_from_landmarks(landmarks, width, height, read.focal_px, load_face_landmarks(), str(photo))
    found = fit_landmarks(model, [Sighting(landmarks, initial, read.focal_px is not None, str(photo))])
    view = View(read.name, read.image, detection.person_mask, found.cameras[0], landmarks)
    warn_about_face(str(photo), view, landmarks)
    return view, found


def warn_about_face(photo: str, view: View, landmarks: Float[Tensor, "478 2"]) -> None:
    """Warn about causes of uncertain detail: a turned head, closed eyes, a beard, glasses."""
    turned = abs(yaw_degrees(Similarity.identity(), view.camera.centre))
    if turned > UNSURE_TURNED:
        message = (
            f"the face in {photo} is turned away by {turned:.0f} degrees: the detail of the far cheek is unreliable"
        )
        warnings.warn(message, ProtomeWarning, stacklevel=3)
    if eyes_closed(landmarks):
        message = f"the eyes in {photo} seem to be closed: the landmarks around them and the lids are unreliable"
        warnings.warn(message, ProtomeWarning, stacklevel=3)
    if beard_share(view.image, landmarks) > BEARD:
        message = (
            f"the face in {photo} seems to have a beard: hair is not shaded as skin is, so detail there is unreliable"
        )
        warnings.warn(message, ProtomeWarning, stacklevel=3)
    if frame_edge(view.image, landmarks) > FRAMES:
        message = f"the face in {photo} seems to wear glasses: their frames are reconstructed as grooves in the skin"
        warnings.warn(message, ProtomeWarning, stacklevel=3)


def face_window(view: View, coarse: CoarseFace, size: int = SIZE) -> View:
    """Return the part of a photo that shows the coarse face, its longer side `size` pixels."""
    spots = view.camera.project(torch.from_numpy(part(coarse.dense, coarse.face).vertices).to(view.camera.K))
    margin = 0.03 * float((spots.amax(0) - spots.amin(0)).max())
    limit = torch.tensor([view.image.shape[1], view.image.shape[0]])
    low = (spots.amin(0) - margin).floor().long().clamp(min=0)
    high = torch.minimum((spots.amax(0) + margin).ceil().long(), limit)
    extent = (high - low).clamp(min=1)
    return view.cropped(*low.tolist(), *extent.tolist()).resized(size)


def face_pixels(window: View, coarse: CoarseFace) -> FacePixels:
    """Return the pixels of a window that show the coarse face, in inner units.

    Raises:
        InputError: too little skin is visible.
    """
    camera = window.camera.to(torch.float32).transformed(Similarity.scaling(1 / UNIT_MM))
    # Other parts can occlude the face: rays are cast at the whole head, and hits of the face's triangles are kept.
    head = coarse.dense.scaled(1 / UNIT_MM)
    assert head.normals is not None
    hits = cast(head, camera)
    on_face = torch.from_numpy(coarse.face)[hits.faces]
    pixel, points = hits.pixel[on_face], hits.points[on_face]
    rays = camera.rays()
    own = Rays(rays.origins[pixel], rays.directions[pixel])
    height, width = window.mask.shape
    skin = window.mask.reshape(-1) > 0.5
    if window.landmarks is not None:
        skin = skin & skin_mask(window.landmarks, height, width).reshape(-1)
    brightness = window.image.mean(2).reshape(-1)
    if bool(skin.any()):
        skin = skin & (brightness > DARKEST * brightness[skin].median())
    normals = torch.nn.functional.normalize(interpolate(head.normals, head, hits)[on_face], dim=1)
    informative = skin[pixel]
    informative[informative.clone()] = sky_visibility(head, points[informative], normals[informative]) > OPEN
    if int(informative.sum()) < LEAST_SKIN:
        raise InputError(f"{window.name} shows too little skin for detail: give a photo with a larger, unhidden face")
    return FacePixels(own, window.image.reshape(-1, 3)[pixel], (points - own.origins).norm(dim=1), informative)
