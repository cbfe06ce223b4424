"""No command replaces one of its inputs: each is refused before the work, and everything stays as it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from protome import cli_outputs as outputs
from protome.cli import main
from protome.errors import InputError
from protome.util.files import check_inputs_stay

WORK = (
    "protome.pipeline", "protome.sider.pipeline", "protome.training.train", "protome.population.sources.busts",
    "protome.population.build", "protome.gallery", "protome.evaluate.report", "protome.benchmark.page",
    "protome.training.encoder", "protome.population.head_model.build", "protome.benchmark.studies",
    "protome.inspection", "protome.training.perception", "protome.population.portraits.shards",
    "protome.population.portraits.prepare", "protome.benchmark.perception", "protome.turntable",
    "protome.benchmark.casual", "protome.benchmark.texture", "protome.benchmark.detail",
    "protome.topology.retopologize", "protome.topology.animate", "protome.population.template.build",
)  # fmt: skip
"""What does the commands' work; none of it may begin."""


def put(path: Path, content: str = "") -> Path:
    """Write a file whose content is its own name, if nothing else is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)
    return path


def transforms(folder: Path, *names: str, **more: str) -> Path:
    frames = [{"file_path": name, **more} for name in names]
    put(folder / "transforms.json", json.dumps({"frames": frames}))
    return folder


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


Case = Callable[[Path], tuple[list[object], Path]]
"""Makes files in an empty folder and returns a command's arguments and the input that it would replace."""


def photo_in_the_result(name: str) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        photo = put(folder / "out" / name)
        return ["reconstruct", put(folder / "a.jpg"), photo, "--out", folder / "out"], photo

    return case


def detail_of(name: str) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        photo = put(folder / "out" / name)
        return ["detail", photo, "--out", folder / "out"], photo

    return case


def frame_of_a_scene(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "preview.png")
    return ["reconstruct", transforms(folder, "./preview.png"), "--out", folder], photo


def frame_without_suffix(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "preview.png")
    return ["reconstruct", transforms(folder, "preview"), "--out", folder], photo


def mask_of_a_scene(folder: Path) -> tuple[list[object], Path]:
    mask = put(folder / "preview.png")
    return ["reconstruct", transforms(folder, "a.jpg", mask_path="preview.png"), "--out", folder], mask


def image_folder_of_a_scene(folder: Path) -> tuple[list[object], Path]:
    put(folder / "cameras.npz")
    photo = put(folder / "image" / "preview.png")
    return ["reconstruct", folder, "--out", folder / "image"], photo


def flame_file(folder: Path) -> tuple[list[object], Path]:
    model = put(folder / "result.json")
    return ["detail", put(folder / "a.jpg"), "--model", f"flame:{model}", "--out", folder], model


def ict_folder(folder: Path) -> tuple[list[object], Path]:
    model = put(folder / "ict" / "sheet.png")
    return ["detail", put(folder / "a.jpg"), "--model", f"ict:{folder / 'ict'}", "--out", folder / "ict"], model


def training_into_the_population(folder: Path) -> tuple[list[object], Path]:
    put(folder / "manifest.json")
    shard = put(folder / "train_00000.h5")
    return ["train", "--population", folder, "--out", shard], shard


def training_over_the_manifest(folder: Path) -> tuple[list[object], Path]:
    manifest = put(folder / "manifest.json")
    return ["train", "--population", folder, "--out", manifest], manifest


def busts_below_the_avatars(folder: Path) -> tuple[list[object], Path]:
    put(folder / "avatars" / "a.glb")
    earlier = put(folder / "avatars" / "busts" / "b.glb")
    return ["population", "busts", folder / "avatars", "--out", folder / "avatars" / "busts"], earlier


def people_over_the_prior(folder: Path) -> tuple[list[object], Path]:
    prior = put(folder / "head_004.ply")
    return ["prior", "sample", "--seed", "3", "--count", "2", "--prior", prior, "--out", folder], prior


def result(folder: Path) -> Path:
    for name in outputs.HEAD_FILES:
        put(folder / name)
    return folder


