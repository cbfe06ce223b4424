"""FLAME 2020, 2023 and 2023 Open, read from the files as they are distributed; the package holds none of them.

Source: Li, Bolkart, Black, Li, Romero (2017), Learning a model of facial shape and expression from 4D scans. The
landmarks follow the embeddings that come with the model: 51 fixed points, and 17 along the jaw that depend on the
face's yaw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from protome.errors import InputError
from protome.morphable.ibug import detector_deviations
from protome.morphable.model import JAW, Contour, MorphableModel, Skeleton, SurfaceAnchors
from protome.morphable.unpickle import read_pickle
from protome.util.reading import reason

WHERE = "the unchanged FLAME model from https://flame.is.tue.mpg.de, where it is given out under its own licence"
NAMES = ("generic_model.pkl", "flame2023.pkl", "flame2023_Open.pkl", "FLAME2023.pkl", "flame2023_no_jaw.pkl")
EMBEDDINGS = ("landmark_embedding.npy", "flame_static_embedding.pkl")
DYNAMIC = "flame_dynamic_embedding.npy"
JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
IDENTITIES = 300
"""FLAME's first components are those of identity, the others those of expression."""
EYE_CORNERS = (36, 39, 42, 45)


def load_flame(
    path: str | Path, embedding: str | Path | None = None, identities: int = 100, expressions: int = 50
) -> MorphableModel:
    """Read a FLAME model and its landmarks, in the head frame and in millimetres.

    `path` is the model's pickle or the folder that holds it, `embedding` the landmarks' file (`landmark_embedding.npy`
    or `flame_static_embedding.pkl`), by default the one beside the model. Only the first components are kept.

    Raises:
        InputError: a file is missing or is not what FLAME's authors distribute.
    """
    path = _model_file(Path(path))
    data = read_pickle(path, WHERE)
    needed = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
    missing = [key for key in needed if key not in data]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: give {WHERE}")
    try:
        return _model(path, data, _embedding(path, embedding), identities, expressions)
    except (ValueError, IndexError, TypeError, OverflowError, KeyError) as error:
        raise InputError(f"{path} does not have the shape of a FLAME model ({reason(error)}): give {WHERE}") from error


def _model_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            raise InputError(f"{path} holds no FLAME model such as {NAMES[0]}: give {WHERE}")
        return found[0]
    if not path.is_file():
        raise InputError(f"{path} does not exist: give {WHERE}")
    return path


def _embedding(path: Path, embedding: str | Path | None) -> dict[str, np.ndarray]:
    """Return faces and weights of the fixed landmarks and, where known, of the jaw's."""
    beside = [path.parent / name for name in EMBEDDINGS]
    file = Path(embedding) if embedding is not None else next((name for name in beside if name.is_file()), beside[0])
    if not file.is_file():
        raise InputError(f"{file} does not exist: give FLAME's landmark embedding, from https://flame.is.tue.mpg.de")
    wanted = "FLAME's unchanged landmark embedding, from https://flame.is.tue.mpg.de"
    stored = read_pickle(file, wanted)
    found: dict[str, np.ndarray] = {}
    names = {
        "faces": ("static_lmk_faces_idx", "lmk_face_idx"), "weights": ("static_lmk_bary_coords", "lmk_b_coords"),
        "jaw_faces": ("dynamic_lmk_faces_idx",), "jaw_weights": ("dynamic_lmk_bary_coords",),
    }  # fmt: skip
    for key, choices in names.items():
        name = next((name for name in choices if name in stored), None)
        if name is not None:
            found[key] = np.asarray(stored[name])
    if (file.parent / DYNAMIC).is_file() and "jaw_faces" not in found:
        own = read_pickle(file.parent / DYNAMIC, wanted)
        found |= {"jaw_faces": np.asarray(own["lmk_face_idx"]), "jaw_weights": np.asarray(own["lmk_b_coords"])}
    if "faces" not in found or "weights" not in found or found["faces"].shape != (51,):
        raise InputError(f"{file} does not place 51 landmarks: give {wanted}")
    return found


def _model(
    path: Path, data: dict[str, Any], landmarks: dict[str, np.ndarray], identities: int, expressions: int
) -> MorphableModel:
    template, directions = np.asarray(data["v_template"], np.float64), np.asarray(data["shapedirs"], np.float64)
    faces, count = np.asarray(data["f"]).astype(np.int64), len(template)
    if directions.shape[:2] != (count, 3) or faces.ndim != 2 or faces.max() >= count:
        raise ValueError(f"{directions.shape} directions for {count} vertices")
    fixed = (template[faces[landmarks["faces"].astype(np.int64)]] * landmarks["weights"][..., None]).sum(1)
    origin = fixed[[number - JAW for number in EYE_CORNERS]].mean(0)
    moves = directions.transpose(2, 0, 1)
    split = min(IDENTITIES, len(moves))
    identity, expression = moves[:split][:identities], moves[split:][:expressions]
    regressor = np.asarray(data["J_regressor"], np.float64)
    parents = tuple(int(parent) for parent in np.asarray(data["kintree_table"])[0].astype(np.int32))
    parents = (-1, *parents[1:])
    correctives = np.asarray(data["posedirs"], np.float64).transpose(2, 0, 1)
    if len(correctives) != 9 * (len(parents) - 1) or any(not -1 < parent < k for k, parent in enumerate(parents) if k):
        raise ValueError(f"{len(correctives)} correctives for {len(parents)} joints")
    skeleton = Skeleton(
        JOINTS[: len(parents)], parents, _mm(regressor @ (template - origin)), _mm(regressor @ identity),
        _mm(regressor @ expression), torch.from_numpy(np.asarray(data["weights"], np.float32)), _mm(correctives),
    )  # fmt: skip
    contour = None
    jaw_faces, jaw_weights = np.zeros(JAW, np.int64), np.tile([1.0, 0.0, 0.0], (JAW, 1))
    if "jaw_faces" in landmarks:
        contour = _contour(landmarks["jaw_faces"], landmarks["jaw_weights"])
        jaw_faces, jaw_weights = contour.faces[0].numpy(), contour.weights[0].numpy()
    spread = detector_deviations() if contour is not None else detector_deviations(jaw=float("inf"))
    return MorphableModel(
        f"FLAME ({path.name})", _mm(template - origin), torch.from_numpy(faces), _mm(identity), _mm(expression),
        tuple(f"expression {number}" for number in range(len(expression))), torch.ones(len(expression)),
        SurfaceAnchors(
            torch.from_numpy(np.concatenate([jaw_faces, landmarks["faces"]]).astype(np.int64)),
            torch.from_numpy(np.concatenate([jaw_weights, landmarks["weights"]]).astype(np.float32)),
            spread,
        ),
        skeleton=skeleton, contour=contour,
    )  # fmt: skip


def _mm(metres: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((1000.0 * metres).astype(np.float32))


def _contour(faces: np.ndarray, weights: np.ndarray) -> Contour:
    """Return the jaw by yaw: the first half of the rows is for faces turned to their right, 0 degrees first."""
    half = (len(faces) + 1) // 2
    yaw = np.concatenate([-np.arange(half), np.arange(1, len(faces) - half + 1)])
    return Contour(
        torch.from_numpy(yaw.astype(np.float32)), torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(weights.astype(np.float32)),
    )  # fmt: skip
