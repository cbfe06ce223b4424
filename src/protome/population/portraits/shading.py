"""Colour, opacity, gloss and part of points on the surfaces of dressed people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from protome.perception import parts
from protome.population.portraits import noise
from protome.population.portraits.dressed import Look
from protome.population.portraits.pieces import BEARD, LASH, LOCAL, MOUTH, SCALP, SHADE, UV, Material
from protome.population.portraits.wardrobe import Wardrobe

IRIS_COS = 0.868
"""Cosine of the angle under which the radius of an iris is seen from the eyeball's middle."""
LIPS_Y_M, LIPS_M = -0.0665, (0.0265, 0.0105)
"""Height of the line between the lips on the template, and the half axes of the lips."""
CROWN_M = (0.0, 0.02, -0.095)
LINEAR = ((np.arange(256, dtype=np.float32) / 255) ** 2.2).astype(np.float32)
"""Linear values of sRGB bytes."""


@dataclass(frozen=True)
class Surface:
    """Points on surfaces of one material and person, single precision."""

    albedo: Float[np.ndarray, "3 n"]
    """Linear."""
    alpha: Float[np.ndarray, "n"]
    gloss: Float[np.ndarray, "n"]
    part: UInt8[np.ndarray, "n"]


def surface(
    wardrobe: Wardrobe, look: Look, material: Material, attributes: Float[np.ndarray, "15 n"],
    facing: Float[np.ndarray, "n"],
) -> Surface:  # fmt: skip
    """Return what points show; `facing` is the cosine between their normals and the direction to the camera."""
    count = attributes.shape[1]
    if material == Material.BODY:
        return _body(wardrobe, look, attributes)
    if material == Material.EYE:
        return _eye(look, attributes[LOCAL])
    if material == Material.GLAND:
        return _plain(np.broadcast_to(_column([0.42, 0.2, 0.17]), (3, count)), 0.5, parts.EYES)
    if material == Material.TEETH:
        return _plain(attributes[SHADE] * _column([0.9, 0.84, 0.72]), 0.6, parts.MOUTH)
    if material in (Material.HAIR, Material.BEARD):
        return _hair(look, material, attributes, facing)
    if material == Material.CLOTH:
        return _plain(_cloth(look, attributes[SHADE], attributes[LOCAL]), 0.05, parts.CLOTHES)
    if material == Material.LENS:
        alpha = np.clip(attributes[SHADE.start] + np.float32(0.05) + np.float32(0.4) * (1 - facing) ** 4, 0, 1)
        return Surface(
            np.full((3, count), 0.02, np.float32), alpha, np.full(count, 2.0, np.float32), _same(count, parts.FRONT)
        )
    x, y, z = attributes[LOCAL]
    grain = noise.look_up(noise.fractal(), x * 9 + float(look.noise[0]), y * 9 + z * 5)
    return _plain(attributes[SHADE] * (1 + np.float32(0.08) * grain), 0.3 * look.gloss, parts.FRONT)


def _column(values: np.ndarray | list[float]) -> Float[np.ndarray, "3 1"]:
    return np.asarray(values, np.float32)[:, None]


def _same(count: int, part: int) -> UInt8[np.ndarray, "n"]:
    return np.full(count, part, np.uint8)


def _plain(albedo: np.ndarray, gloss: float, part: int) -> Surface:
    count = albedo.shape[1]
    return Surface(albedo, np.ones(count, np.float32), np.full(count, gloss, np.float32), _same(count, part))


def _mix(first: np.ndarray, second: np.ndarray | np.float32, share: np.ndarray | np.float32) -> np.ndarray:
    return first + share * (second - first)


