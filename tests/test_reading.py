"""Damaged files end in one sentence that names them: mutations of every kind of file that is read from outside."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from mutations import mutated_bytes
from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.morphable.ict_files import IctModel
from protome.morphable.linear import load_builtin, load_linear, save_linear
from protome.population.sources.valid import ValidHeads
from protome.prior.prior import Prior, load_fitted
from protome.scenes.colmap import read_colmap
from protome.util.reading import MOST_BYTES, read_arrays, reading

MUTATIONS = 30


def survives(path: Path, data: bytes, read: Callable[[Path], object], seed: int) -> None:
    """Check that mutations of a file are read, or refused in a sentence that names the file or its folder."""
    rng, said = np.random.default_rng(seed), []
    for _ in range(MUTATIONS):
        path.write_bytes(mutated_bytes(data, rng))
        try:
            read(path)
        except InputError as error:
            said.append(str(error))
    assert said
    assert all(str(path.parent) in sentence and "\n" not in sentence for sentence in said)


@pytest.fixture(scope="module")
def face() -> bytes:
    """A small linear model as a file."""
    buffer = io.BytesIO()
    model = load_builtin()
    count = len(model.template)
    np.savez(
        buffer, name=np.array("small"), template=model.template.numpy(), faces=model.faces.numpy(),
        identity=np.zeros((1, count, 3), np.float32), landmark_faces=model.landmarks.faces.numpy(),
        landmark_weights=model.landmarks.weights.numpy(), landmark_deviations=model.landmarks.deviations.numpy(),
    )  # fmt: skip
    return buffer.getvalue()


def test_a_linear_model(tmp_path: Path, face: bytes) -> None:
    survives(tmp_path / "face.npz", face, load_linear, 0)


def test_a_mesh_in_words_and_in_bytes(tmp_path: Path) -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    triangles = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    mesh = Mesh(corners, triangles, np.full((4, 3), 0.5), corners, np.ones(4))
    for suffix in (".ply", ".obj", ".glb"):
        path = tmp_path / f"mesh{suffix}"
        mesh.save(path)
        survives(path, path.read_bytes(), Mesh.load, 1)


def colmap(folder: Path) -> Path:
    """Write a model of one image."""
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 PINHOLE 64 48 50.0 50.0 32.0 24.0\n")
    (model / "images.txt").write_text("1 1 0 0 0 0 0 1 1 a.png\n\n")
    return model


def test_colmap_models_in_words(tmp_path: Path) -> None:
    model = colmap(tmp_path)
    for name in ("cameras.txt", "images.txt"):
        data = (model / name).read_bytes()
        survives(model / name, data, lambda _: read_colmap(tmp_path), 2)
        (model / name).write_bytes(data)


@pytest.fixture(scope="module")
def prior() -> tuple[dict, dict[str, str]]:
    """The shipped prior's tensors and notes."""
    with safe_open(str(resources.files("protome") / "assets" / "prior.safetensors"), "pt") as stored:
        return {key: stored.get_tensor(key) for key in stored.keys()}, dict(stored.metadata())  # noqa: SIM118


@pytest.mark.parametrize(
    "change",
    [
        {"deformation_frequencies": None}, {"zzz": 1}, {"reference_depth": 10**9}, {"reference_width": 0},
        {"centre": 3}, {"latent": -4}, {"activation": "none"}, {"latent": 10**6},
    ],
    ids=str,
)  # fmt: skip
def test_weights_whose_networks_cannot_be(
    tmp_path: Path, prior: tuple[dict, dict[str, str]], change: dict[str, object]
) -> None:
    tensors, notes = prior
    config = json.dumps(json.loads(notes["config"]) | change)
    save_file(tensors, tmp_path / "prior.safetensors", notes | {"config": config})
    with pytest.raises(InputError, match=r"prior\.safetensors"):
        Prior.load(tmp_path / "prior.safetensors")


def test_weights_without_notes_or_of_other_shapes(tmp_path: Path, prior: tuple[dict, dict[str, str]]) -> None:
    tensors, notes = prior
    path = tmp_path / "prior.safetensors"
    save_file(tensors, path, {key: value for key, value in notes.items() if key != "config"})
    with pytest.raises(InputError, match=r"prior\.safetensors"):
        Prior.load(path)
    key = next(key for key in tensors if key.startswith("field."))
    save_file(tensors | {key: tensors[key].flatten()[:1].clone()}, path, notes)
    with pytest.raises(InputError, match=r"prior\.safetensors"):
        Prior.load(path)
    with pytest.raises(InputError, match=r"prior\.safetensors is of another kind"):
        load_fitted(path)


