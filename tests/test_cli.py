"""The command line: help and error texts are golden files, and bad input costs one sentence and exit code 2.

After a text was changed on purpose: `pytest tests/test_cli.py --update-golden`, then read the difference.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from protome.errors import InputError, ProtomeWarning
from shots import random_shots, write_transforms

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a function that compares a text with a golden file, or writes it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"tests/golden/{name} is missing: run pytest with --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


def _module(monkeypatch: pytest.MonkeyPatch, name: str, function: str, replacement: Callable[..., object]) -> None:
    module = types.ModuleType(name)
    setattr(module, function, replacement)
    monkeypatch.setitem(sys.modules, name, module)


# Help


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("help.txt", []),
        ("help_reconstruct.txt", ["reconstruct"]),
        ("help_inspect.txt", ["inspect"]),
        ("help_app.txt", ["app"]),
        ("help_view.txt", ["view"]),
        ("help_render.txt", ["render"]),
        ("help_detail.txt", ["detail"]),
        ("help_train.txt", ["train"]),
        ("help_train_encoder.txt", ["train-encoder"]),
        ("help_population.txt", ["population"]),
        ("help_population_build.txt", ["population", "build"]),
        ("help_population_busts.txt", ["population", "busts"]),
        ("help_population_head_model.txt", ["population", "head-model"]),
        ("help_population_portraits.txt", ["population", "portraits"]),
        ("help_population_wardrobe.txt", ["population", "wardrobe"]),
        ("help_population_template.txt", ["population", "template"]),
        ("help_retopologize.txt", ["retopologize"]),
        ("help_animate.txt", ["animate"]),
        ("help_train_perception.txt", ["train-perception"]),
        ("help_evaluate.txt", ["evaluate"]),
        ("help_prior.txt", ["prior"]),
        ("help_prior_sample.txt", ["prior", "sample"]),
        ("help_prior_morph.txt", ["prior", "morph"]),
        ("help_batch.txt", ["batch"]),
        ("help_benchmark.txt", ["benchmark"]),
        ("help_benchmark_casual.txt", ["benchmark", "casual"]),
        ("help_benchmark_detail.txt", ["benchmark", "detail"]),
        ("help_benchmark_perception.txt", ["benchmark", "perception"]),
        ("help_benchmark_speed.txt", ["benchmark", "speed"]),
        ("help_benchmark_study.txt", ["benchmark", "study"]),
        ("help_benchmark_texture.txt", ["benchmark", "texture"]),
        ("help_benchmark_topology.txt", ["benchmark", "topology"]),
    ],
)
def test_help(
    run: Callable[[list[str]], int],
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    arguments: list[str],
) -> None:
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # frames are drawn where this encoding can carry them
    monkeypatch.setattr(sys, "stdout", shown)
    assert run([*arguments, "--help"]) == 0
    shown.seek(0)
    golden(name, shown.read())
    assert capsys.readouterr().err == ""


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys, protome.cli\n"
        "sys.argv = ['protome', 'reconstruct', '--help']\n"
        "try:\n    protome.cli.main()\n"
        "finally:\n    print('loaded:', [name for name in ('torch', 'numpy', 'cv2', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("command", ["reconstruct", "detail", "inspect"])
def test_a_missing_photo_is_refused_before_anything_slow_is_loaded(command: str, tmp_path: Path) -> None:
    code = (
        "import sys, protome.cli\n"
        f"sys.argv = ['protome', '{command}', '{tmp_path / 'none.jpg'}', '--out', '{tmp_path / 'out'}']\n"
        "print(protome.cli.main(), [name for name in ('torch', 'numpy', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"
    assert done.stderr == f"error: {tmp_path / 'none.jpg'} does not exist: give the path of a photo\n"


# What the commands hand on


# How commands end


def test_stopping_is_no_traceback(
    run: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def reconstruct(inputs: tuple[Path, ...], **options: object) -> None:
        raise KeyboardInterrupt

    _module(monkeypatch, "protome.pipeline", "reconstruct", reconstruct)
    (tmp_path / "a.png").touch()
    assert run(["reconstruct", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "stopped before the end\n"


def test_warnings_are_sentences_and_those_of_libraries_are_hidden(
    run: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def reconstruct(inputs: tuple[Path, ...], **options: object) -> None:
        for photo in ("a.png", "b.png"):
            warnings.warn(f"no face was found in {photo}: it is left out", ProtomeWarning, stacklevel=2)
        warnings.warn("this will be removed in version 9", DeprecationWarning, stacklevel=2)
        raise InputError("no face was found in any photo: give one that shows a face")

    _module(monkeypatch, "protome.pipeline", "reconstruct", reconstruct)
    monkeypatch.setattr(sys, "warnoptions", [])
    before = warnings.showwarning
    (tmp_path / "a.png").touch()
    assert run(["reconstruct", str(tmp_path / "a.png"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "warning: no face was found in a.png: it is left out",
        "warning: no face was found in b.png: it is left out",
        "error: no face was found in any photo: give one that shows a face",
    ]
    assert warnings.showwarning is before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rebuild"],
        ["reconstruct", "a.png"],
        ["reconstruct", "a.png", "--out", "out", "--preset", "best"],
        ["reconstruct", "a.png", "--out", "out", "--resolution", "high"],
        ["reconstruct", "a.png", "--out", "out", "--no-such-option"],
    ],
)
def test_usage_errors_exit_with_2(
    run: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert "protome" in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err
    assert list(tmp_path.iterdir()) == []


# Bad input


def _picture(path: Path, width: int = 128, height: int = 128, seed: int = 0) -> Path:
    """Write noise, in which no face can be found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def _scene(folder: Path, views: int = 3) -> Path:
    """Write a folder in the layout of IDR: images, masks, and cameras on a circle that look at the origin."""
    matrices: dict[str, np.ndarray] = {}
    for index in range(views):
        _picture(folder / "image" / f"img_{index:04d}.png", seed=index)
        mask = np.zeros((128, 128), np.uint8)
        mask[32:96, 32:96] = 255
        (folder / "mask").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "mask" / f"mask_{index:04d}.png")
        angle = 0.5 * index
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        pose = np.eye(4)
        pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ turn
        pose[:3, 3] = [0, 0, 800]
        K = np.eye(4)
        K[:3, :3] = [[200, 0, 64], [0, 200, 64], [0, 0, 1]]
        matrices[f"world_mat_{index}"] = K @ pose
        matrices[f"scale_mat_{index}"] = np.diag([150.0, 150.0, 150.0, 1.0])
    np.savez(folder / "cameras.npz", **matrices)  # type: ignore[arg-type]
    return folder


