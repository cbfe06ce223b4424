"""Colour, opacity, gloss and part of points on the surfaces of dressed people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protome.perception import parts
from protome.population.portraits import noise
from protome.population.portraits.dressed import Look
from protome.population.portraits.pieces import BEARD, LASH, LOCAL, MOUTH, SCALP, SHADE, UV, Material
from protome.population.portraits.wardrobe import Wardrobe

IRIS_COS = 0.868
"""Cosine of the angle under which the radius of an iris is seen from the eyeball's middle."""
LIPS_Y_M, LIPS_M = -0.0665, np.array([0.0265, 0.0105])
"""Height of the line between the lips on the template, and the half axes of the lips."""
CROWN_M = np.array([0.0, 0.02, -0.095])


@dataclass(frozen=True)
class Surface:
    """Points on surfaces of one material and person."""

    albedo: Float[np.ndarray, "n 3"]
    """Linear."""
    alpha: Float[np.ndarray, "n"]
    gloss: Float[np.ndarray, "n"]
    part: Int[np.ndarray, "n"]


def surface(
    wardrobe: Wardrobe, look: Look, material: Material, attributes: Float[np.ndarray, "n 15"],
    facing: Float[np.ndarray, "n"],
) -> Surface:  # fmt: skip
    """Return what points show; `facing` is the cosine between their normals and the direction to the camera."""
    count = len(attributes)
    whole = np.ones(count, np.float32)
    if material == Material.BODY:
        return _body(wardrobe, look, attributes)
    if material == Material.EYE:
        return _eye(look, attributes[:, LOCAL])
    if material == Material.GLAND:
        return _plain(np.tile(np.array([0.42, 0.2, 0.17], np.float32), (count, 1)), 0.5, parts.EYES)
    if material == Material.TEETH:
        return _plain(attributes[:, SHADE] * np.array([0.9, 0.84, 0.72], np.float32), 0.6, parts.MOUTH)
    if material in (Material.HAIR, Material.BEARD):
        return _hair(look, material, attributes, facing)
    if material == Material.CLOTH:
        return _plain(_cloth(look, attributes[:, SHADE], attributes[:, LOCAL]), 0.05, parts.CLOTHES)
    if material == Material.LENS:
        tint = attributes[:, SHADE.start]
        alpha = np.clip(tint + 0.05 + 0.4 * (1 - facing) ** 4, 0, 1)
        return Surface(np.full((count, 3), 0.02, np.float32), alpha, 2.0 * whole, np.full(count, parts.FRONT))
    local = attributes[:, LOCAL]
    grain = noise.look_up(noise.fractal(), local[:, 0] * 9 + look.noise[0], local[:, 1] * 9 + local[:, 2] * 5)
    return _plain(attributes[:, SHADE] * (1 + 0.08 * grain)[:, None], 0.3 * look.gloss, parts.FRONT)


def _plain(albedo: np.ndarray, gloss: float, part: int) -> Surface:
    count = len(albedo)
    return Surface(
        albedo.astype(np.float32), np.ones(count, np.float32), np.full(count, gloss, np.float32), np.full(count, part)
    )


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + share[:, None] * (second - first)