def valid(folder: Path) -> None:
    """Write a folder of busts with a body of three vertices."""
    bodies = np.zeros((2, 3, 3), np.float32)
    np.savez(
        folder / "bodies.npz", names=np.array(["A_1_x.glb", "B_1_x.glb"]), vertices_arms_down=bodies,
        faces=np.array([[0, 1, 2]]), uv=np.zeros((3, 2)), weld=np.arange(3),
    )  # fmt: skip
    rows = [{"file": f"{name}_1_x.glb", "hair": {"geometry": "none"}} for name in "AB"]
    (folder / "index.json").write_text(json.dumps({"files": rows}))
    (folder / "landmarks.json").write_text(json.dumps({"landmarks": {"nose": 1}}))


def use(folder: Path) -> None:
    """Read all of a folder of busts but the avatars."""
    heads = ValidHeads(folder)
    assert heads.is_bald("A_1_x") is not None
    assert heads.body("A_1_x").shape == (3, 3)
    assert (heads.faces.shape, heads.uv.shape, heads.weld.shape) == ((1, 3), (3, 2), (3,))
    assert heads.landmarks["nose"] == 1


def test_a_folder_of_busts(tmp_path: Path) -> None:
    valid(tmp_path)
    use(tmp_path)
    for number, name in enumerate(("bodies.npz", "index.json", "landmarks.json")):
        data = (tmp_path / name).read_bytes()

        def read(path: Path) -> None:
            try:
                use(path.parent)
            except (AssertionError, KeyError, ValueError) as error:
                # A name was altered: the file is another one, and not a broken one.
                if not any(name in str(error) for name in ("A_1_x", "nose")) and str(error):
                    raise

        survives(tmp_path / name, data, read, 10 + number)
        (tmp_path / name).write_bytes(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vertices_arms_down", np.array("x")), ("vertices_arms_down", np.zeros((0, 3, 3))), ("names", np.array("A")),
        ("names", np.zeros(0, str)), ("weld", np.array("x")), ("weld", np.array([0, 1, 9])),
        ("faces", np.array([[0, 1, -2]])), ("uv", np.zeros(3)),
    ],
)  # fmt: skip
def test_bodies_of_wrong_shape(tmp_path: Path, key: str, value: np.ndarray) -> None:
    valid(tmp_path)
    with np.load(tmp_path / "bodies.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(tmp_path / "bodies.npz", **arrays | {key: value})
    with pytest.raises(InputError, match=r"bodies\.npz cannot be read as the bodies"):
        use(tmp_path)


def test_faces_of_ict(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer, faces=np.zeros((2, 4, 2), np.int64), expression_names=np.array(["smile"]), neutral=np.zeros((9, 3)),
        identity=np.zeros((2, 9, 3)), expression=np.zeros((1, 9, 3)),
    )  # fmt: skip
    path = tmp_path / "ict_facekit.npz"
    path.write_bytes(buffer.getvalue())
    assert IctModel.load(tmp_path).expression_names == ("smile",)
    survives(path, buffer.getvalue(), lambda path: IctModel.load(path.parent), 20)


def test_an_array_that_claims_what_is_not_there_is_refused_before_it_is_made(tmp_path: Path) -> None:
    head = np.lib.format.header_data_from_array_1_0(np.zeros(1)) | {"shape": (10**15,)}
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, head)
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("template.npy", member.getvalue() + b"\0" * 64)
    with pytest.raises(InputError, match=r"huge\.npz cannot be read as a model: give another$"):
        read_arrays(path, "a model", "give another")


def test_zeros_packed_to_nothing_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protome.util.reading.MOST_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(1 << 18))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputError, match=r"bomb\.npz claims to hold"):
        read_arrays(path, "a model", "give another")
    assert MOST_BYTES == 4 << 30


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", a=np.array([print], object))
    with pytest.raises(InputError, match=r"objects\.npz cannot be read"):
        read_arrays(tmp_path / "objects.npz", "a model", "give another")


def test_a_sentence_that_is_said_inside_passes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^as it is$"), reading(tmp_path, "a model", "give another"):
        raise InputError("as it is")
    missing = tmp_path / "none.json"
    with pytest.raises(InputError, match=r"none\.json does not exist: give another$"):
        with reading(missing, "a list", "give another"):
            missing.read_text()


def test_a_linear_model_that_was_saved_is_still_read(tmp_path: Path) -> None:
    save_linear(load_builtin(), tmp_path / "own.npz")
    assert len(load_linear(tmp_path / "own.npz").identity) == len(load_builtin().identity)
