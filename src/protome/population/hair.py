"""Hair that grows out of the body's own skin, cropped hair and beards, and the colours of hair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy.sparse import csr_matrix

from protome.geometry.extension import laplacian
from protome.population.sources.valid import Avatar, Part, ValidHeads, identity
from protome.population.texture import texels

NATURAL = np.array(
    [[30, 26, 26], [46, 34, 28], [72, 50, 36], [110, 76, 50], [160, 122, 80], [200, 168, 122], [140, 68, 38],
     [150, 148, 146], [210, 208, 204]]
)  # fmt: skip
"""sRGB: black, dark brown, brown, light brown, dark blond, blond, red, grey, white."""
SHARES = np.array([0.27, 0.2, 0.16, 0.1, 0.06, 0.05, 0.04, 0.08, 0.04])


def draw_hair_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Return a natural hair colour, sRGB in [0, 1]."""
    first, second = rng.choice(len(NATURAL), 2, p=SHARES)
    mixed = 0.8 * NATURAL[first] + 0.2 * NATURAL[second]
    return np.clip(mixed * np.exp(rng.normal(0, 0.15)) / 255, 0, 0.95)


def recoloured(texture: UInt8[np.ndarray, "h w 3"], colour: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Give hair another colour, keeping its strands."""
    luminance = texture.astype(np.float32).mean(2, keepdims=True)
    relative = np.clip(luminance / max(float(luminance.mean()), 1.0), 0.25, 2.5) ** 0.6
    return np.clip(np.rint(relative * (255 * colour)), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class HairMasks:
    """Where hair grows on the body, learned from the avatars whose textures show it; 0 to 1 per vertex."""

    scalp: Float[np.ndarray, "v"]
    beard: Float[np.ndarray, "v"]
    lift: Float[np.ndarray, "v 3"]
    """Smooth unit directions out of the skin, along which hair stands."""
    smoothness: csr_matrix
    """Laplacian of the welded body."""
    weld: np.ndarray

    @staticmethod
    def of(valid: ValidHeads, avatars: dict[str, Avatar]) -> HairMasks:
        """Compare skin and hair colours of short-haired, light-skinned men, and of one who wears a full beard."""
        mean, weld = valid.mean, valid.weld
        x, y, z = mean.T
        cheek = (np.abs(y + 0.03) < 0.02) & (z > -0.04) & (np.abs(x) > 0.025)
        top = y > 0.09
        shares = {}
        for name, avatar in avatars.items():
            if avatar.bald or "_M_" not in name:
                continue
            colours = vertex_colours(avatar.body)
            skin, hair = np.median(colours[cheek], 0), np.median(colours[top], 0)
            if np.linalg.norm(skin - hair) < 0.5:
                continue
            axis = hair - skin
            shares[name] = np.clip((colours - skin) @ axis / (axis @ axis), 0, 1)
        if not shares:
            raise ValueError("no avatar shows where hair grows")
        faces = weld[valid.faces]
        smoothness = laplacian(faces, len(weld))
        hairy = np.median(list(shares.values()), 0)
        behind = np.clip((-0.055 - z) / 0.02, 0, 1)
        scalp = hairy * np.maximum(np.clip((y - 0.04) / 0.01, 0, 1), behind * (y > -0.1))
        bearded = [share for name, share in shares.items() if identity(name) == BEARDED] or [np.zeros(len(y))]
        extra = np.clip(np.mean(bearded, 0) - hairy, 0, 1)
        lips = ((x / 0.027) ** 2 + ((y - mean[valid.landmarks["right_lips"], 1]) / 0.0115) ** 2 < 1) & (z > -0.05)
        beard = extra * (y < -0.032) * (y > -0.135) * (z > -0.11) * ~lips
        lift = _outwards(mean, faces)
        masks = HairMasks(scalp, beard, lift, smoothness, weld)
        beard = masks.smoothed(beard, 4)
        return replace(
            masks, scalp=np.clip(masks.smoothed(scalp, 2), 0, 1),
            beard=np.clip(1.6 * beard / max(float(beard.max()), 1e-6), 0, 1), lift=masks.smoothed(lift, 12),
        )  # fmt: skip

    def smoothed(self, values: Float[np.ndarray, "v *k"], rounds: int) -> Float[np.ndarray, "v *k"]:
        """Average values with those of neighbouring vertices, some rounds."""
        values = values[self.weld]
        for _ in range(rounds):
            values = values - 0.5 * (self.smoothness @ values)
        return values[self.weld]

    def cropped(self, body: Part, length: float, colour: Float[np.ndarray, "3"], rng: np.random.Generator) -> Part:
        """Return a body with hair of a length in metres standing on its bare scalp."""
        edge = rng.uniform(0.35, 0.6)
        return self._grown(body, np.clip((self.scalp - edge) / (0.9 - edge), 0, 1), length, colour, rng)

    def bearded(self, body: Part, length: float, colour: Float[np.ndarray, "3"], rng: np.random.Generator) -> Part:
        """Return a body with a beard of a length in metres: full, a goatee, or a moustache."""
        template = body.vertices
        kind = rng.choice(["full", "goatee", "moustache"], p=[0.6, 0.25, 0.15])
        mask = self.beard
        if kind != "full":
            mask = mask * np.clip((0.04 - np.abs(template[:, 0])) / 0.012, 0, 1)
        if kind == "moustache":
            mask = mask * np.clip((template[:, 1] + 0.078) / 0.006, 0, 1)
        edge = rng.uniform(0.1, 0.35)
        return self._grown(body, np.clip((mask - edge) / (0.75 - edge), 0, 1), length, colour, rng)

    def _grown(
        self, body: Part, mask: np.ndarray, length: float, colour: Float[np.ndarray, "3"], rng: np.random.Generator
    ) -> Part:
        waves = self.smoothed(rng.normal(size=len(mask)), 3)
        waves /= waves.std() + 1e-9
        curls = self.smoothed(rng.normal(size=len(mask)), 1)
        curls /= curls.std() + 1e-9
        height = length * np.sqrt(mask) * np.clip(1 + 0.15 * waves + 0.08 * curls, 0.4, 1.6)
        height = self.smoothed(height, 1)
        shade = np.clip(1 + 0.13 * curls + 0.06 * waves, 0.5, 1.6)
        tint = np.concatenate(
            [np.clip(colour * shade[:, None], 0, 1), np.clip(2 * mask[:, None], 0, 1) * min(1.0, 0.5 + length / 0.004)],
            1,
        )
        before = body.tint
        if before is not None:
            stronger = before[:, 3] > tint[:, 3]
            tint[stronger] = before[stronger]
        return replace(body, vertices=body.vertices + height[:, None] * self.lift, tint=tint)


BEARDED = "MENA_M_3"
"""The avatar whose texture shows a full beard."""


def vertex_colours(part: Part) -> Float[np.ndarray, "v 3"]:
    """Return a part's texture at its vertices, sRGB in [0, 1]."""
    return texels(part.texture, part.uv) / 255.0


def _outwards(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray) -> Float[np.ndarray, "v 3"]:
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
