"""Skins without brows, the cloth that textures show, and brows by themselves: all in the body's texture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from skimage.color import rgb2lab

from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.geometry.triangles import barycentric
from protome.population.compose import Composer
from protome.population.makehuman.skins import CHEEKS_M, COLLAR, SKIN_LAB
from protome.population.sources.valid import Avatar

SIZE = 512
"""Texels of a side: a head fills a hundred or two hundred pixels of a portrait."""
BROWS = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336, 46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
"""MediaPipe's landmarks along the upper and lower edge of the brows."""
BROW_M, RING_M = 0.0085, 0.016
"""Distance from those within which hair of the brows grows, and within which the skin beside them lies."""
DARKER = 4.0
"""Lightness (CIE) by which hair of a brow is at least darker than the skin."""
LEAST_BROW = 0.05
"""Mean opacity around the brows below which a texture shows none."""
ALL_CLOTH_M = -0.26
"""Below this height on the mean body everything is cloth."""


@dataclass(frozen=True)
class BareSkins:
    """Textures in the layout of the body; sizes in texels."""

    textures: UInt8[np.ndarray, "k s s 3"]
    cloth: UInt8[np.ndarray, "k s s"]
    """255 on cloth."""
    lightness: Float[np.ndarray, "k"]
    brows: UInt8[np.ndarray, "b s s"]
    """Opacity of brows, for those textures that show some."""


def bare_skins(composer: Composer, bald: list[Avatar]) -> BareSkins:
    """Return the avatars' own skins, and MakeHuman's worn with one of the avatars' clothes."""
    places = _places(composer)
    pictures = [avatar.body.texture for avatar in bald]
    if composer.makehuman is not None:
        pictures += [
            skin.worn_over(bald[(5 * k) % len(bald)].body.texture) for k, skin in enumerate(composer.makehuman.skins)
        ]
    small = [cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for picture in pictures]
    near = _brow_distance(composer, places)
    cheeks = ((places > CHEEKS_M[0]) & (places < CHEEKS_M[1])).all(2)
    textures, cloth, lightness, brows = [], [], [], []
    for picture in small:
        lab = rgb2lab(picture)
        middle = np.median(lab[cheeks], 0)
        opacity = _brow_opacity(lab[..., 0], near)
        if opacity[near < BROW_M].mean() > LEAST_BROW:
            brows.append(np.rint(255 * opacity).astype(np.uint8))
        hole = cv2.dilate((opacity > 0.08).astype(np.uint8), np.ones((5, 5), np.uint8))
        textures.append(cv2.inpaint(picture, hole, 7, cv2.INPAINT_TELEA))
        cloth.append(_cloth(lab, middle, places))
        lightness.append(middle[0])
    return BareSkins(np.stack(textures), np.stack(cloth), np.array(lightness), np.stack(brows))


def _places(composer: Composer) -> Float[np.ndarray, "s s 3"]:
    """Return where each texel lies on the mean body; texels beside all islands take the nearest point."""
    valid = composer.valid
    flat = np.column_stack([valid.uv[:, 0], 1 - valid.uv[:, 1], np.zeros(len(valid.uv))]) * [SIZE, SIZE, 0]
    row, column = np.mgrid[:SIZE, :SIZE]
    centres = np.stack([column + 0.5, SIZE - row - 0.5, np.zeros_like(row)], -1).reshape(-1, 3)
    foot = Surface(Mesh(flat, valid.faces)).closest(centres.astype(np.float64))
    corners = valid.faces[foot.faces]
    shares = np.clip(barycentric(flat[corners], foot.points), 0, 1)[..., None]
    return (valid.mean[corners] * shares).sum(1).reshape(SIZE, SIZE, 3)


def _brow_distance(composer: Composer, places: np.ndarray) -> Float[np.ndarray, "s s"]:
    table = json.loads((resources.files("protome") / "assets" / "mediapipe_landmarks.json").read_text())["valid_body"]
    corners, weights = np.asarray(table["triangles"])[list(BROWS)], np.asarray(table["barycentric"])[list(BROWS)]
    points = (composer.valid.mean[corners] * weights[..., None]).sum(1)
    return tree_of(points).query(places.reshape(-1, 3))[0].reshape(places.shape[:2])


def _brow_opacity(lightness: Float[np.ndarray, "s s"], near: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Return how much a texel is brow: as dark beside its surroundings as the darkest ones are."""
    skin = float(np.median(lightness[(near > BROW_M) & (near < RING_M)]))
    darkest = float(np.percentile(lightness[near < BROW_M], 2))
    dark = np.clip((skin - DARKER - lightness) / max(0.6 * (skin - darkest), 2 * DARKER), 0, 1)
    return dark * np.clip((BROW_M + 0.001 - near) / 0.002, 0, 1)


def _cloth(lab: np.ndarray, skin: np.ndarray, places: np.ndarray) -> UInt8[np.ndarray, "s s"]:
    below = places[..., 1] < COLLAR[0] + COLLAR[1] * places[..., 2]
    departure = (((lab - skin) / SKIN_LAB) ** 2).sum(2) > 1
    cloth: Bool[np.ndarray, "s s"] = (below & departure) | (places[..., 1] < ALL_CLOTH_M)
    return cv2.medianBlur((255 * cloth).astype(np.uint8), 7)