def _text(path: Path) -> Path:
    path.write_text("this is no picture")
    return path


def _with_small_mask(folder: Path) -> Path:
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "mask" / "mask_0001.png")
    return folder


def _without_cameras(folder: Path) -> Path:
    (folder / "cameras.npz").unlink()
    return folder


def _with_infinite_camera(folder: Path) -> Path:
    with np.load(folder / "cameras.npz") as stored:
        matrices = dict(stored)
    matrices["world_mat_1"][0, 3] = np.nan
    np.savez(folder / "cameras.npz", **matrices)
    return folder


def _with_panorama(folder: Path) -> Path:
    write_transforms(folder, random_shots(("a.png", "b.png")), camera_model="EQUIRECTANGULAR")
    return folder


def _with_other_cameras(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "poses_bounds.npy").write_bytes(b"")
    return folder


def _track(folder: Path) -> Path:
    path = folder / "take.json"
    path.write_text('[{"jawOpen": 1}]')
    return path


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


BAD_INPUTS: dict[str, Callable[[Path], list[Path]]] = {
    "no_input": lambda folder: [],
    "missing_file": lambda folder: [folder / "nobody.jpg"],
    "not_an_image": lambda folder: [_text(folder / "notes.jpg")],
    "small_image": lambda folder: [_picture(folder / "small.png", 63, 200)],
    "no_face": lambda folder: [_picture(folder / "noise.png")],
    "no_face_in_any": lambda folder: [_picture(folder / f"noise_{index}.png", seed=index) for index in range(3)],
    "empty_folder": lambda folder: [_empty(folder / "scene")],
    "unknown_camera": lambda folder: [_with_panorama(folder / "scene")],
    "unknown_layout": lambda folder: [_with_other_cameras(folder / "scene")],
    "photos_beside_a_scene": lambda folder: [_picture(folder / "a.png"), _scene(folder / "scene")],
    "mask_of_other_size": lambda folder: [_with_small_mask(_scene(folder / "scene"))],
    "cameras_missing": lambda folder: [_without_cameras(_scene(folder / "scene"))],
    "cameras_not_finite": lambda folder: [_with_infinite_camera(_scene(folder / "scene"))],
}


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _is_one_sentence(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1 and text.endswith("\n") and ": " in text[7:]


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_sentence_and_loses_nothing(
    run: Callable[[list[str]], int],
    golden: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    case: str,
) -> None:
    inputs = BAD_INPUTS[case](tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "head.ply").write_text("an earlier result")
    before = _contents(tmp_path)
    assert run(["reconstruct", *map(str, inputs), "--out", str(out), "--preset", "draft", "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert _is_one_sentence(captured.err)
    assert _contents(tmp_path) == before
    golden(f"error_{case}.txt", captured.err.replace(str(tmp_path), "FOLDER"))


def test_several_faces_are_a_warning_and_with_strict_an_error(
    run: Callable[[list[str]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def stop(device: str) -> None:
        raise InputError("the test stops here: capture is done")

    monkeypatch.setattr("protome.pipeline.choose_device", stop)
    photo = tmp_path / "two.png"
    Image.fromarray(np.concatenate([skimage.data.astronaut()] * 2, axis=1)).save(photo)
    arguments = ["reconstruct", str(photo), "--out", str(tmp_path / "out"), "--quiet"]
    assert run(arguments) == 2
    assert capsys.readouterr().err.splitlines() == [
        "warning: 2 faces found in two.png: the largest one is used",
        "error: the test stops here: capture is done",
    ]
    assert run([*arguments, "--strict"]) == 2
    assert capsys.readouterr().err == f"error: 2 faces found in {photo}: crop the photo to one person\n"


def _plain_head(path: Path) -> Path:
    """Write a head as older versions did: with vertex colours."""
    import trimesh

    from protome.geometry.mesh import Mesh

    ball = trimesh.creation.icosphere(1)
    Mesh(np.array(ball.vertices), np.array(ball.faces), np.full((len(ball.vertices), 3), 0.5)).save(path)
    return path


BAD_PLACES: dict[str, Callable[[Path], list[str]]] = {
    "output_below_a_file": lambda folder: ["reconstruct", "a.png", "--out", str(_text(folder / "file") / "out")],
    "output_is_a_file": lambda folder: ["reconstruct", "a.png", "--out", str(_text(folder / "file"))],
    "output_is_a_folder": lambda folder: ["train", "--population", "people", "--out", str(_empty(folder / "prior"))],
    "no_population": lambda folder: [
        "train", "--population", str(folder / "people"), "--out", str(folder / "prior.safetensors"), "--quiet",
    ],
    "unknown_config": lambda folder: [
        "train", "--population", str(_empty(folder / "people")), "--out", str(folder / "prior.safetensors"),
        "--config", "huge",
    ],
    "morph_into_a_folder": lambda folder: ["prior", "morph", "1", "2", "--out", str(_empty(folder / "head.glb"))],
    "steps_into_a_file": lambda folder: ["prior", "morph", "1", "2", "--out", str(folder / "a.glb"), "--steps", "3"],
    "morph_of_no_head": lambda folder: ["prior", "morph", "nobody", "2", "--out", str(folder / "a.glb"), "--quiet"],
    "morph_of_an_empty_folder": lambda folder: [
        "prior", "morph", "2", str(_empty(folder / "head")), "--out", str(folder / "a.glb"), "--quiet",
    ],
    "morph_too_far": lambda folder: [
        "prior", "morph", "1", "2", "--out", str(folder / "a.glb"), "--shape", "2", "--quiet",
    ],
    "no_prior": lambda folder: [
        "prior", "morph", "1", "2", "--out", str(folder / "a.glb"), "--prior", str(folder / "p.safetensors"),
    ],
    "unknown_texture_size": lambda folder: [
        "reconstruct", "a.png", "--out", str(folder / "out"), "--texture", "1000",
    ],
    "detail_and_none": lambda folder: [
        "reconstruct", "a.png", "--out", str(folder / "out"), "--detail", "--no-detail",
    ],
    "unknown_format": lambda folder: ["reconstruct", "a.png", "--out", str(folder / "out"), "--formats", "glb,fbx"],
    "unknown_faces": lambda folder: ["reconstruct", "a.png", "--out", str(folder / "out"), "--faces", "few"],
    "render_as_another_kind": lambda folder: ["render", str(folder), "--turntable", str(folder / "turn.avi")],
    "render_of_an_empty_folder": lambda folder: [
        "render", str(_empty(folder / "head")), "--turntable", str(folder / "turn.gif"),
    ],
    "retopologize_of_an_empty_folder": lambda folder: ["retopologize", str(_empty(folder / "head"))],
    "animate_without_a_rig": lambda folder: [
        "animate", str(_empty(folder / "head")), "--weights", str(_track(folder)), "--out", str(folder / "clip.gif"),
    ],
    "animate_a_track_of_another_kind": lambda folder: [
        "animate", str(folder), "--weights", str(folder / "take.txt"), "--out", str(folder / "clip.gif"),
    ],
    "topology_without_glb": lambda folder: [
        "reconstruct", str(folder / "a.jpg"), "--out", str(folder / "out"), "--topology", "template",
        "--formats", "ply",
    ],
    "template_without_sources": lambda folder: [
        "population", "template", "--valid", str(_empty(folder / "valid")), "--ict", str(folder), "--out",
        str(folder / "own.npz"),
    ],
    "render_of_a_head_without_texture": lambda folder: [
        "render", str(_plain_head(folder / "head.glb")), "--turntable", str(folder / "turn.gif"),
    ],
    "sample_of_none": lambda folder: ["prior", "sample", "--out", str(folder), "--count", "0"],
    "sample_too_hot": lambda folder: ["prior", "sample", "--out", str(folder), "--temperature", "9"],
    "encoder_of_no_population": lambda folder: [
        "train-encoder", "--population", str(folder / "people"), "--latents", str(folder / "l"), "--valid", "v",
        "--out", str(folder / "encoder.safetensors"),
    ],
    "encoder_of_missing_targets": lambda folder: [
        "train-encoder", "--population", str(_empty(folder / "people")), "--latents", str(folder / "l"), "--valid", "v",
        "--targets", "t", "--out", str(folder / "encoder.safetensors"),
    ],
    "head_model_of_few_people": lambda folder: [
        "population", "head-model", "--valid", str(folder), "--ict", str(folder), "--out", str(folder / "m.npz"),
        "--people", "50",
    ],
    "head_model_without_sources": lambda folder: [
        "population", "head-model", "--valid", str(folder), "--ict", str(folder), "--out",
        str(folder / "m.npz"),
    ],
    "unknown_study": lambda folder: [
        "benchmark", "study", "colours", "--scenes", str(_empty(folder / "scenes")), "--out", str(folder / "out"),
    ],
    "study_without_scenes": lambda folder: [
        "benchmark", "study", "chance", "--scenes", str(folder / "scenes"), "--out", str(folder / "out"),
    ],
    "portraits_without_a_wardrobe": lambda folder: [
        "population", "portraits", "--wardrobe", str(folder / "wardrobe.npz"), "--out", str(folder / "portraits"),
        "--quiet",
    ],
    "perception_without_portraits": lambda folder: [
        "train-perception", "--portraits", str(folder / "portraits"), "--out", str(folder / "out"), "--quiet",
    ],
    "perception_without_validation": lambda folder: [
        "train-perception", "--portraits", str(_empty(folder / "portraits")), "--validation",
        str(_empty(folder / "others")), "--out", str(folder / "out"), "--quiet",
    ],
    "perception_of_nothing": lambda folder: ["benchmark", "perception", "--out", str(folder / "out"), "--quiet"],
    "perception_of_no_network": lambda folder: [
        "benchmark", "perception", "--out", str(folder / "out"), "--cases", str(folder), "--weights",
        str(folder / "net.safetensors"), "--quiet",
    ],
    "no_valid_heads": lambda folder: [
        "population", "build", "--valid", str(folder / "valid"), "--out", str(folder / "people"), "--quiet",
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PLACES)
def test_bad_places_are_one_sentence_and_lose_nothing(
    run: Callable[[list[str]], int],
    golden: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    case: str,
) -> None:
    arguments = BAD_PLACES[case](tmp_path)
    before = _contents(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert _is_one_sentence(captured.err)
    assert _contents(tmp_path) == before
    golden(f"error_{case}.txt", captured.err.replace(str(tmp_path), "FOLDER"))


def test_an_output_place_is_checked_before_the_work(
    run: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def reconstruct(inputs: tuple[Path, ...], **options: object) -> None:
        raise AssertionError("the work began")

    _module(monkeypatch, "protome.pipeline", "reconstruct", reconstruct)
    assert run(["reconstruct", "a.png", "--out", str(_text(tmp_path / "file") / "out")]) == 2


def test_the_installed_command_says_an_error_and_exits_with_2(tmp_path: Path) -> None:
    arguments = ["reconstruct", "a.png", "--out", str(_text(tmp_path / "file") / "out")]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "protome.cli", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert _is_one_sentence(done.stderr)
