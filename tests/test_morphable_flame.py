"""FLAME's files, made up here in the same structure: reading, skinning, landmarks, and what is refused."""

from __future__ import annotations

import io
import math
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.sparse import csc_matrix
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.geometry.transforms import Similarity
from protome.morphable.flame import load_flame
from protome.morphable.model import MorphableModel, yaw_degrees
from protome.morphable.unpickle import read_pickle

WEIGHTS = np.array([[1.0, 0, 0], [0.2, 0.3, 0.5]])
PARENTS = np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32)


class Ch:
    """Has the form of chumpy's arrays in a pickle; it is given that package's name where files are written."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._dirty_vars = {"x"}


def dumped(thing: object, protocol: int) -> bytes:
    """Pickle with `Ch` under the name it has in FLAME's files."""
    chumpy, inner = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    inner.Ch = Ch  # type: ignore[attr-defined]
    Ch.__module__, old = "chumpy.ch", Ch.__module__
    sys.modules |= {"chumpy": chumpy, "chumpy.ch": inner}
    try:
        return pickle.dumps(thing, protocol)
    finally:
        Ch.__module__ = old
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def arrays() -> dict[str, np.ndarray]:
    """A ball of a head's size in metres with FLAME's five joints."""
    random = np.random.default_rng(5)
    ball = trimesh.creation.icosphere(2, 0.1)
    count = len(ball.vertices)
    regressor = random.dirichlet(np.full(count, 0.05), 5)
    weights = random.dirichlet(np.full(5, 0.4), count)
    weights[:10] = np.eye(5)[2]
    return {
        "v_template": np.array(ball.vertices) + np.array([0.01, -0.03, 0.02]),
        "f": np.array(ball.faces, np.uint32),
        "shapedirs": random.normal(0, 1e-3, (count, 3, 310)),
        "posedirs": random.normal(0, 1e-3, (count, 3, 36)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": PARENTS,
    }


def write(folder: Path, protocol: int = 2, **changes: object) -> dict[str, np.ndarray]:
    """Write a model and its landmarks as they are distributed; return the arrays."""
    data, random = arrays(), np.random.default_rng(6)
    chumpy = {key: Ch(data[key]) for key in ("shapedirs", "v_template")}
    wrapped = data | chumpy | {"J_regressor": csc_matrix(data["J_regressor"]), "bs_style": "lbs"} | changes
    (folder / "generic_model.pkl").write_bytes(
        dumped({key: value for key, value in wrapped.items() if value is not None}, protocol)
    )
    faces = len(data["f"])
    embedding = {
        "static_lmk_faces_idx": random.integers(faces, size=51),
        "static_lmk_bary_coords": random.dirichlet([1, 1, 1], 51),
        "dynamic_lmk_faces_idx": torch.from_numpy(random.integers(faces, size=(79, 17))),
        "dynamic_lmk_bary_coords": torch.from_numpy(random.dirichlet([1, 1, 1], (79, 17))),
    }
    np.save(folder / "landmark_embedding.npy", embedding, allow_pickle=True)  # type: ignore[arg-type]
    return data | {key: np.asarray(value) for key, value in embedding.items()}


def static(data: dict[str, np.ndarray]) -> np.ndarray:
    corners = data["v_template"][data["f"][data["static_lmk_faces_idx"]]]
    return (corners * data["static_lmk_bary_coords"][..., None]).sum(1)


def posed(model: MorphableModel, turns: np.ndarray, identity: torch.Tensor, expression: torch.Tensor) -> np.ndarray:
    head = model.with_shape(identity).with_expression(expression)
    moved = head.with_pose(Similarity.identity(), torch.from_numpy(turns).float())
    return moved.vertices.numpy()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_flame_pickle_is_read_in_the_head_frame(tmp_path: Path, protocol: int) -> None:
    data = write(tmp_path, protocol)
    model = load_flame(tmp_path, identities=20, expressions=7)
    origin = static(data)[[36 - 17, 39 - 17, 42 - 17, 45 - 17]].mean(0)
    np.testing.assert_allclose(model.template.numpy(), 1000 * (data["v_template"] - origin), atol=1e-3)
    np.testing.assert_allclose(model.identity.numpy(), 1000 * data["shapedirs"].transpose(2, 0, 1)[:20], atol=1e-5)
    np.testing.assert_allclose(
        model.expression.numpy(), 1000 * data["shapedirs"].transpose(2, 0, 1)[300:307], atol=1e-5
    )
    landmarks = model.mean().neutral().with_pose(Similarity.identity()).landmarks()
    np.testing.assert_allclose(landmarks[17:].numpy(), 1000 * (static(data) - origin), atol=1e-3)
    assert "chumpy" not in sys.modules


def test_without_turns_the_template_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path)
    model = load_flame(tmp_path / "generic_model.pkl", tmp_path / "landmark_embedding.npy", 4, 3)
    found = posed(model, np.zeros((4, 3)), torch.zeros(4), torch.zeros(3))
    np.testing.assert_allclose(found, model.template.numpy(), atol=1e-4)