def morph(part: str, head: str = "me", out: str = "me", *more: object) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        result(folder / "me")
        return ["prior", "morph", "mean", folder / head, "--out", folder / out, *more], folder / "me" / part

    return case


def folder_of_photos(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "preview.png")
    return ["reconstruct", folder, "--out", folder], photo


def mask_of_an_export(folder: Path) -> tuple[list[object], Path]:
    mask = put(folder / "fg_masks" / "preview.png")
    return [
        "reconstruct",
        transforms(folder, "images/a.png", fg_mask_path="fg_masks/preview.png"),
        "--out",
        mask.parent,
    ], mask


def morph_of_a_photo(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "sheet.png")
    return ["prior", "morph", photo, "7", "--steps", "3", "--out", folder], photo


def morph_of_a_morph(folder: Path) -> tuple[list[object], Path]:
    for name in ("field.safetensors", "sheet.png"):
        put(folder / name)
    return ["prior", "morph", folder, "7", "--steps", "3", "--out", folder], folder / "sheet.png"


def morph_over_the_prior(folder: Path) -> tuple[list[object], Path]:
    prior = put(folder / "field.safetensors")
    return ["prior", "morph", "1", "2", "--prior", prior, "--out", folder], prior


def evaluation(option: str, name: str) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        for file in ("head.ply", "scan.ply", "marks.txt", "own.txt"):
            put(folder / file)
        marks = ["--landmarks", folder / "marks.txt", "--pred-landmarks", folder / "own.txt"]
        return ["evaluate", folder / "head.ply", folder / "scan.ply", *marks, option, folder / name], folder / name

    return case


def evaluation_in_a_scan_folder(folder: Path) -> tuple[list[object], Path]:
    scan = put(folder / "h3ds" / "full_head.obj")
    return ["evaluate", put(folder / "head.ply"), folder / "h3ds", "--json", scan], scan


def evaluation_in_a_folder_of_predictions(folder: Path) -> tuple[list[object], Path]:
    (folder / "now").mkdir()
    mesh = put(folder / "predictions" / "FaMoS_1" / "a.ply")
    return ["evaluate", folder / "predictions", folder / "now", "--protocol", "now", "--json", mesh], mesh


def by_a_symbolic_link(folder: Path) -> tuple[list[object], Path]:
    put(folder / "out" / "preview.png")
    photo = link(folder / "me.png", folder / "out" / "preview.png")
    return ["reconstruct", photo, "--out", folder / "out"], photo


def by_a_link_to_the_folder(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "out" / "preview.png")
    return ["reconstruct", photo, "--out", link(folder / "link", folder / "out")], photo


def by_a_hard_link(folder: Path) -> tuple[list[object], Path]:
    put(folder / "out" / "head.ply")
    os.link(folder / "out" / "head.ply", folder / "scan.ply")
    return ["evaluate", folder / "scan.ply", put(folder / "b.ply"), "--heatmap", folder / "out" / "head.ply"], (
        folder / "scan.ply"
    )


def by_another_spelling(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "out" / "preview.png")
    (folder / "other").mkdir()
    return ["reconstruct", photo, "--out", folder / "other" / ".." / "out"], photo


def encoder_over_the_latents(folder: Path) -> tuple[list[object], Path]:
    latents = put(folder / "prior.latents.safetensors")
    given = ["--population", folder / "people", "--valid", folder / "valid", "--latents", latents]
    return ["train-encoder", *given, "--out", latents], latents


def head_model_into_a_source(folder: Path) -> tuple[list[object], Path]:
    source = put(folder / "ict" / "ict_facekit.npz")
    given = ["--valid", folder / "valid", "--ict", folder / "ict"]
    return ["population", "head-model", *given, "--out", source], source


def perception_over_its_start(folder: Path) -> tuple[list[object], Path]:
    weights = put(folder / "out" / "perception.safetensors")
    given = ["--portraits", folder / "portraits", "--start", weights]
    return ["train-perception", *given, "--out", folder / "out"], weights


def portraits_over_the_wardrobe(folder: Path) -> tuple[list[object], Path]:
    wardrobe = put(folder / "portraits_00001.npz")
    return ["population", "portraits", "--wardrobe", wardrobe, "--out", folder, "--count", "3"], wardrobe


