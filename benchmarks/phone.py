"""A phone that photographs a sitter in a room: exposure, white balance, blur, noise, JPEG and EXIF."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image

from protome.face import NOSE_TIP
from protome.geometry.camera import Camera
from protome.geometry.mesh import srgb_from_linear
from protome.geometry.transforms import Similarity
from room import Room
from sitter import LitHead, Seen

RENDERED = 2048
"""Pixels of the longer side up to which every pixel has rays of its own; larger photos are enlarged. The package keeps
no more of a photo."""
JUMP_M = 0.003
"""Difference of depth between neighbouring pixels from which they get more rays."""
FINER = 3
"""Rays along each side of a pixel at edges."""
FACE_M = 0.08
"""Radius around the tip of the nose of what phones expose for."""
SKIN_LEVEL = 0.34
"""Linear brightness to which phones expose a face."""


@dataclass(frozen=True)
class Processing:
    """How a phone makes a file of what its lens saw."""

    exposure: float
    """Factor on the automatic exposure."""
    balance: Float[np.ndarray, "3"]
    """White balance: factors of the channels."""
    contrast: float
    """Exponent of the tone curve; 1 is none."""
    noise: float
    """Standard deviation of the noise at white, linear; it grows with the root of the brightness."""
    blur_px: float
    """Standard deviation of the lens and motion blur, pixels of the file."""
    background_blur_px: float
    quality: int
    """Of the JPEG."""
    seed: int


@dataclass(frozen=True)
class Iris:
    """An iris as it is seen in a photo."""

    diameter_px: float
    """Its diameter at its distance, in pixels of the file."""
    visible: float
    """Share of its disc that no lid and no head hides, foreshortening included."""


@dataclass(frozen=True)
class Exposed:
    """A photo before its file."""

    image: UInt8[np.ndarray, "h w 3"]
    irises: tuple[Iris, ...]
    """The left eye's and the right eye's; none of a scan."""


def photograph(
    lit: LitHead, room: Room, camera: Camera, T_world_head: Float[np.ndarray, "4 4"],
    gaze: list[Float[np.ndarray, "3"]], how: Processing,
) -> Exposed:  # fmt: skip
    """Return the picture of a camera that is posed in the room (millimetres).

    `gaze` holds the eyes' directions in the head frame.
    """
    factor = min(1.0, RENDERED / max(camera.width, camera.height))
    small = camera.to(torch.float64).resized(round(camera.width * factor), round(camera.height * factor))
    place = Similarity(
        torch.from_numpy(T_world_head[:3, :3]), torch.from_numpy(T_world_head[:3, 3]), torch.ones(()).double()
    )
    inner = small.transformed(place.inverse()).transformed(Similarity.scaling(1e-3, torch.float64))
    height, width = small.height, small.width
    footprint = 1.0 / small.focal
    rows = _reach(lit, inner)
    pixels = small.pixels().numpy().reshape(height, width, 2)[rows]
    shape = pixels.shape[:2]

    def look(at: Float[np.ndarray, "n 2"]) -> Seen:
        rays = inner.rays(torch.from_numpy(at))
        return lit.see(inner.centre.numpy(), rays.directions.numpy(), footprint, gaze)

    seen = look(pixels.reshape(-1, 2))
    alpha = (seen.parts >= 0).astype(float).reshape(shape)
    colours = seen.colours.reshape(*shape, 3)
    edges = _edges(seen.parts.reshape(shape), seen.depths.reshape(shape))
    at = pixels[edges]
    steps = (np.arange(FINER) + 0.5) / FINER - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    more = look((at[:, None] + offsets).reshape(-1, 2))
    alpha[edges] = (more.parts >= 0).reshape(len(at), -1).mean(1)
    colours[edges] = more.colours.reshape(len(at), -1, 3).mean(1)

    open_to = np.ones((height, width), bool)
    open_to[rows] = alpha < 1
    if how.background_blur_px > 0:
        open_to[:] = True
    directions = small.rays(small.pixels()[torch.from_numpy(open_to.reshape(-1))]).directions.numpy()
    behind = np.zeros((height, width, 3), np.float32)
    behind[open_to] = room.colours(small.centre.numpy(), directions)
    ambient = float(lit.light.ambient.mean() + 0.5 * lit.light.colours.sum(0).mean())
    behind *= ambient
    if how.background_blur_px > 0:
        behind = np.asarray(cv2.GaussianBlur(behind, (0, 0), how.background_blur_px * factor), np.float32)
    linear = behind
    linear[rows] = colours + (1 - alpha)[..., None] * behind[rows]
    depths = np.where(np.isfinite(seen.depths), seen.depths, 1e3)
    points = (
        inner.centre.numpy() + depths[:, None] * inner.rays(torch.from_numpy(pixels.reshape(-1, 2))).directions.numpy()
    )
    face = (seen.parts == 0) & (np.linalg.norm(points - lit.head.landmarks[NOSE_TIP], axis=1) < FACE_M)
    level = float(np.median(seen.colours[face].mean(1))) if face.any() else SKIN_LEVEL
    image = _developed(linear, how, (SKIN_LEVEL / max(level, 0.02)) ** 0.8, factor, (camera.width, camera.height))
    return Exposed(image, _irises(lit, inner, seen.iris, factor))


def _reach(lit: LitHead, inner: Camera) -> tuple[slice, slice]:
    """Return the rows and columns of pixels that can show the sitter."""
    points = inner.to_camera(torch.from_numpy(lit.points)).numpy()
    ahead = points[points[:, 2] > 0.05]
    found = ahead[:, :2] / ahead[:, 2:] * inner.focal + inner.K[:2, 2].numpy()
    low = np.clip(np.floor(found.min(0)).astype(int) - 2, 0, [inner.width - 2, inner.height - 2])
    high = np.clip(np.ceil(found.max(0)).astype(int) + 2, low + 2, [inner.width, inner.height])
    return slice(low[1], high[1]), slice(low[0], high[0])


def _edges(parts: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Return the pixels beside which another part or another depth is seen."""
    found = np.zeros(parts.shape, bool)
    near = np.where(np.isfinite(depths), depths, 1e3)
    for axis in (0, 1):
        differs = (np.diff(parts, axis=axis) != 0) | (np.abs(np.diff(near, axis=axis)) > JUMP_M)
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        found[tuple(first)] |= differs
        found[tuple(second)] |= differs
    return found


