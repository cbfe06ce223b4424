"""The ICT face model as a mesh head model: ICT-FaceKit's own folder, or the packed `ict_facekit.npz`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from protome.errors import InputError
from protome.morphable.holes import boundary_loops, ladder
from protome.morphable.ibug import detector_deviations
from protome.morphable.ict_files import IctModel
from protome.morphable.model import MorphableModel, SurfaceAnchors

INDICES = "vertex_indices.json"
EYE_CORNERS = (36, 39, 42, 45)
EXPRESSION = 0.3
"""Standard deviation of a blend shape's weight; 1 is the full expression."""


def load_ict(folder: str | Path) -> MorphableModel:
    """Read the light ICT face model, in the head frame and in millimetres; eyes and mouth are closed by flat patches.

    Raises:
        InputError: a file is missing or is not ICT-FaceKit's.
    """
    folder = Path(folder)
    model = IctModel.load(folder)
    corners = torch.tensor(ibug_vertices(folder))
    neutral = model.neutral - model.neutral[corners[list(EYE_CORNERS)].numpy()].mean(0)
    triangles, count, patches = [model.triangles], len(neutral), []
    loops = boundary_loops(model.triangles)
    # The lowest border is the neck's; the others are holes.
    neck = min(range(len(loops)), key=lambda k: neutral[loops[k], 1].min())
    for loop in loops[:neck] + loops[neck + 1 :]:
        patches.append(ladder(loop, neutral, 0, count))
        triangles.append(patches[-1].faces)
    faces = np.concatenate(triangles)
    weights = torch.zeros(68, 3)
    places = torch.zeros(68, dtype=torch.int64)
    for number, corner in enumerate(corners.tolist()):
        places[number] = int(np.flatnonzero((faces == corner).any(1))[0])
        weights[number] = torch.from_numpy((faces[places[number]] == corner).astype(np.float32))
    moves, names = model.expression, model.expression_names
    return MorphableModel(
        "ICT face model", _mm(neutral), torch.from_numpy(faces), _mm(model.identity), _mm(moves), names,
        torch.full((len(names),), EXPRESSION), SurfaceAnchors(places, weights, detector_deviations()),
    )  # fmt: skip


def ibug_vertices(folder: Path) -> list[int]:
    """Return the vertices of ICT's mesh at the iBUG-68 landmarks.

    Raises:
        InputError: the file that names them is missing or another one.
    """
    files = [place / INDICES for place in (folder, folder / "FaceXModel", folder.parent)]
    file = next((path for path in files if path.is_file()), None)
    if file is None:
        raise InputError(f"{folder} has no {INDICES}: give ICT-FaceKit's whole FaceXModel folder")
    try:
        found = json.loads(file.read_text())["idx_to_landmark_verts"]
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} names no landmarks: give ICT-FaceKit's unchanged file") from error
    if len(found) != 68:
        raise InputError(f"{file} names {len(found)} landmarks, not 68: give ICT-FaceKit's unchanged file")
    return [int(number) for number in found]


def _mm(metres: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((1000.0 * metres).astype(np.float32))
