"""Damaged files of every kind are read, or refused in one sentence; what once led to something else stays mended."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from fuzz import FORBIDDEN, GOOD, Options, damaged, run
from fuzz_kinds import KINDS, outcome
from mutations import mutated
from protome.errors import InputError
from protome.evaluate.landmarks import load_mesh
from protome.evaluate.now import list_images
from protome.geometry.mesh import Mesh
from protome.morphable.unpickle import read_pickle
from protome.perception.weights import load_network
from protome.population.store import Population, complete
from protome.prior.prior import load_fitted
from protome.scenes.scene_folder import read_scene
from protome.topology.track import Track

COUNT = 30
FEW = {"perception.safetensors": 5, "uploads": 12}
"""Kinds of which one file takes long to read, or that are read as others are."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    files = KINDS[name].write(tmp_path)
    valid = {file: file.read_bytes() for file in files}
    assert [outcome(KINDS[name], tmp_path, file) for file in files] == [("read", "")] * len(files)
    found = []
    for number in range(FEW.get(name, COUNT)):
        file, content = damaged(name, number, 12, files, valid)
        file.write_bytes(content)
        word, said = outcome(KINDS[name], tmp_path, file)
        assert word in GOOD, f"{name} {number} {file.name}: {word}: {said}"
        found.append(word)
        file.write_bytes(valid[file])
    assert "refused" in found


def test_the_command_counts_what_goes_wrong_in_its_children(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: Path, file: Path) -> None:
        content = file.read_bytes()
        if len(content) == 4:
            return
        if content[:1] == b"c":
            os._exit(9)
        if content[:1] == b"o":
            Path("/etc/hosts").read_bytes()
        if content[:1] == b"m":
            np.ones(1 << 24)
        raise ValueError("anything")

    def write(folder: Path) -> list[Path]:
        (folder / "a.txt").write_bytes(b"good")
        return [folder / "a.txt"]

    monkeypatch.setitem(KINDS, "own", type(KINDS["masks"])(write, read))
    contents = [b"crash", b"outside", b"memory", b"value", b"good"]
    monkeypatch.setattr("fuzz.MOST_BYTES", 64 << 20)
    monkeypatch.setattr("fuzz.damaged", lambda name, number, seed, files, valid: (files[0], contents[number]))
    with pytest.raises(InputError, match=r"^4 damaged files"):
        run(Options(count=5, kinds=("own",), out=tmp_path / "failed"))
    assert "| own | 5 | 1 | 0 | 1 | 0 | 1 | 0 | 1 | 1 |" in capfd.readouterr().out
    assert len(list((tmp_path / "failed").glob("own_*"))) == 4
    assert "os.system" in FORBIDDEN


def test_damage_is_the_same_for_the_same_numbers() -> None:
    data = json.dumps({"frames": [{"file_path": "a", "w": 3}]}).encode()
    kinds = {mutated(data, np.random.default_rng(seed)) for seed in range(40)}
    assert len(kinds) > 30
    assert kinds == {mutated(data, np.random.default_rng(seed)) for seed in range(40)}


@pytest.mark.parametrize("name", ["transforms.json", "opencv_cameras.json"])
def test_deeply_nested_lists_are_no_scene(name: str, tmp_path: Path) -> None:
    (file,) = KINDS[name].write(tmp_path)
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=name):
        read_scene(tmp_path)


def test_cameras_without_extent_and_names_of_any_length_are_refused(tmp_path: Path) -> None:
    (file,) = KINDS["transforms.json"].write(tmp_path)
    scene = json.loads(file.read_text())
    for key, value in (("w", 0), ("file_path", "x" * 300), ("file_path", "a\0b")):
        frame = scene["frames"][0] | {key: value}
        file.write_text(json.dumps(scene | {"frames": [frame]}))
        with pytest.raises(InputError):
            read_scene(tmp_path)


def test_a_glb_that_claims_a_billion_values_is_refused_before_they_are_made(tmp_path: Path) -> None:
    KINDS["meshes"].write(tmp_path)
    content = (tmp_path / "mesh.glb").read_bytes()
    size = struct.unpack("<I", content[12:16])[0]
    tree = json.loads(content[20 : 20 + size])
    tree["accessors"].append({"count": 10**9, "type": "VEC3", "componentType": 5126})
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    whole = len(content) - size + len(text)
    path = tmp_path / "huge.glb"
    path.write_bytes(content[:8] + struct.pack("<II4s", whole, len(text), b"JSON") + text + content[20 + size :])
    with pytest.raises(InputError, match=r"huge\.glb cannot be read as a mesh \(it claims to hold 1000000000 values\)"):
        Mesh.load(path)