def _developed(
    linear: Float[np.ndarray, "h w 3"], how: Processing, gain: float, factor: float, size: tuple[int, int]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return the file's pixels: blur, exposure, noise, tone curve and size."""
    rng = np.random.default_rng(how.seed)
    blur = how.blur_px * factor
    image = np.asarray(cv2.GaussianBlur(linear, (0, 0), blur) if blur > 0.2 else linear)
    image = np.asarray(image * gain * how.exposure * how.balance, np.float32)
    grain = rng.standard_normal(image.shape, np.float32)
    image = image + how.noise * np.sqrt(np.clip(image, 0, 1) + 0.01) * grain
    # Phones roll bright tones off instead of cutting them.
    image = np.where(image > 0.7, 0.7 + 0.3 * np.tanh((image - 0.7) / 0.3), image)
    image = np.clip(image, 0, 1)
    shown = srgb_from_linear(image)
    curve = shown + (how.contrast - 1) * shown * (1 - shown) * (2 * shown - 1)
    found = np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8)
    if (found.shape[1], found.shape[0]) != size:
        found = cv2.resize(found, size, interpolation=cv2.INTER_LANCZOS4)
    return found


def _irises(lit: LitHead, inner: Camera, iris: np.ndarray, factor: float) -> tuple[Iris, ...]:
    found = []
    eyes = lit.sitter.eyes
    if eyes is None:
        return ()
    for number, centre in enumerate(lit.sitter.eyeballs(), 1):
        depth = float(inner.to_camera(torch.from_numpy(centre)[None])[0, 2]) - 0.0125
        diameter = eyes.iris_mm / 1000 * inner.focal / depth
        share = float((iris == number).sum() / (np.pi * diameter**2 / 4))
        found.append(Iris(diameter / factor, share))
    return tuple(found)


def jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int, exif: Image.Exif | None) -> bytes:
    """Return the bytes of a JPEG file."""
    buffer = io.BytesIO()
    more = {} if exif is None else {"exif": exif.tobytes()}
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, **more)
    return buffer.getvalue()


def exif_of(film_mm: float, distance_mm: float | None, lens: str) -> Image.Exif:
    """Return the tags that a phone writes; a subject distance only where it measured one."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Protome", lens
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.FocalLengthIn35mmFilm] = round(film_mm)
    inner[ExifTags.Base.FocalLength] = round(film_mm / 6.1, 2)
    if distance_mm is not None:
        inner[ExifTags.Base.SubjectDistance] = round(distance_mm / 1000, 2)
    return exif
