"""What the user says on the command line reaches the function that does the work."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from protome.asset.options import AssetOptions
from protome.encoder.scale import MetricScale
from protome.fit.options import FitOptions
from protome.population.head_model.build import HeadModelConfig
from protome.util.engines import Processes

PASSED_ON: dict[str, tuple[str, str, dict[str, object]]] = {
    "reconstruct": (
        "reconstruct a.png b.png --out {out}",
        "protome.pipeline:reconstruct",
        {"inputs": (Path("a.png"), Path("b.png"))},
    ),
    "reconstruct with options": (
        "reconstruct a.png --out {out} --preset draft --device cpu --seed 7 --units m --resolution 96 --views front i3 "
        "--method deform --budget 60s --no-refine-cameras --pupils 63.5 --strict --quiet",
        "protome.pipeline:reconstruct",
        {
            "preset": "draft", "device": "cpu", "seed": 7, "units": "m", "resolution": 96, "views": ("front", "i3"),
            "options": FitOptions("deform", "60s", refine_cameras=False, size=MetricScale(pupils_mm=63.5)),
            "strict": True, "quiet": True,
        },
    ),
    "reconstruct at a distance": (
        "reconstruct a.png --out {out} --distance 800",
        "protome.pipeline:reconstruct",
        {"options": FitOptions(size=MetricScale(distance_mm=800.0))},
    ),
    "render": (
        "render head --turntable {out}.gif --views 12 --size 256 --quiet",
        "protome.turntable:turntable",
        {"result": Path("head"), "views": 12, "size": 256, "quiet": True},
    ),
    "benchmark texture": (
        "benchmark texture --scenes s --out {out} --subjects a --views 1 3 --photos p --preset draft --quiet",
        "protome.benchmark.texture:benchmark_texture",
        {
            "scenes": Path("s"), "subjects": ("a",), "views": (1, 3), "photos": (Path("p"),), "preset": "draft",
            "quiet": True,
        },
    ),
    "train": (
        "train --population people --out {out}.safetensors --config tiny --steps 5 --device cuda --seed 3 --quiet",
        "protome.training.train:train",
        {"population": Path("people"), "config": "tiny", "steps": 5, "device": "cuda", "seed": 3, "quiet": True},
    ),
    "train-encoder": (
        "train-encoder --population people --latents l --valid v --out {out}.safetensors --ict i --makehuman h "
        "--targets t --prior p --photos f --each 2 --heads 1 --seed 5 --jobs 3 --quiet",
        "protome.training.encoder:train_encoder",
        {
            "population": Path("people"), "latents": Path("l"), "valid": Path("v"), "ict": Path("i"),
            "makehuman": Path("h"), "targets": Path("t"), "prior": Path("p"), "photos": Path("f"), "each": 2,
            "heads": 1, "seed": 5, "engine": Processes(3), "quiet": True,
        },
    ),
    "train-perception": (
        "train-perception --portraits p --out {out} --validation v --pictures 9 --start w --device cpu --quiet",
        "protome.training.perception:train_perception",
        {
            "shards": Path("p"), "validation": Path("v"), "pictures": 9, "start": Path("w"), "device": "cpu",
            "quiet": True,
        },
    ),
    "population portraits": (
        "population portraits --wardrobe w.npz --out {out} --count 3 --first 2 --seed 5 --quiet",
        "protome.population.portraits.shards:fill_folder",
        {"wardrobe": Path("w.npz"), "numbers": range(2, 5), "seed": 5, "quiet": True},
    ),
    "benchmark perception": (
        "benchmark perception --out {out} --photos p --wardrobe w.npz --cases c --weights n --scenes 3 --quiet",
        "protome.benchmark.perception:benchmark_perception",
        {
            "photos": Path("p"), "wardrobe": Path("w.npz"), "cases": Path("c"), "weights": Path("n"), "scenes": 3,
            "quiet": True,
        },
    ),
    "population head-model": (
        "population head-model --valid v --ict i --out {out}.npz --makehuman h --targets t --people 9 --identities 4 "
        "--pictures 2 --seed 5 --quiet",
        "protome.population.head_model.build:write_head_model",
        {
            "valid": Path("v"), "ict": Path("i"), "makehuman": Path("h"), "targets": Path("t"),
            "config": HeadModelConfig(9, 4, 2, 5), "quiet": True,
        },
    ),
    "benchmark study": (
        "benchmark study steps --scenes s --out {out} --subjects a b --views 1 3 --preset draft --jobs 2 --quiet",
        "protome.benchmark.studies:run_study",
        {
            "name": "steps", "scenes": Path("s"), "subjects": ("a", "b"), "views": (1, 3), "preset": "draft",
            "engine": Processes(2), "quiet": True,
        },
    ),
    "population build": (
        "population build --valid v --out {out} --ict i --makehuman h --targets t --count 4 --seed 5 --jobs 2 --quiet",
        "protome.population.build:build_population",
        {
            "valid": Path("v"), "ict": Path("i"), "makehuman": Path("h"), "targets": Path("t"),
            "count": 4, "seed": 5, "engine": Processes(2), "quiet": True,
        },
    ),
    "prior sample": (
        "prior sample --out {out} --count 5 --seed 3 --temperature 0.7 --resolution 96 --prior p.safetensors --quiet",
        "protome.gallery:sample_heads",
        {
            "count": 5, "seed": 3, "temperature": 0.7, "resolution": 96, "prior": Path("p.safetensors"), "quiet": True,
        },
    ),
    "prior morph": (
        "prior morph me 7 --out {out}.glb --shape 0.25 --appearance -0.1 --steps 4 --resolution 96 "
        "--prior p.safetensors --quiet",
        "protome.gallery:morph_heads",
        {
            "first": "me", "second": "7", "shape": 0.25, "appearance": -0.1, "steps": 4, "resolution": 96,
            "prior": Path("p.safetensors"), "quiet": True,
        },
    ),
    "evaluate": (
        "evaluate a.ply b.obj --protocol now --landmarks l.pp --pred-landmarks p.npy --units m --dof rigid --radius 50 "
        "--json j.json --heatmap h.png --curve c.png --quiet",
        "protome.evaluate.report:report_evaluation",
        {
            "prediction": Path("a.ply"), "truth": Path("b.obj"), "protocol": "now", "landmarks": Path("l.pp"),
            "pred_landmarks": Path("p.npy"), "units": "m", "dof": "rigid", "radius": 50.0, "out": Path("j.json"),
            "heatmap": Path("h.png"), "curve": Path("c.png"), "quiet": True,
        },
    ),
}  # fmt: skip
"""Words of a command line -> the implementing function, and the arguments that it has to get."""


def _module(monkeypatch: pytest.MonkeyPatch, name: str, function: str, replacement: Callable[..., object]) -> None:
    monkeypatch.setattr(importlib.import_module(name), function, replacement)


@pytest.mark.parametrize("case", PASSED_ON)
def test_options_reach_the_implementing_function(
    run: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    words, place, expected = PASSED_ON[case]
    name, function = place.split(":")
    works = inspect.signature(getattr(importlib.import_module(name), function))
    out = tmp_path / "new" / "out"
    calls: list[dict[str, object]] = []
    saved: list[tuple[Path, tuple[str, ...]]] = []

    def save(folder: Path, command: tuple[str, ...], asset: AssetOptions | None = None, report: bool = True) -> None:
        saved.append((folder, command))

    def replacement(*values: object, **options: object) -> types.SimpleNamespace:
        calls.append(works.bind(*values, **options).arguments)  # raises TypeError where the real one would
        # Made before the long work; a morph finds out by itself whether it writes a file or a folder.
        assert out.parent.is_dir() == ("{out}" in words and case not in ("prior morph", "render"))
        return types.SimpleNamespace(save=save)

    _module(monkeypatch, name, function, replacement)
    for module in ("cli", "cli_population", "cli_benchmark"):  # the words name folders that are nowhere
        monkeypatch.setattr(f"protome.{module}.check_given_exist", lambda given, what_to_do: None)
    monkeypatch.chdir(tmp_path)
    for photo in ("a.png", "b.png"):
        Path(photo).touch()
    arguments = words.format(out=out).split()
    assert run(arguments) == 0
    (call,) = calls
    assert {key: call.get(key) for key in expected} == expected
    if "{out}" in words:
        to = [value for value in (*call.values(), *(folder for folder, _ in saved)) if isinstance(value, Path)]
        assert any(path.with_suffix("") == out for path in to)
    assert all(command == ("protome", *arguments) for _, command in saved)


def test_bash_completes_commands(tmp_path: Path) -> None:
    ask = "import sys, protome.cli\nsys.argv = ['protome', '--tyro-print-completion', 'bash']\nprotome.cli.main()"
    script = subprocess.run([sys.executable, "-W", "error", "-c", ask], capture_output=True, text=True, check=True)
    (tmp_path / "completion").write_text(script.stdout)
    shell = (
        "source completion; COMP_WORDS=(protome retop); COMP_CWORD=1; COMP_LINE='protome retop'; COMP_POINT=13; "
        "$(complete -p protome | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["retopologize"]
