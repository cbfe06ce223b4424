"""Linear head models in NumPy's `.npz`, and the model that ships with the package, which is one of them.

Keys of a file; lengths are millimetres in the head frame, floats of any precision:

- `name`: a text;
- `template` (v, 3) and `faces` (f, 3): the mean head;
- `identity` (i, v, 3): displacements, one standard deviation each;
- `expression` (e, v, 3), `expression_names` (e), `expression_deviations` (e): optional;
- `landmark_faces` (68), `landmark_weights` (68, 3), `landmark_deviations` (68): iBUG's 68 as points of triangles, and
  the standard deviations of detected ones from there, mm;
- `dense_faces` (468), `dense_weights` (468, 3), `dense_deviations` (468): the same for MediaPipe's; optional;
- `uv` (u, 2), `uv_faces` (f, 3): a UV map; optional.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from protome.errors import InputError
from protome.morphable.model import Chart, MorphableModel, SurfaceAnchors
from protome.util.files import write_arrays
from protome.util.reading import read_arrays, reading

ASSET = "morphable.npz"
NEEDED = ("name", "template", "faces", "identity", "landmark_faces", "landmark_weights", "landmark_deviations")


@lru_cache(maxsize=1)
def load_builtin() -> MorphableModel:
    """Read the model that ships with the package (made by `protome.population.head_model.build`)."""
    return load_linear(Path(str(resources.files("protome") / "assets" / ASSET)))


def load_linear(path: str | Path) -> MorphableModel:
    """Read a linear model.

    Raises:
        InputError: no such file, not one of NumPy's archives, a key is missing, or shapes are inconsistent.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the .npz file of a linear head model")
    arrays = read_arrays(path, "an .npz file", "give the file of a linear head model")
    missing = [key for key in NEEDED if key not in arrays]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: give the .npz file of a linear head model")
    with reading(path, "a linear head model", "correct the file"):
        _check(path, arrays)
    count = len(arrays["template"])
    names = tuple(str(name) for name in arrays.get("expression_names", np.zeros(0, str)))
    return MorphableModel(
        str(arrays["name"]),
        _floats(arrays["template"]),
        _integers(arrays["faces"]),
        _floats(arrays["identity"]),
        _floats(arrays.get("expression", np.zeros((0, count, 3)))),
        names,
        _floats(arrays.get("expression_deviations", np.ones(len(names)))),
        _points(arrays, "landmark"),
        _points(arrays, "dense") if "dense_faces" in arrays else None,
        Chart(_floats(arrays["uv"]), _integers(arrays["uv_faces"])) if "uv" in arrays else None,
    )


def save_linear(model: MorphableModel, path: str | Path, precision: type[np.floating] = np.float32) -> None:
    """Write a linear model; components are stored in a floating-point type of the given precision.

    Raises:
        ValueError: the model has joints, which no linear model has.
    """
    if model.skeleton is not None:
        raise ValueError(f"{model.name} has joints: it is no linear model")
    arrays: dict[str, np.ndarray] = {
        "name": np.array(model.name),
        "template": model.template.numpy(),
        "faces": model.faces.numpy().astype(np.int32),
        "identity": model.identity.numpy().astype(precision),
        "expression": model.expression.numpy().astype(precision),
        "expression_names": np.array(model.expression_names, str),
        "expression_deviations": model.expression_deviations.numpy(),
    }
    for name, points in (("landmark", model.landmarks), ("dense", model.dense)):
        if points is not None:
            arrays |= {
                f"{name}_faces": points.faces.numpy().astype(np.int32),
                f"{name}_weights": points.weights.numpy(),
                f"{name}_deviations": points.deviations.numpy(),
            }
    if model.chart is not None:
        arrays |= {"uv": model.chart.uv.numpy(), "uv_faces": model.chart.faces.numpy().astype(np.int32)}
    write_arrays(Path(path), arrays)


def _floats(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _integers(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64))


def _points(arrays: dict[str, np.ndarray], name: str) -> SurfaceAnchors:
    faces, weights, deviations = (arrays[f"{name}_{part}"] for part in ("faces", "weights", "deviations"))
    return SurfaceAnchors(_integers(faces), _floats(weights), _floats(deviations))


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Reject inconsistent arrays.

    Raises:
        InputError: a shape, a number or an index is impossible.
    """
    vertices, faces = arrays["template"].shape[:1], arrays["faces"].shape[:1]
    wanted = {
        "template": (*vertices, 3), "faces": (*faces, 3),
        "identity": (*arrays["identity"].shape[:1], *vertices, 3),
        "landmark_faces": (68,), "landmark_weights": (68, 3), "landmark_deviations": (68,),
        "dense_faces": (468,), "dense_weights": (468, 3), "dense_deviations": (468,), "uv_faces": (*faces, 3),
    }  # fmt: skip
    if "expression" in arrays:
        count = arrays["expression"].shape[:1]
        wanted |= {"expression": (*count, *vertices, 3), "expression_names": count, "expression_deviations": count}
        arrays.setdefault("expression_names", np.array([f"expression {k}" for k in range(*count)]))
        arrays.setdefault("expression_deviations", np.ones(count))
    for key, shape in wanted.items():
        if key in arrays and arrays[key].shape != shape:
            raise InputError(f"{key} in {path} has the shape {arrays[key].shape}, not {shape}: correct the file")
        if key in arrays and arrays[key].dtype.kind == "f" and not np.isfinite(arrays[key]).all():
            raise InputError(f"{key} in {path} holds numbers that are not finite: correct the file")
    limits = {"faces": len(arrays["template"]), "landmark_faces": len(arrays["faces"])}
    limits |= {"dense_faces": len(arrays["faces"]), "uv_faces": len(arrays.get("uv", ()))}
    for key, limit in limits.items():
        if key in arrays and len(arrays[key]) and not 0 <= arrays[key].min() <= arrays[key].max() < limit:
            raise InputError(f"{key} in {path} has indices out of range (of {limit}): correct the file")