def wardrobe_into_a_source(folder: Path) -> tuple[list[object], Path]:
    source = put(folder / "ict" / "ict_facekit.npz")
    given = ["--valid", folder / "valid", "--ict", folder / "ict", "--makehuman", folder / "makehuman"]
    return ["population", "wardrobe", *given, "--out", source], source


def companion_of_a_wardrobe(folder: Path) -> tuple[list[object], Path]:
    source = put(folder / "valid" / "w.makehuman.npz")
    given = ["--valid", folder / "valid", "--ict", folder / "ict", "--makehuman", folder / "makehuman"]
    return ["population", "wardrobe", *given, "--out", folder / "valid" / "w.npz"], source


def prior_of_a_result(folder: Path) -> tuple[list[object], Path]:
    prior = put(folder / "field.safetensors")
    return ["reconstruct", put(folder / "a.jpg"), "--prior", prior, "--out", folder], prior


def turntable_over_the_head(folder: Path) -> tuple[list[object], Path]:
    head = put(result(folder / "me") / "head.glb")
    return ["render", folder / "me", "--turntable", head], head


def template_linked_to_the_head(folder: Path) -> tuple[list[object], Path]:
    head = put(result(folder / "me") / "head.glb")
    (folder / "out").mkdir()
    link(folder / "out" / "head_template.glb", head)
    return ["retopologize", folder / "me", "--out", folder / "out"], head


def animation_over_the_track(folder: Path) -> tuple[list[object], Path]:
    track = put(folder / "track.csv")
    return ["animate", result(folder / "me"), "--weights", track, "--out", track], track


def animation_over_the_head(folder: Path) -> tuple[list[object], Path]:
    head = put(result(folder / "me") / "head_rigged.glb")
    return ["animate", folder / "me", "--weights", put(folder / "track.csv"), "--out", head], head


def template_into_a_source(folder: Path) -> tuple[list[object], Path]:
    source = put(folder / "ict" / "ict_facekit.npz")
    return ["population", "template", "--valid", folder / "v", "--ict", folder / "ict", "--out", source], source


def index_over_the_list(name: str) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        listed = put(folder / name)
        return ["batch", listed, "--out", folder], listed

    return case


def sheet_over_a_case(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "photos.jpg")
    return ["benchmark", "perception", "--photos", folder, "--out", folder], photo


def inspected(name: str, *more: object) -> Case:
    def case(folder: Path) -> tuple[list[object], Path]:
        photo = put(folder / "out" / name)
        return ["inspect", put(folder / "b.jpg"), photo, "--out", folder / "out", *more], photo

    return case


def facts_over_a_photo(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "a.jpg")
    return ["inspect", photo, "--out", folder / "out", "--json", photo], photo


def sheet_over_a_frame(folder: Path) -> tuple[list[object], Path]:
    photo = put(folder / "capture.png")
    return ["inspect", transforms(folder, "capture.png"), "--out", folder], photo


