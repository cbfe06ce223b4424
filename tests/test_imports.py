"""The layers of the package: what each module may import from it, as an explicit table."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import protome

ROOT = Path(protome.__file__).parent

EVERYWHERE = frozenset({"errors", "face", "files", "progress", "units"})
"""What every module may import."""

ALLOWED: dict[str, tuple[str, ...]] = {
    # From the bottom up: a module or folder -> the modules and folders it may import. A module's own entry counts
    # before its folder's, and a folder stands for everything in it.
    "units": (),
    "errors": (),
    "face": (),
    "files": (),
    "progress": (),
    "device": (),
    "workers": ("device",),
    "sample": (),
    "geometry.transforms": (),
    "geometry.camera": ("geometry.transforms",),
    "geometry.mesh": ("geometry.transforms",),
    "geometry.refine": (),
    "geometry.align": ("geometry.transforms", "geometry.mesh"),
    "geometry.triangles": (),
    "geometry.thick": ("geometry.mesh", "geometry.align"),
    "scene": ("geometry",),
    "scenes.pictures": (),
    "scenes.lens": ("geometry",),
    "scenes.posed_file": ("scene", "scenes.pictures", "scenes.lens"),
    "scenes.idr": ("geometry", "scene", "scenes.pictures"),
    "scenes.h3ds": ("geometry", "scene", "scenes.pictures", "scenes.idr"),
    "scenes.nerfstudio": ("scene", "scenes.pictures", "scenes.lens", "scenes.posed_file"),
    "scenes.colmap": ("scene", "scenes.pictures", "scenes.lens", "scenes.posed_file"),
    "scenes.scene_folder": ("scene", "scenes.idr", "scenes.h3ds", "scenes.nerfstudio", "scenes.colmap"),
    "capture.detector": (),  # runs in a process of its own
    "capture.photo": ("scene",),
    "capture.landmarks": ("capture.photo",),
    "capture.mask": (),
    "capture.skin": (),
    "capture.covered": ("capture.skin",),
    "capture.cameras": ("geometry", "capture.landmarks"),
    "capture.head": ("geometry", "scene", "capture.landmarks", "capture.cameras"),
    "capture.capture": (
        "geometry", "scene", "capture.photo", "capture.landmarks", "capture.mask", "capture.cameras", "capture.head",
    ),
    "field.field": (),
    "field.analytic": ("field.field",),
    "field.encoding": (),
    "field.activation": (),
    "field.mlp": ("field.activation",),
    "field.grid": ("field.field",),
    "field.head": ("field.field", "field.activation", "field.encoding", "field.grid", "field.mlp"),
    "field.detail": ("field.field", "field.encoding", "field.mlp"),
    "prior": ("field",),
    "encoder.look": ("geometry", "scene", "capture.landmarks"),
    "encoder.encoder": ("geometry", "scene", "prior", "encoder.look"),
    "encoder.size": (
        "geometry", "scene", "prior", "capture.cameras", "capture.skin", "encoder.look", "encoder.encoder",
    ),
    "render.trace": ("geometry", "field.field"),
    "render.guide": ("geometry", "field.field", "field.grid", "render.trace"),
    "render.cache": ("field.field",),
    "render.surface": ("geometry", "field.field", "render.trace"),
    "render.render": ("geometry", "field.field", "render.trace", "render.surface"),
    "render.cast": ("geometry",),
    "fit.losses": (),
    "fit.schedule": (),
    "fit.pixels": ("geometry", "scene", "render.trace"),
    "fit.placement": ("geometry", "scene", "field", "prior", "render", "fit.losses"),
    "fit.tracing": ("geometry", "field", "render"),
    "fit.latents": ("prior",),
    "fit.cameras": ("geometry", "scene"),
    "fit.consistency": ("geometry", "scene", "fit.pixels"),
    "fit.exposure": (),
    "fit.landmarks": ("geometry", "scene", "field.field", "prior"),
    "fit.pace": (),
    "fit.choice": ("encoder.size",),
    "fit.colours": (
        "geometry", "field", "prior", "fit.losses", "fit.pace", "fit.pixels", "fit.schedule", "fit.tracing",
    ),
    "fit.coarse": ("geometry", "field.detail", "fit.losses"),
    "fit.detail": ("geometry", "field.field", "field.detail", "render", "fit.losses", "fit.schedule", "fit.coarse"),
    "fit.least_squares": (),
    "fit.samples": ("geometry", "field.field", "prior", "fit.least_squares"),
    "fit.reconstruct": (
        "device", "geometry", "scene", "field", "prior", "encoder.encoder", "render",
        "fit.losses", "fit.schedule", "fit.pixels", "fit.placement", "fit.tracing", "fit.latents",
        "fit.colours", "fit.cameras", "fit.consistency", "fit.exposure", "fit.landmarks", "fit.pace",
    ),
    "fit.methods": ("scene", "field", "prior", "encoder.encoder", "fit.tracing", "fit.reconstruct"),
    "meshing": ("geometry", "scene", "field", "render"),
    "meshing.displace": ("geometry", "field.field"),
    "meshing.bake": ("meshing.displace",),
    "preview": ("geometry", "field", "render"),
    "population.sources": (),
    "population.registration": ("geometry",),
    "population.meshopt": (),
    "population.gltf": ("population.meshopt",),
    "population.busts": ("population.sources", "population.gltf"),
    "population.texture": (),
    "population.face_landmarks": (),
    "population.light": (),
    "population.faces": ("population.sources", "population.registration", "population.face_landmarks"),
    "population.people": ("population.faces",),
    "population.hair": ("population.sources", "population.registration", "population.texture"),
    "population.mhclo": (),
    "population.shells": ("geometry", "population.texture"),
    "population.makehuman_fit": ("geometry", "population.sources", "population.registration", "population.mhclo"),
    "population.makehuman_landmarks": (
        "geometry", "capture.landmarks", "population.texture", "population.mhclo", "population.makehuman_fit",
        "render.cast",
    ),
    "population.makehuman_shapes": (
        "geometry", "population.sources", "population.registration", "population.mhclo", "population.makehuman_fit",
    ),
    "population.makehuman_skins": (
        "geometry", "population.sources", "population.texture", "population.mhclo", "population.makehuman_fit",
    ),
    "population.makehuman_clothes": (
        "geometry", "population.sources", "population.registration", "population.mhclo", "population.makehuman_fit",
    ),
    "population.makehuman": (
        "geometry", "population.sources", "population.mhclo", "population.shells", "population.makehuman_fit",
        "population.makehuman_shapes", "population.makehuman_skins", "population.makehuman_clothes",
    ),
    "population.compose": (
        "population.sources", "population.faces", "population.people", "population.light", "population.hair",
        "population.makehuman",
    ),
    "population.surface": ("population.sources", "population.texture", "population.compose"),
    "population.hints": ("population.registration", "population.compose", "population.surface"),
    "population.picture": ("geometry", "population.surface"),
    "population.store": ("population.surface",),
    "population.build": (
        "population.sources", "population.faces", "population.makehuman", "population.compose", "population.surface",
        "population.hints", "population.store", "workers",
    ),
    "morphable.holes": (),
    "morphable.model": ("geometry",),
    "morphable.linear": ("morphable.model",),
    "morphable.unpickle": (),
    "morphable.ibug": ("capture.landmarks",),
    "morphable.flame": ("morphable.model", "morphable.unpickle", "morphable.ibug"),
    "morphable.ict": ("population.sources", "morphable.holes", "morphable.model", "morphable.ibug"),
    "morphable.fit": ("geometry", "capture.cameras", "fit.least_squares", "morphable.model", "morphable.ibug"),
    "morphable.face": ("geometry",),
    "morphable.choice": ("morphable.model", "morphable.linear", "morphable.flame", "morphable.ict"),
    "population.head_topology": ("population.sources", "morphable.holes"),
    "population.head_shapes": (
        "population.sources", "population.faces", "population.people", "population.makehuman_shapes",
    ),
    "population.head_chart": ("population.registration", "morphable.holes"),
    "population.head_landmarks": (
        "geometry", "capture.landmarks", "population.face_landmarks", "population.surface", "population.compose",
        "population.picture",
    ),
    "population.head_model": (
        "geometry", "capture.landmarks", "population.faces", "population.build", "morphable.model",
        "population.head_topology", "population.head_shapes", "population.head_chart", "population.head_landmarks",
    ),
    "codes": (),
    "ranks": (),
    "training": ("device", "codes", "ranks", "field", "fit.losses", "population.store", "prior"),
    "pipeline": (
        "device", "geometry", "scene", "scenes", "capture", "field", "prior", "render", "fit", "meshing",
        "preview",
    ),
    "morph": ("field", "prior"),
    "gallery": (
        "device", "geometry", "field", "prior", "meshing", "preview", "morph", "pipeline",
    ),
    "evaluate.metrics": ("geometry",),
    "evaluate.speed": (
        "device", "geometry", "scene", "field", "prior", "render", "fit", "meshing", "evaluate.metrics",
    ),
    "evaluate.landmarks": ("geometry",),
    "evaluate.h3ds": ("geometry", "scenes", "evaluate.metrics", "evaluate.landmarks"),
    "evaluate.now": ("geometry", "evaluate.metrics", "evaluate.landmarks"),
    "evaluate.figures": ("geometry", "preview", "evaluate.landmarks", "evaluate.now"),
    "evaluate.report": (
        "geometry", "evaluate.metrics", "evaluate.landmarks", "evaluate.h3ds", "evaluate.now", "evaluate.figures",
    ),
    "evaluate.accuracy": (
        "geometry", "scene", "scenes", "capture", "prior", "encoder", "fit", "meshing", "workers",
        "evaluate.metrics", "evaluate.landmarks", "evaluate.h3ds",
    ),
    "evaluate.accuracy_report": (
        "geometry", "scenes", "preview", "evaluate.h3ds", "evaluate.figures", "evaluate.accuracy",
    ),
    "detail": (
        "device", "geometry", "scene", "capture", "field", "render", "fit.detail", "meshing.displace", "morphable",
    ),
    "detail_files": ("geometry", "field.field", "render", "meshing", "preview", "evaluate.landmarks", "detail"),
    "cli": (
        "detail", "detail_files", "encoder.size", "fit.choice", "pipeline", "training", "population.build",
        "population.busts", "gallery", "evaluate",
    ),
}  # fmt: skip


def package_sources() -> dict[str, str]:
    """Return the text of every module by its dotted name below the package; folders' own `__init__` by theirs."""
    sources: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def imports(source: str, modules: set[str]) -> set[str]:
    """Return the package's modules that a source text imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layers: write the full name"
            assert node.module is not None
            longer = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("protome.") in modules else node.module for name in longer]
        else:
            continue
        found |= {name.removeprefix("protome.") for name in names if name.startswith("protome.")}
        found |= {"" for name in names if name == "protome"}
    return found


def within(module: str, entry: str) -> bool:
    """Tell whether a module is the entry or lies in the folder that the entry names."""
    return module == entry or module.startswith(entry + ".")


def rule(module: str) -> str | None:
    """Return the longest entry of the table that covers a module."""
    return max((entry for entry in ALLOWED if within(module, entry)), key=len, default=None)


def violations(sources: dict[str, str]) -> list[str]:
    """Return a sentence for every import that the table does not allow, and for every module it does not know."""
    sentences: list[str] = []
    folders = {name.rpartition(".")[0] for name in sources} - {""}
    for module, source in sources.items():
        imported = imports(source, set(sources))
        if module == "" or module in folders:
            # The package itself offers the pipeline's two names; folders offer nothing.
            extra = imported - {"pipeline"} if module == "" else imported
            sentences += [f"{module or 'protome'}/__init__.py imports {other}" for other in sorted(extra)]
            continue
        entry = rule(module)
        if entry is None:
            sentences.append(f"{module} has no line in the table")
            continue
        for other in sorted(imported - EVERYWHERE):
            if not any(within(other, allowed) for allowed in ALLOWED[entry]):
                sentences.append(f"{module} imports {other}")
    return sentences


def test_every_import_is_allowed() -> None:
    assert violations(package_sources()) == []


def test_the_table_only_looks_down() -> None:
    seen: list[str] = []
    for entry, allowed in ALLOWED.items():
        for other in allowed:
            known = [name for name in seen if within(name, other) or within(other, name)]
            assert known, f"{entry} may import {other}, which stands above it"
        seen.append(entry)


def test_no_imports_run_in_a_circle() -> None:
    sources = package_sources()
    graph = {module: imports(source, set(sources)) for module, source in sources.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(sources)  # a circle raises CycleError


def test_the_check_sees_what_it_should() -> None:
    sources = {
        "": "",
        "geometry": "from protome.scene import Scene",
        "geometry.camera": "import torch\nfrom protome.geometry.transforms import skew\nimport protome.errors",
        "geometry.transforms": "def f():\n    from protome import scene",
        "scene": "import protome.pipeline",
        "pipeline": "from protome.fit import losses",
        "fit.losses": "from protome.fit.reconstruct import fit_head",
        "surprise": "",
    }
    assert violations(sources) == [
        "geometry/__init__.py imports scene",
        "geometry.transforms imports scene",
        "scene imports pipeline",
        "fit.losses imports fit.reconstruct",
        "surprise has no line in the table",
    ]
