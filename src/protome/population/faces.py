"""ICT's faces on the VALID body topology: dense mean, identity modes and expressions by registration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from protome.errors import InputError
from protome.geometry.extension import laplacian, smooth_extension
from protome.morphable.ict_files import IctModel
from protome.population.face_landmarks import FACE_OVAL
from protome.population.registration import Registration, register
from protome.population.sources.valid import ValidHeads

NECK_TOP_M, NECK_FOOT_M = -0.115, -0.175
"""Heights (head frame, metres) between which the face model fades into the avatar's own neck."""
SCALP_M = (0.045, 0.075)
"""Heights at the forehead between which the face model's absolute shape fades into the avatar's own hairline."""


@dataclass(frozen=True)
class FaceModes:
    """A statistical face on the body's vertices, metres; all arrays are zero outside the face model's region."""

    towards_mean: Float[np.ndarray, "v 3"]
    """From the mean VALID body to ICT's mean face."""
    identity: Float[np.ndarray, "m v 3"]
    """One standard deviation each."""
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]
    face: Float[np.ndarray, "v"]
    """1 where the face model gives the shape itself, falling to 0 towards hair and neck."""

    @staticmethod
    def load(ict: Path, tables: Path, valid: ValidHeads) -> FaceModes:
        """Register the mean VALID body to ICT's mean face and carry its modes over.

        Raises:
            InputError: a file is missing.
        """
        mapping = tables / "mediapipe_landmarks.json"
        if not mapping.is_file():
            raise InputError(f"{mapping} does not exist: give the folder that holds it")
        maps, model = json.loads(mapping.read_text()), IctModel.load(ict)
        mean, weld = valid.mean, valid.weld
        ours = _landmarks(maps["valid_body"], mean)
        theirs = _landmarks(maps["ict"], model.neutral, len(ours))
        # Rigid, because the size of a face is part of the model.
        placed = trimesh.registration.procrustes(theirs, ours, reflection=False, scale=False)[0]
        turn, shift = placed[:3, :3], placed[:3, 3]
        kept = np.setdiff1d(np.arange(len(ours)), FACE_OVAL)
        faces = weld[valid.faces]
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
        fit = register(
            mean, faces, model.neutral @ turn.T + shift, model.triangles,
            template_points=ours[kept], target_points=(theirs @ turn.T + shift)[kept],
            region=_own(weld) & (mean[:, 1] > NECK_FOOT_M),
        )  # fmt: skip
        fade = np.clip((mean[:, 1] - NECK_FOOT_M) / (NECK_TOP_M - NECK_FOOT_M), 0, 1)
        fade = fade**2 * (3 - 2 * fade)
        spread = _Spread(fit, faces, fade, weld)
        hairline = 1 - np.clip((_above_brow(mean) - SCALP_M[0]) / (SCALP_M[1] - SCALP_M[0]), 0, 1)
        face = fade * hairline**2 * (3 - 2 * hairline)
        return FaceModes(
            spread(fit.vertices[None] - mean)[0],
            spread(fit.carry(model.identity) @ turn.T),
            spread(fit.carry(model.expression) @ turn.T),
            model.expression_names,
            face[weld],
        )


def _own(weld: np.ndarray) -> Bool[np.ndarray, "v"]:
    """Vertices that represent a position (the others are copies at texture seams)."""
    return weld == np.arange(len(weld))


def _landmarks(
    table: dict[str, list], vertices: Float[np.ndarray, "t 3"], count: int | None = None
) -> Float[np.ndarray, "l 3"]:
    # Behind the face's 468 landmarks follow those of the irises, which lie on no head surface.
    corners, weights = np.asarray(table["triangles"])[:count], np.asarray(table["barycentric"])[:count]
    return (vertices[corners] * weights[..., None]).sum(1)


def _above_brow(mean: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v"]:
    """Height over a plane that rises from the forehead's hairline over the temples down to behind the ears."""
    return mean[:, 1] - 0.9 * (mean[:, 2] + 0.03)


class _Spread:
    """Extends fields known at found vertices to all of them, smoothly, and fades them out at the neck."""

    def __init__(self, fit: Registration, faces: np.ndarray, fade: np.ndarray, weld: np.ndarray) -> None:
        self.smoothness = laplacian(faces, len(weld))
        self.found, self.fade, self.weld = fit.found & _own(weld), fade, weld
        self.fixed = self.found | (fade == 0)

    def __call__(self, fields: Float[np.ndarray, "m v 3"]) -> Float[np.ndarray, "m v 3"]:
        count, vertices = fields.shape[:2]
        flat = (fields * self.found[None, :, None]).transpose(1, 0, 2).reshape(vertices, -1)
        smooth = smooth_extension(self.smoothness, 100.0 * self.fixed, flat, 1.0)
        smooth[self.found] = flat[self.found]
        back = smooth.reshape(vertices, count, 3).transpose(1, 0, 2) * self.fade[None, :, None]
        return back[:, self.weld]
