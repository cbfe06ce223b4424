"""Where MediaPipe's face landmarks lie on the mean head: builds `assets/face_landmarks.npz`.

Run it with `python -m protome.population.face_landmarks VALID_HEADS MEDIAPIPE OUT.npz`, where VALID_HEADS holds
`bodies.npz` (shapes of the VALID avatars, MIT licence) and MEDIAPIPE holds `mediapipe_landmarks.json` (landmarks as
barycentric points on that mesh, derived from MediaPipe's canonical face, Apache-2.0).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError

FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The outline of MediaPipe's face mesh."""
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""The inner rim of the lips, which opens with the mouth."""
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
EYE_CORNERS = (33, 133, 362, 263)

SURE_MM = 2.0
"""Error of the firmest landmarks: the accuracy of the map from images to the mesh."""
OUTLINE_MM, FOREHEAD_MM, JAW_MM, INNER_LIPS_MM, OUTER_LIPS_MM = 10.0, 7.0, 6.0, 6.0, 3.5
"""Extra errors of soft groups: the outline slides with the view, the forehead has no features, mouths move."""
FOREHEAD_Y_MM, JAW_Y_MM = 32.0, -80.0
"""Above the brows; below the lips."""


@dataclass(frozen=True)
class FaceLandmarkArrays:
    """The content of the packaged asset."""

    positions: Float[np.ndarray, "468 3"]
    """Head frame, millimetres."""
    weights: Float[np.ndarray, "468"]
    """Inverse variance of each landmark, relative to the firmest."""
    ibug68: Int[np.ndarray, "68"]
    """Landmark ids of the iBUG-68 points."""

    def save(self, path: str | Path) -> None:
        """Write the arrays as an npz file."""
        np.savez_compressed(path, positions=self.positions, weights=self.weights, ibug68=self.ibug68)


def build_face_landmarks(valid_heads: Path, mediapipe: Path) -> FaceLandmarkArrays:
    """Return the landmarks of the mean VALID head.

    Raises:
        InputError: one of the two files is missing.
    """
    for file in (valid_heads / "bodies.npz", mediapipe / "mediapipe_landmarks.json"):
        if not file.is_file():
            raise InputError(f"{file} does not exist: give the folders of the avatars and of the landmark map")
    with np.load(valid_heads / "bodies.npz") as bodies:
        vertices = bodies["vertices_arms_down"].astype(np.float64) * 1000.0
    tables = json.loads((mediapipe / "mediapipe_landmarks.json").read_text())
    corners = np.array(tables["valid_body"]["triangles"])
    barycentric = np.array(tables["valid_body"]["barycentric"], np.float64)
    each = (vertices[:, corners] * barycentric[None, :, :, None]).sum(2)
    mean = each.mean(0)
    # The frame's definition: the origin is the mean of the four eye corners.
    origin = mean[list(EYE_CORNERS)].mean(0)
    spread = np.sqrt(((each - mean) ** 2).sum(2).mean(0) / 3)
    positions = mean - origin
    sigma = np.sqrt(SURE_MM**2 + spread**2 + _softness(positions) ** 2)
    weights = (sigma.min() / sigma) ** 2
    return FaceLandmarkArrays(
        positions.astype(np.float32), weights.astype(np.float32), np.array(tables["ibug68_refined"], np.int64)
    )


def _softness(positions: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "468"]:
    """Return the extra standard deviation (mm) of each landmark's group."""
    soft = np.zeros(len(positions))
    soft[positions[:, 1] > FOREHEAD_Y_MM] = FOREHEAD_MM
    soft[positions[:, 1] < JAW_Y_MM] = JAW_MM
    soft[list(OUTER_LIPS)] = OUTER_LIPS_MM
    soft[list(INNER_LIPS)] = INNER_LIPS_MM
    soft[list(FACE_OVAL)] = OUTLINE_MM
    return soft


if __name__ == "__main__":
    build_face_landmarks(Path(sys.argv[1]), Path(sys.argv[2])).save(sys.argv[3])
