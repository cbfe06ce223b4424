"""The texture of a head in the template's own layout: skin and hair from the head's texture, the rest in its tone."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.picture import Textured
from protome.asset.source import sampled
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.topology.fitted import TemplateHead
from protome.topology.laid import Laid, bare, layout, meetings
from protome.topology.lids import lid_colours
from protome.topology.template import EYES, Part

LINING_RGB, TONGUE_RGB, TEETH_RGB = (0.36, 0.13, 0.12), (0.62, 0.30, 0.29), (0.83, 0.79, 0.71)
"""What no photo shows has the colours that it commonly has, sRGB, dimmed by the skin's brightness."""
DIM = (0.55, 1.05)
IRIS_DEGREES, PUPIL_DEGREES, RIM_DEGREES = 27.0, 9.5, 3.0
"""Angles, seen from an eyeball's middle, of iris and pupil and of the soft rim of the iris."""
GAZE_DEGREES = 18
"""The gaze is looked for up to this angle off the front."""
SCLERA_RGB, IRIS_RGB = (0.78, 0.75, 0.72), (0.28, 0.20, 0.15)
"""Of eyes of which too little is seen."""
LEAST_SEEN = 60
GRAIN_SIZE = 6e-4
"""Width of the grain of lids, as a share of the image."""
_BIN = 3.0
"""Width of a ring, in degrees, over which an eye's colours are averaged."""


def template_texture(head: TemplateHead, source: Textured, size: int) -> UInt8[np.ndarray, "n n 3"]:
    """Return the texture of a head in the template's layout, `size` pixels on each side, sRGB.

    `source` is the head's textured mesh, head frame, millimetres. Each texel of skin and hair takes the colour of the
    nearest place on it.
    """
    found = Laid.of(head, size)
    colour = np.zeros((len(found.part), 3), np.float32)
    colour[:] = _from_source(head, found, source)
    skin = found.part == Part.SKIN
    dim = float(np.clip(1.25 * np.median(colour[skin & (found.places[:, 2] > -30)]), *DIM))
    for parts, rgb in (
        ((Part.LINING,), LINING_RGB), ((Part.TONGUE,), TONGUE_RGB), ((Part.UPPER_TEETH, Part.LOWER_TEETH), TEETH_RGB)
    ):  # fmt: skip
        colour[np.isin(found.part, parts)] = np.array(rgb, np.float32) * dim
    for number, part in enumerate(EYES):
        own = found.part == part
        ways = (found.places[own] - head.eyes.pivots[number]) / head.eyes.radii[number]
        colour[own] = _eye(head, number, ways, source)
    return found.texels.image(np.rint(255 * colour.clip(0, 1)).astype(np.uint8))


def _from_source(head: TemplateHead, found: Laid, source: Textured) -> Float32[np.ndarray, "k 3"]:
    """Return the colours that the texels meet along their normals; smooth ones where they meet nothing nearby.

    A ray for each texel costs a twentieth of a search for its nearest place.
    """
    plain = _nearest(source, head.vertices)
    smooth = found.texels.interpolated(plain)
    normals = layout(head.template, head.vertices).mesh.normals
    assert normals is not None
    image = np.asarray(source.image / np.float32(255), np.float32)
    for met in meetings(found, normals, source):
        smooth[met.texel] = sampled(image, met.on(source.uv * image.shape[1::-1], source.faces))
    return _with_lids(head, found, smooth, plain)


def _with_lids(
    head: TemplateHead, found: Laid, colour: Float32[np.ndarray, "k 3"], plain: Float32[np.ndarray, "v 3"]
) -> Float32[np.ndarray, "k 3"]:
    """Return the texels' colours with folded lids in the colours of the skin around, with its grain, and lashes."""
    lids = lid_colours(head.template, head.vertices, plain)
    share = np.where(found.part == Part.SKIN, found.texels.interpolated(lids.share), 0)
    chosen = np.flatnonzero(share > 0)
    part = found.texels.part(chosen)
    grain = 1 + lids.grain * _noise(found.texels.size, GRAIN_SIZE * found.texels.size)[part.index]
    made = part.interpolated(lids.colours) * grain[:, None]
    colour = colour.copy()
    colour[chosen] += share[chosen, None] * (made - colour[chosen])
    return colour


def _noise(size: int, width: float) -> Float32[np.ndarray, "n"]:
    """Return the pixels of an image of noise of mean 0 and deviation 1, as fine as a width in pixels."""
    fine = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    noise = np.asarray(cv2.GaussianBlur(fine, (0, 0), max(width, 0.3)), np.float32)
    return ((noise - noise.mean()) / noise.std()).reshape(-1)


def _nearest(source: Textured, places: Float[np.ndarray, "k 3"]) -> Float32[np.ndarray, "k 3"]:
    """Return the colours of a textured mesh at its points nearest to some places."""
    surface = Surface(Mesh(source.vertices, source.faces))
    colour = np.zeros((len(places), 3), np.float32)
    image = np.asarray(source.image / np.float32(255), np.float32)
    for start in range(0, len(places), 400_000):
        foot = surface.closest(places[start : start + 400_000])
        weights = barycentric(source.vertices[source.faces[foot.faces]], foot.points).clip(0, 1)
        uv = (source.uv[source.faces[foot.faces]] * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)
        colour[start : start + 400_000] = sampled(image, (uv * image.shape[1::-1]).astype(np.float32))
    return colour