CASES: dict[str, Case] = {
    **{f"reconstruct {name}": photo_in_the_result(name) for name in outputs.HEAD_FILES},
    **{f"detail {name}": detail_of(name) for name in outputs.DETAIL_FILES},
    "frame of a scene": frame_of_a_scene,
    "frame without suffix": frame_without_suffix,
    "mask of a scene": mask_of_a_scene,
    "image folder of a scene": image_folder_of_a_scene,
    "flame file": flame_file,
    "ict folder": ict_folder,
    "shard of the population": training_into_the_population,
    "manifest of the population": training_over_the_manifest,
    "busts below the avatars": busts_below_the_avatars,
    "encoder over the latents": encoder_over_the_latents,
    "head model into a source": head_model_into_a_source,
    "perception over its start": perception_over_its_start,
    "portraits over the wardrobe": portraits_over_the_wardrobe,
    "wardrobe into a source": wardrobe_into_a_source,
    "companion of a wardrobe": companion_of_a_wardrobe,
    "prior of a result": prior_of_a_result,
    "turntable over the head": turntable_over_the_head,
    "template linked to the head": template_linked_to_the_head,
    "animation over the track": animation_over_the_track,
    "animation over the head": animation_over_the_head,
    "template into a source": template_into_a_source,
    "table over the list": index_over_the_list("index.parquet"),
    "sheet over a case": sheet_over_a_case,
    "prior of random people": people_over_the_prior,
    "morph into its own folder": morph("head.glb"),
    "morph of its own field": morph("head.glb", "me/field.safetensors"),
    "morph to one file of its folder": morph("head.ply", "me", "me/head.ply"),
    "folder of photos": folder_of_photos,
    "mask of an export": mask_of_an_export,
    "morph of a photo": morph_of_a_photo,
    "morph of a morph": morph_of_a_morph,
    "morph over the prior": morph_over_the_prior,
    "evaluate --json scan": evaluation("--json", "scan.ply"),
    "evaluate --json prediction": evaluation("--json", "head.ply"),
    "evaluate --json landmarks": evaluation("--json", "marks.txt"),
    "evaluate --json own landmarks": evaluation("--json", "own.txt"),
    "evaluate --heatmap scan": evaluation("--heatmap", "scan.ply"),
    "evaluate --curve prediction": evaluation("--curve", "head.ply"),
    "evaluate in a scan folder": evaluation_in_a_scan_folder,
    "evaluate in a folder of predictions": evaluation_in_a_folder_of_predictions,
    "inspect over a photo": inspected("capture.png"),
    "export over a photo": inspected("images/me.png", "--export", "colmap"),
    "export over a mask": inspected("masks/me.png.png", "--export", "colmap"),
    "facts over a photo": facts_over_a_photo,
    "sheet over a frame": sheet_over_a_frame,
    "symbolic link": by_a_symbolic_link,
    "link to the folder": by_a_link_to_the_folder,
    "hard link": by_a_hard_link,
    "another spelling": by_another_spelling,
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[object]], int]:
    """Return a function that runs the command line, in which no work can begin."""
    for name in WORK:
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error

    def call(arguments: list[object]) -> int:
        monkeypatch.setattr(sys, "argv", ["protome", *map(str, arguments)])
        return main()

    return call


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_an_input_is_named_and_stays(
    run: Callable[[list[object]], int], capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    arguments, victim = CASES[name](tmp_path)
    before = contents(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    start, end = f"error: the result would replace the input {victim}", ": choose another place to write to\n"
    assert captured.err.startswith(start)
    assert captured.err.endswith(end)
    known_as = captured.err.removeprefix(start).removesuffix(end)
    assert known_as == "" or os.path.samefile(known_as.removeprefix(" (as ").removesuffix(")"), victim)
    assert contents(tmp_path) == before


FOLDERS: dict[str, Callable[[Path], list[object]]] = {
    "busts": lambda folder: ["population", "busts", folder, "--out", folder],
    "build valid": lambda folder: ["population", "build", "--valid", folder, "--out", folder],
    "build ict": lambda folder: ["population", "build", "--valid", folder / "v", "--ict", folder, "--out", folder],
    "build makehuman": lambda folder: [
        "population", "build", "--valid", folder / "v", "--makehuman", folder, "--out", folder,
    ],
    "build targets": lambda folder: [
        "population", "build", "--valid", folder / "v", "--targets", folder, "--out", folder,
    ],
    "casual": lambda folder: ["benchmark", "casual", "--captures", folder, "--out", folder],
    "texture": lambda folder: ["benchmark", "texture", "--scenes", folder, "--out", folder],
    "photos of textures": lambda folder: [
        "benchmark", "texture", "--scenes", folder / "s", "--photos", folder, "--out", folder,
    ],
    "detail": lambda folder: ["benchmark", "detail", "--scenes", folder, "--out", folder],
    "photos of the encoder": lambda folder: [
        "train-encoder", "--population", folder, "--latents", folder / "l", "--valid", folder / "v",
        "--photos", folder, "--out", folder / "e.safetensors",
    ],
    "accuracy scenes": lambda folder: ["benchmark", "accuracy", "--scenes", folder, "--out", folder],
    "study": lambda folder: ["benchmark", "study", "steps", "--scenes", folder, "--out", folder],
    "accuracy meshes": lambda folder: [
        "benchmark", "accuracy", "--scenes", folder / "s", "--meshes", f"theirs={folder}", "--out", folder,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_inputs_is_no_folder_of_results(
    run: Callable[[list[object]], int], capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    put(tmp_path / "a.glb")
    assert run(FOLDERS[name](tmp_path)) == 2
    assert capsys.readouterr().err == (
        f"error: the result would be mixed with the input {tmp_path}: choose another folder to write to\n"
    )
    assert contents(tmp_path) == {"a.glb": "a.glb"}


def test_every_command_that_reads_and_writes_is_in_the_tables(tmp_path: Path) -> None:
    """`benchmark speed` reads nothing, `view` writes nothing; `app` gives each job a folder that was not there."""
    tried = [
        case(tmp_path / str(number))[0] for number, case in enumerate(CASES.values()) if make(tmp_path / str(number))
    ]
    tried += [case(tmp_path) for case in FOLDERS.values()]
    grouped = ("population", "prior", "benchmark")
    commands = {" ".join(map(str, words[: 2 if words[0] in grouped else 1])) for words in tried}
    assert commands == {
        "reconstruct", "detail", "train", "population busts", "population build", "prior sample", "prior morph",
        "evaluate", "benchmark accuracy", "benchmark study", "train-encoder", "population head-model",
        "inspect", "train-perception", "population portraits", "population wardrobe", "benchmark perception",
        "render", "benchmark casual", "benchmark texture", "benchmark detail",
        "retopologize", "animate", "population template", "batch",
    }  # fmt: skip


def make(folder: Path) -> bool:
    folder.mkdir()
    return True


def test_what_is_no_input_may_be_replaced(tmp_path: Path) -> None:
    """Earlier results are, also beside inputs; so is a file of the same name in another folder."""
    out = result(tmp_path / "out")
    outputs.check_reconstruct([put(tmp_path / "preview.png"), put(out / "photo.png")], out)
    outputs.check_reconstruct([tmp_path / "missing.jpg"], out)
    scene = result(transforms(tmp_path / "scene", "images/a.png"))
    outputs.check_reconstruct([scene], scene)
    for name in outputs.DETAIL_FILES:
        put(out / name)
    outputs.check_detail(tmp_path / "preview.png", "built-in", out)
    put(tmp_path / "people" / "manifest.json")
    prior = put(tmp_path / "people" / "prior.safetensors")
    put(tmp_path / "people" / "prior.safetensors.checkpoint")
    outputs.check_train(tmp_path / "people", prior)
    outputs.check_busts(tmp_path / "avatars", result(tmp_path / "busts"))
    outputs.check_build([tmp_path / "valid", None], tmp_path / "people")
    outputs.check_sample(put(tmp_path / "p.safetensors"), range(3), out)
    outputs.check_morph(["mean", str(scene)], None, None, out)
    outputs.check_morph(["1", str(scene)], None, 3, scene / "steps")
    truth = tmp_path / "truth"
    for name in ("full_head.obj", "numbers.json", "curve.png"):
        put(truth / name)
    outputs.check_evaluate([out / "head.ply", truth, None, None], [truth / "numbers.json", None, truth / "curve.png"])
    outputs.check_accuracy(tmp_path / "scenes", ["theirs=elsewhere", "words"], out)


def test_broken_scene_files_are_left_to_their_reader(tmp_path: Path) -> None:
    for content in ("no json", "[]", '{"frames": 3}', '{"frames": [4, {"file_path": 5}]}'):
        put(tmp_path / "transforms.json", content)
        outputs.check_reconstruct([tmp_path], tmp_path)


def test_folders_and_missing_files_are_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "head.ply").mkdir()
    check_inputs_stay([tmp_path / "head.ply", tmp_path / "gone"], [tmp_path / "head.ply", tmp_path / "gone"])
    with pytest.raises(InputError):
        check_inputs_stay([put(tmp_path / "a")], [tmp_path / "a"])