def _body(wardrobe: Wardrobe, look: Look, attributes: np.ndarray) -> Surface:
    person, uv, local = look.person, attributes[:, UV], attributes[:, LOCAL]
    x, y, z = local.T
    texture = (noise.texels(wardrobe.skins[person.skin], uv).astype(np.float32) / 255) ** 2.2
    pores = noise.look_up(noise.fine(), uv[:, 0] * 7 + look.noise[0], uv[:, 1] * 7)
    blotches = noise.look_up(noise.fractal(), uv[:, 0] * 2.3 + look.noise[1], uv[:, 1] * 2.3)
    skin = texture * person.tone.astype(np.float32)
    skin = _mix(
        skin, np.repeat(skin @ np.full((3, 1), 1 / 3, np.float32), 3, 1), np.full(len(uv), look.pale, np.float32)
    )
    skin = skin * np.exp(look.bumps * (0.05 * pores + 0.05 * blotches))[:, None]
    cheeks = np.exp(-0.5 * (((np.abs(x) - 0.042) / 0.018) ** 2 + ((y + 0.038) / 0.017) ** 2))
    nose = np.exp(-0.5 * ((x / 0.013) ** 2 + ((y + 0.043) / 0.012) ** 2))
    red = look.blush * np.clip(cheeks + 0.8 * nose, 0, 1) * (z > -0.06)
    skin = skin * (1 - red[:, None] * np.array([-0.05, 0.16, 0.14], np.float32))
    lips = np.clip(1.6 * (1 - np.hypot(x / LIPS_M[0], (y - LIPS_Y_M) / LIPS_M[1])), 0, 1) * (z > -0.05)
    skin = skin * (1 + lips[:, None] * (look.lips.astype(np.float32) - 1))
    part = np.full(len(uv), parts.SKIN)
    gloss = np.full(len(uv), 0.35 * look.gloss, np.float32) * np.exp(0.4 * pores) + 0.2 * lips * look.gloss

    speckle = noise.look_up(noise.fine(), uv[:, 0] * 11, uv[:, 1] * 11)
    hair = look.hair_colour.astype(np.float32)
    stubble = np.clip((attributes[:, SCALP] - look.scalp_edge) / 0.25 + 0.15 * speckle, 0, 1) * look.scalp_alpha
    skin = _mix(skin, hair * np.exp(0.2 * speckle)[:, None], stubble)
    part[stubble > 0.45] = parts.HAIR
    shaved = np.clip((attributes[:, BEARD] - look.beard_edge) / 0.3 + 0.15 * speckle, 0, 1) * look.beard_alpha
    skin = _mix(skin, 0.8 * hair * np.exp(0.2 * speckle)[:, None], shaved)
    part[shaved > 0.4] = parts.BEARD
    opacity = noise.texels(wardrobe.brows[look.brow], uv).astype(np.float32) / 255
    brow = np.clip(opacity * (1 + 0.25 * speckle), 0, 1) * look.brow_strength
    skin = _mix(skin, np.broadcast_to(look.brow_colour.astype(np.float32), skin.shape), brow)
    part[brow > 0.3] = parts.BROWS
    lash = attributes[:, LASH] * (0.35 + 0.65 * (not person.male))
    skin = skin * (1 - 0.85 * np.clip(lash * (1 + 0.3 * speckle), 0, 1))[:, None]
    inside = np.clip(2 * attributes[:, MOUTH], 0, 1)
    skin = _mix(skin, np.broadcast_to(np.array([0.16, 0.04, 0.035], np.float32), skin.shape), inside)
    part[inside > 0.5] = parts.MOUTH
    cloth = noise.texels(wardrobe.cloth[person.skin], uv).astype(np.float32) / 255
    albedo = _mix(skin, _cloth(look, texture, local), cloth)
    part[cloth > 0.5] = parts.CLOTHES
    return Surface(albedo, np.ones(len(uv), np.float32), gloss * (1 - cloth), part)