def _mean(colours: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
    return (colours[0] + colours[1] + colours[2]) * np.float32(1 / 3)


def _unit(values: np.ndarray) -> np.ndarray:
    """Return values held to 0 to 1, in place."""
    return np.minimum(np.maximum(values, 0, out=values), 1, out=values)


def _body(wardrobe: Wardrobe, look: Look, attributes: Float[np.ndarray, "15 n"]) -> Surface:
    person, (u, v), (x, y, z) = look.person, attributes[UV], attributes[LOCAL]
    first, second = map(float, look.noise)
    skins = wardrobe.skins[person.skin]
    places = noise.TexelMap.of(u, v, len(skins))
    texture = LINEAR.take(np.ascontiguousarray(places.texels(skins).T))
    pores = noise.look_up(noise.fine(), u * 7 + first, v * 7)
    blotches = noise.look_up(noise.fractal(), u * 2.3 + second, v * 2.3)
    skin = texture * _column(person.tone)
    skin = _mix(skin, _mean(skin), np.float32(look.pale))
    skin *= np.exp(np.float32(0.05 * look.bumps) * (pores + blotches))
    cheeks = np.exp(-0.5 * (((np.abs(x) - 0.042) / 0.018) ** 2 + ((y + 0.038) / 0.017) ** 2))
    nose = np.exp(-0.5 * ((x / 0.013) ** 2 + ((y + 0.043) / 0.012) ** 2))
    red = look.blush * _unit(cheeks + 0.8 * nose) * (z > -0.06)
    skin *= 1 - red * _column([-0.05, 0.16, 0.14])
    lips = _unit(1.6 * (1 - np.sqrt((x / LIPS_M[0]) ** 2 + ((y - LIPS_Y_M) / LIPS_M[1]) ** 2))) * (z > -0.05)
    if (look.lips != 1).any():
        skin *= 1 + lips * _column(look.lips - 1)
    part = _same(len(u), parts.SKIN)
    gloss = 0.35 * look.gloss * np.exp(0.4 * pores) + 0.2 * look.gloss * lips

    speckle = noise.look_up(noise.fine(), u * 11, v * 11)
    hair, grain = _column(look.hair_colour), np.exp(0.2 * speckle)
    if look.scalp_alpha > 0:
        stubble = look.scalp_alpha * _unit((attributes[SCALP] - look.scalp_edge) / 0.25 + 0.15 * speckle)
        skin = _mix(skin, hair * grain, stubble)
        part[stubble > 0.45] = parts.HAIR
    if look.beard_alpha > 0:
        shaved = look.beard_alpha * _unit((attributes[BEARD] - look.beard_edge) / 0.3 + 0.15 * speckle)
        skin = _mix(skin, 0.8 * hair * grain, shaved)
        part[shaved > 0.4] = parts.BEARD
    if look.brow_strength > 0:
        opacity = places.texels(wardrobe.brows[look.brow]).astype(np.float32)
        brow = look.brow_strength * _unit(opacity * (1 + 0.25 * speckle) / 255)
        skin = _mix(skin, _column(look.brow_colour), brow)
        part[brow > 0.3] = parts.BROWS
    lash = attributes[LASH] * (0.35 + 0.65 * (not person.male))
    skin *= 1 - 0.85 * _unit(lash * (1 + 0.3 * speckle))
    inside = _unit(2 * attributes[MOUTH])
    skin = _mix(skin, _column([0.16, 0.04, 0.035]), inside)
    part[inside > 0.5] = parts.MOUTH
    cloth = places.texels(wardrobe.cloth[person.skin]).astype(np.float32) / 255
    if cloth.any():
        made = _cloth(look, texture, attributes[LOCAL])
        skin = _mix(skin, made, cloth)
        part[cloth > 0.5] = parts.CLOTHES
    return Surface(skin, np.ones(len(u), np.float32), gloss * (1 - cloth), part)


def _cloth(look: Look, own: Float[np.ndarray, "3 n"], local: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
    first, second = (_column(colour) for colour in look.cloth)
    x, y, z = local
    woven = np.exp(0.12 * noise.look_up(noise.fractal(), x * 6, y * 6 + z * 3))
    bright = _mean(own)
    relative = np.sqrt(np.clip(bright / (np.mean(bright) + np.float32(1e-6)), 0.5, 1.8))
    colour = first
    if look.stripes > 0:
        along = y if look.noise[0] < 0.5 else x
        colour = np.where(np.sin((2 * np.pi * look.stripes) * along) > 0.2, first, second)
    made = colour * (relative * woven)
    return made + np.float32(look.cloth_kept) * (own - made)


def _eye(look: Look, local: Float[np.ndarray, "3 n"]) -> Surface:
    side = (local[0] > 0).astype(int)
    away = local - look.eye_centres.T[:, side].astype(np.float32)
    away /= np.sqrt((away**2).sum(0)) + np.float32(1e-9)
    gaze = look.gaze.T[:, side].astype(np.float32)
    angle = np.arccos(np.clip((away * gaze).sum(0), -1, 1)) / float(np.arccos(IRIS_COS))
    around = np.arctan2(away[1] - gaze[1], away[0] - gaze[0])
    streaks = noise.look_up(noise.strands(), around * (0.4 / (2 * np.pi)), angle * 0.2)
    veins = noise.look_up(noise.fractal(), away[0] * 2 + float(look.noise[0]), away[1] * 2)
    white = _column([0.62, 0.56, 0.53]) * (1 - 0.12 * np.clip(angle - 1.2, 0, 1))
    white *= 1 - 0.1 * np.clip(veins, 0, 2) * _column([0, 1, 1])
    iris = _column(look.person.iris) * np.exp(0.35 * streaks + 0.5 * (angle - 0.6))
    rim = np.clip((angle - 0.82) / 0.12, 0, 1) * 0.75
    albedo = _mix(iris, 0.2 * iris, rim)
    albedo = _mix(albedo, white, np.clip((angle - 0.97) / 0.07, 0, 1))
    # Lids and lashes shade the eyes' upper part.
    albedo *= 1 - 0.55 * np.clip((away[1] - 0.08) / 0.3, 0, 1)
    albedo = _mix(albedo, np.float32(0.004), np.clip((look.pupil + 0.04 - angle) / 0.06, 0, 1))
    return _plain(albedo, 3.0, parts.EYES)


def _hair(
    look: Look, material: Material, attributes: Float[np.ndarray, "15 n"], facing: Float[np.ndarray, "n"]
) -> Surface:
    (x, y, z), shade = attributes[LOCAL], attributes[SHADE.start]
    rise, back = y - CROWN_M[1], z - CROWN_M[2]
    around = np.arctan2(x - CROWN_M[0], back + 0.02)
    reach = np.sqrt((x - CROWN_M[0]) ** 2 + rise**2 + back**2) + 1e-6
    down = np.arccos(np.clip(rise / reach, -1, 1))
    hang = np.maximum(-y - 0.02, 0)
    along = down * 0.12 + hang * 1.2
    wave = look.curl * 0.012 * np.sin(2 * np.pi * (along * 9 + 3 * np.sin(around)))
    across = around * (2.0 / (2 * np.pi)) + wave + float(look.noise[0])
    fine = noise.look_up(noise.strands(), across * 1.7, along)
    coarse = noise.look_up(noise.strands(), across * 0.31 + 0.5, along * 0.6)
    colour = _mix(_column(look.hair_colour), _column(look.tips_colour), _unit(hang / 0.15 + 0.3 * coarse))
    albedo = colour * (np.clip(shade, 0.3, 1.8) * np.exp(0.3 * (fine + coarse)))
    soft = 0.06 + 0.45 * look.frizz
    alpha = _unit(0.25 + facing / soft + 0.5 * look.frizz * fine)
    alpha *= _unit(1.4 * attributes[SCALP] + 0.25 * fine)
    part = _same(len(x), parts.HAIR if material == Material.HAIR else parts.BEARD)
    return Surface(albedo, alpha, 0.6 * look.gloss * np.exp(0.4 * fine), part)