def _eye(
    head: TemplateHead, number: int, ways: Float[np.ndarray, "k 3"], source: Textured
) -> Float32[np.ndarray, "k 3"]:
    """Return an eyeball's colours that looks ahead, at unit directions from its middle.

    What lies between the lids is turned so that its iris is in front; the rest has the colours of its ring.
    """
    pivot, radius = head.eyes.pivots[number], head.eyes.radii[number]
    grid = np.stack(np.meshgrid(np.linspace(-0.85, 0.85, 160), np.linspace(-0.85, 0.85, 160)), -1).reshape(-1, 2)
    grid = grid[(grid**2).sum(1) < 0.75]
    seen = np.concatenate([grid, np.sqrt(1 - (grid**2).sum(1, keepdims=True))], 1)
    seen = seen[_between_lids(head, pivot + radius * seen)]
    if len(seen) < LEAST_SEEN:
        return _painted(ways, np.tile(SCLERA_RGB, (60, 1)), np.array(IRIS_RGB))
    colours = _nearest(source, pivot + radius * seen)
    gaze = _gaze(seen, colours.mean(1))
    angle = np.degrees(np.arccos((seen @ gaze).clip(-1, 1)))
    sclera = colours[angle > IRIS_DEGREES + RIM_DEGREES]
    white = np.quantile(sclera, 0.6, axis=0) if len(sclera) > LEAST_SEEN // 2 else np.array(SCLERA_RGB)
    # Lids in the opening redden it.
    white = 0.8 * np.array(SCLERA_RGB) / np.mean(SCLERA_RGB) + 0.2 * white / white.mean()
    white = white * float(np.clip(np.median(colours.mean(1)) * 1.3, 0.45, 0.78))
    within = colours[(angle < IRIS_DEGREES - RIM_DEGREES) & (angle > PUPIL_DEGREES)]
    iris = np.median(within, axis=0) if len(within) > LEAST_SEEN // 4 else np.array(IRIS_RGB)
    rings = np.stack([_ring(colours, angle, k * _BIN, white, iris) for k in range(int(180 / _BIN) + 1)])
    return _painted(ways, rings, iris)


def _ring(
    colours: Float32[np.ndarray, "n 3"], angle: Float[np.ndarray, "n"], at: float, white: Float[np.ndarray, "3"],
    iris: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "3"]:  # fmt: skip
    """Return an eye's colour at an angle from its gaze: as seen there, or as the white or the iris is."""
    own = colours[np.abs(angle - at) < _BIN]
    usual = iris if at < IRIS_DEGREES else white
    if at > IRIS_DEGREES + RIM_DEGREES or len(own) < LEAST_SEEN // 4:
        return usual
    return 0.5 * (np.median(own, axis=0) + usual)


def _painted(
    ways: Float[np.ndarray, "k 3"], rings: Float[np.ndarray, "r 3"], iris: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "k 3"]:
    """Return the colours of a plain eye that looks along +z: rings of colours, fibres of the iris and a pupil."""
    angle = np.degrees(np.arccos((ways[:, 2] / np.linalg.norm(ways, axis=1)).clip(-1, 1)))
    steps = np.arange(len(rings)) * _BIN
    colour = np.stack([np.interp(angle, steps, rings[:, k]) for k in range(3)], 1)
    turn = np.arctan2(ways[:, 1], ways[:, 0])
    fibres = 1 + 0.09 * np.sin(31 * turn + 2 * np.sin(7 * turn)) + 0.06 * np.sin(67 * turn + 1.3)
    within = np.clip((IRIS_DEGREES - angle) / RIM_DEGREES, 0, 1)[:, None]
    limbus = 1 - 0.45 * np.exp(-(((angle - IRIS_DEGREES + 2) / 3.0) ** 2))[:, None]
    colour = colour * (1 - within) + within * np.maximum(colour, 0.6 * iris) * fibres[:, None]
    pupil = np.clip((PUPIL_DEGREES - angle) / 1.5 + 0.5, 0, 1)[:, None]
    return np.asarray(colour * limbus * (1 - pupil) + pupil * 0.03, np.float32)


def _gaze(ways: Float[np.ndarray, "n 3"], light: Float[np.ndarray, "n"]) -> Float[np.ndarray, "3"]:
    """Return the direction around which a disc of an iris's size is darkest against the ring around it."""
    best, found = -np.inf, np.array([0.0, 0.0, 1.0])
    for across in np.radians(range(-GAZE_DEGREES, GAZE_DEGREES + 1, 3)):
        for up in np.radians(range(-GAZE_DEGREES // 2, GAZE_DEGREES // 2 + 1, 3)):
            way = np.array([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)])
            cosine = ways @ way
            inner, outer = cosine > np.cos(np.radians(24)), cosine < np.cos(np.radians(31))
            if inner.sum() < LEAST_SEEN // 2 or outer.sum() < LEAST_SEEN // 2:
                continue
            score = light[outer].mean() - light[inner].mean() - 0.05 * (across**2 + up**2)
            if score > best:
                best, found = score, way
    return found


def _between_lids(head: TemplateHead, places: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    template = head.template
    solid = np.isin(template.triangle_part, (Part.SKIN, Part.LINING))
    caster = RayMeshIntersector(bare(head.vertices, template.triangles[solid]))
    ahead = np.broadcast_to([0.0, 0.0, 1.0], places.shape)
    return ~np.asarray(caster.intersects_any(places + 0.05 * ahead, ahead))