def test_a_turned_jaw_takes_its_vertices_about_its_joint(tmp_path: Path) -> None:
    data = write(tmp_path, posedirs=np.zeros((162, 3, 36)))
    model = load_flame(tmp_path, identities=4, expressions=3)
    identity = torch.tensor([1.0, -1, 2, 0.5])
    shaped = model.with_shape(identity).neutral().vertices.numpy()
    turns = np.zeros((4, 3))
    turns[1] = [0.3, 0.0, 0.0]
    found = posed(model, turns, identity, torch.zeros(3))
    joint = data["J_regressor"][2] @ shaped
    expected = joint + Rotation.from_rotvec(turns[1]).apply(shaped[:10] - joint)
    np.testing.assert_allclose(found[:10], expected, atol=2e-3)


def test_skinning_follows_the_published_equations(tmp_path: Path) -> None:
    data = write(tmp_path)
    model = load_flame(tmp_path, identities=4, expressions=3)
    identity, expression = torch.tensor([1.0, -1, 2, 0.5]), torch.tensor([0.3, 2, -1])
    turns = np.random.default_rng(0).normal(0, 0.3, (4, 3))
    found = posed(model, turns, identity, expression)
    # Written out with 4 x 4 matrices and one vertex at a time, as the paper has it.
    shaped = model.with_shape(identity).with_expression(expression).vertices.double().numpy()
    joints = data["J_regressor"] @ shaped
    matrices = [np.eye(3), *Rotation.from_rotvec(turns).as_matrix()]
    feature = np.concatenate([(matrix - np.eye(3)).ravel() for matrix in matrices[1:]])
    shaped = shaped + 1000 * data["posedirs"] @ feature
    world: list[np.ndarray] = []
    for joint, parent in enumerate([-1, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = matrices[joint], joints[joint] - (joints[parent] if joint else 0)
        world.append(local if joint == 0 else world[parent] @ local)
    for vertex in range(0, len(shaped), 7):
        blended = np.zeros(4)
        for joint in range(5):
            rest = np.append(shaped[vertex] - joints[joint], 1.0)
            blended += data["weights"][vertex, joint] * (world[joint] @ rest)
        np.testing.assert_allclose(found[vertex], blended[:3], atol=2e-3)


@pytest.mark.parametrize("turn", [-60.0, -17.0, 0.0, 0.4, 25.0, 39.0, 80.0])
def test_the_jaw_slides_with_the_turn_as_flames_own_code_has_it(tmp_path: Path, turn: float) -> None:
    data = write(tmp_path)
    model = load_flame(tmp_path, identities=4, expressions=3)
    matrix = Rotation.from_euler("y", turn, degrees=True).as_matrix()
    pose = Similarity(torch.from_numpy(matrix).float(), torch.tensor([0.0, 0, -1000]), torch.ones(()))
    camera = torch.zeros(3)
    # FLAME's rule: minus the turn about y, rounded, up to 39 degrees; the other direction follows from row 40 on.
    angle = round(min(math.degrees(-math.atan2(-matrix[2, 0], math.hypot(matrix[0, 0], matrix[1, 0]))), 39))
    row = angle if angle >= 0 else (78 if angle < -39 else 39 - angle)
    assert yaw_degrees(pose, camera) == pytest.approx(turn, abs=1e-3)
    head = model.mean().neutral().with_pose(pose)
    corners = head.vertices[model.faces[torch.from_numpy(data["dynamic_lmk_faces_idx"][row])]]
    weights = torch.from_numpy(data["dynamic_lmk_bary_coords"][row]).float()
    torch.testing.assert_close(head.landmarks(camera)[:17], (corners * weights[..., None]).sum(1), atol=1e-3, rtol=0)


def test_the_older_embeddings_are_read_too(tmp_path: Path) -> None:
    data = write(tmp_path)
    (tmp_path / "landmark_embedding.npy").unlink()
    old = {"lmk_face_idx": data["static_lmk_faces_idx"], "lmk_b_coords": data["static_lmk_bary_coords"]}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(old, 2))
    model = load_flame(tmp_path, identities=4, expressions=3)
    assert model.contour is None
    assert torch.isinf(model.landmarks.deviations[:17]).all()  # no jaw: its points say nothing
    dynamic = {"lmk_face_idx": data["dynamic_lmk_faces_idx"], "lmk_b_coords": data["dynamic_lmk_bary_coords"]}
    np.save(tmp_path / "flame_dynamic_embedding.npy", dynamic, allow_pickle=True)  # type: ignore[arg-type]
    again = load_flame(tmp_path, identities=4, expressions=3)
    assert again.contour is not None
    assert again.contour.faces.shape == (79, 17)


def test_missing_files_are_named_with_their_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"generic_model.pkl does not exist: give .* https://flame\.is\.tue\.mpg\.de"):
        load_flame(tmp_path / "generic_model.pkl")
    with pytest.raises(InputError, match=r"holds no FLAME model .* https://flame\.is\.tue\.mpg\.de"):
        load_flame(tmp_path)
    write(tmp_path)
    (tmp_path / "landmark_embedding.npy").unlink()
    with pytest.raises(InputError, match=r"landmark_embedding.npy does not exist: give .*flame\.is\.tue\.mpg\.de"):
        load_flame(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": None}, "has no weights: give"),
        ({"shapedirs": np.zeros((3, 3, 10))}, "does not have the shape of a FLAME model"),
        ({"posedirs": np.zeros((162, 3, 9))}, "9 correctives for 5 joints"),
    ],
)
def test_models_of_another_kind_are_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    write(tmp_path, 2, **changes)
    with pytest.raises(InputError, match=sentence):
        load_flame(tmp_path)


class Trap:
    """A pickle that would make a folder when read by Python's own reader."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_pickles_that_would_run_something_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"
    path = tmp_path / "trap.pkl"
    path.write_bytes(pickle.dumps({"v_template": Trap(str(target))}, 2))
    with pytest.raises(InputError, match=r"cannot be read safely \(it needs (posix|nt)\.mkdir\)"):
        read_pickle(path, "another file")
    assert not target.exists()
    inside = io.BytesIO()
    torch.save(Trap(str(target)), inside)
    path.write_bytes(pickle.dumps({"a": _Loaded(inside.getvalue())}, 2))
    with pytest.raises(InputError, match="cannot be read safely"):
        read_pickle(path, "another file")
    assert not target.exists()


class _Loaded:
    """Asks for what PyTorch's tensors ask for, with any content."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return torch.storage._load_from_bytes, (self.content,)