def _cloth(look: Look, own: Float[np.ndarray, "n 3"], local: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    first, second = look.cloth.astype(np.float32)
    woven = np.exp(0.12 * noise.look_up(noise.fractal(), local[:, 0] * 6, local[:, 1] * 6 + local[:, 2] * 3))
    bright = own @ np.full((3, 1), 1 / 3, np.float32)
    relative = np.clip(bright / (np.mean(bright) + 1e-6), 0.5, 1.8) ** 0.5
    colour = np.broadcast_to(first, own.shape)
    if look.stripes > 0:
        along = local[:, 1] if look.noise[0] < 0.5 else local[:, 0]
        colour = np.where((np.sin(2 * np.pi * look.stripes * along) > 0.2)[:, None], first, second)
    made = colour * relative * woven[:, None]
    return made + look.cloth_kept * (own - made)


def _eye(look: Look, local: Float[np.ndarray, "n 3"]) -> Surface:
    side = (local[:, 0] > 0).astype(int)
    away = local - look.eye_centres[side]
    away /= np.sqrt(np.einsum("nc,nc->n", away, away))[:, None] + 1e-9
    gaze = look.gaze[side]
    angle = np.arccos(np.clip((away * gaze).sum(1), -1, 1)) / np.arccos(IRIS_COS)
    around = np.arctan2(away[:, 1] - gaze[:, 1], away[:, 0] - gaze[:, 0])
    streaks = noise.look_up(noise.strands(), around / (2 * np.pi) * 0.4, angle * 0.2)
    veins = noise.look_up(noise.fractal(), away[:, 0] * 2 + look.noise[0], away[:, 1] * 2)
    white = np.array([0.62, 0.56, 0.53], np.float32) * (1 - 0.12 * np.clip(angle - 1.2, 0, 1))[:, None]
    white = white * (1 - 0.1 * np.clip(veins, 0, 2)[:, None] * [0, 1, 1])
    iris = look.person.iris * np.exp(0.35 * streaks + 0.5 * (angle - 0.6))[:, None]
    rim = np.clip((angle - 0.82) / 0.12, 0, 1) * 0.75
    albedo = _mix(iris, 0.2 * iris, rim)
    albedo = _mix(albedo, white, np.clip((angle - 0.97) / 0.07, 0, 1))
    # Lids and lashes shade the eyes' upper part.
    albedo = albedo * (1 - 0.55 * np.clip((away[:, 1] - 0.08) / 0.3, 0, 1))[:, None]
    albedo = _mix(albedo, np.full_like(albedo, 0.004), np.clip((look.pupil + 0.04 - angle) / 0.06, 0, 1))
    count = len(local)
    gloss = np.full(count, 3.0, np.float32)
    return Surface(albedo.astype(np.float32), np.ones(count, np.float32), gloss, np.full(count, parts.EYES))


def _hair(look: Look, material: Material, attributes: np.ndarray, facing: np.ndarray) -> Surface:
    local, shade = attributes[:, LOCAL], attributes[:, SHADE.start]
    away = local - CROWN_M
    around = np.arctan2(away[:, 0], away[:, 2] + 0.02)
    reach = np.sqrt(np.einsum("nc,nc->n", away, away)) + 1e-6
    down = np.arccos(np.clip(away[:, 1] / reach, -1, 1))
    hang = np.clip(-local[:, 1] - 0.02, 0, None)
    along = down * 0.12 + hang * 1.2
    wave = look.curl * 0.012 * np.sin(2 * np.pi * (along * 9 + 3 * np.sin(around)))
    across = around / (2 * np.pi) * 2.0 + wave + look.noise[0]
    fine = noise.look_up(noise.strands(), across * 1.7, along)
    coarse = noise.look_up(noise.strands(), across * 0.31 + 0.5, along * 0.6)
    colour = _mix(
        np.broadcast_to(look.hair_colour.astype(np.float32), local.shape),
        np.broadcast_to(look.tips_colour.astype(np.float32), local.shape), np.clip(hang / 0.15 + 0.3 * coarse, 0, 1),
    )  # fmt: skip
    albedo = colour * (np.clip(shade, 0.3, 1.8) * np.exp(0.3 * fine + 0.3 * coarse))[:, None]
    soft = 0.06 + 0.45 * look.frizz
    alpha = np.clip(0.25 + facing / soft + 0.5 * look.frizz * fine, 0, 1)
    alpha = alpha * np.clip(1.4 * attributes[:, SCALP] + 0.25 * fine, 0, 1)
    part = np.full(len(local), parts.HAIR if material == Material.HAIR else parts.BEARD)
    gloss = np.full(len(local), 0.6 * look.gloss, np.float32) * np.exp(0.4 * fine)
    return Surface(albedo.astype(np.float32), alpha.astype(np.float32), gloss, part)