def test_a_face_of_a_row_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -{10**30}\n")
    with pytest.raises(InputError, match=r"line 4 of .*a\.obj"):
        load_mesh(tmp_path / "a.obj")


def test_materials_that_a_mesh_names_elsewhere_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd secret.png\n")
    (tmp_path / "in").mkdir()
    lines = "mtllib ../secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    (tmp_path / "in" / "a.obj").write_text(lines)
    opened: list[str] = []
    real = io.open

    def watched(file: object, *rest: object) -> object:
        opened.append(str(file))
        return real(file, *rest)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", watched)
        patch.setattr("builtins.open", watched)
        assert len(Mesh.load(tmp_path / "in" / "a.obj").faces) == 1
    assert not [name for name in opened if "secret" in name]


@pytest.mark.parametrize("line", [b"S1/\xff\xfe/a.jpg", b"../selfie/a.jpg", b"S1/../a.jpg", b"/S1/selfie/a.jpg"])
def test_a_list_of_images_stays_in_its_folders(line: bytes, tmp_path: Path) -> None:
    KINDS["now"].write(tmp_path)
    (tmp_path / "data" / "imagepathsvalidation.txt").write_bytes(line + b"\n")
    with pytest.raises(InputError, match="imagepathsvalidation"):
        list_images(tmp_path / "made", tmp_path / "data")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    for name, read in (("field.safetensors", load_fitted), ("perception.safetensors", load_network)):
        (file,) = KINDS[name].write(tmp_path)
        content = file.read_bytes()
        key = b"code_shape" if name.startswith("field") else b"squeeze.1.num"
        assert key in content
        file.write_bytes(content.replace(key, key[:-1] + b"X", 1))
        with pytest.raises(InputError, match=name):
            read(file)  # type: ignore[operator]


@pytest.mark.parametrize(
    "change", [{"heads": {"train": "3"}}, {"heads_per_shard": 0}, {"heads": [3]}, {"samples": None}, {"seed": -1}]
)
def test_a_manifest_of_other_values_is_no_population(change: dict[str, object], tmp_path: Path) -> None:
    KINDS["population"].write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="is not a population folder"):
        Population(tmp_path)


def test_names_that_claim_more_than_their_shard_holds_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    shard = KINDS["population"].write(tmp_path)[1]
    with h5py.File(shard) as file:
        start = file["name"].id.get_offset()
    content = bytearray(shard.read_bytes())
    assert content[start : start + 4] == struct.pack("<I", len("head 0"))
    content[start : start + 4] = struct.pack("<I", 1 << 31)
    shard.write_bytes(content)
    with pytest.raises(InputError, match=f"{shard.name} cannot be read as heads") as error:
        Population(tmp_path)
    assert str(error.value.__cause__) == "a string is longer than the file"


def test_a_shards_own_format_is_read_only_where_it_has_a_fixed_length(tmp_path: Path) -> None:
    shard = KINDS["population"].write(tmp_path)[1]
    names = Population(tmp_path).names
    for word, known in (("protome population shard 2", True), (np.bytes_("protome population shard 3"), False)):
        with h5py.File(shard, "a") as file:
            del file.attrs["format"]
            file.attrs["format"] = word  # a string of variable length, as earlier versions wrote it, or a fixed one
        assert complete(shard) == known
        if known:
            assert Population(tmp_path).names == names


def test_deeply_nested_frames_are_no_track(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"a\.json is no JSON"):
        Track.load(tmp_path / "a.json")


class Wide:
    """Is pickled as a call of NumPy's class of arrays with a size."""

    def __reduce__(self) -> tuple[object, tuple[tuple[int]]]:
        return np.ndarray, ((10**10,),)


def test_pickles_make_nothing_that_is_larger_than_they_are(tmp_path: Path) -> None:
    long = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc."
    for content in (pickle.dumps({"a": Wide()}, 2), long):
        (tmp_path / "a.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.pkl cannot be read safely"):
            read_pickle(tmp_path / "a.pkl", "another")
