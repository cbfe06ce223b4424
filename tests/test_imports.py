"""The layers of the package: what each folder may import from it, as an explicit table."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import protome

ROOT = Path(protome.__file__).parent

GROUND = frozenset({"errors", "face", "units", "util"})
"""What every module may import."""

ALLOWED: dict[str, tuple[str, ...]] = {
    # From the bottom up: a folder, or a module beside the folders -> the ones it may import. Whatever is needed from
    # another folder is named here, and nothing else is.
    "units": (),
    "errors": (),
    "face": (),
    "util": (),
    "portrait": (),
    "losses": (),
    "geometry": (),
    "field": (),
    "render": ("field", "geometry"),
    "prior": ("field", "geometry"),
    "landmarks": (),
    "scene": ("geometry",),
    "scenes": ("geometry", "scene"),
    "morphable": ("geometry", "landmarks"),
    "perception": (),
    "capture": ("geometry", "landmarks", "morphable", "perception", "scene", "scenes"),
    "encoder": ("capture", "field", "geometry", "landmarks", "prior", "scene"),
    "fit": ("capture", "encoder", "field", "geometry", "landmarks", "losses", "prior", "render", "scene"),
    "meshing": ("field", "geometry"),
    "relief": ("capture", "geometry", "perception", "render", "scene"),
    "asset": ("geometry", "meshing", "relief", "scene"),
    "app": ("asset",),
    "measures": ("geometry", "landmarks"),
    "report": ("asset", "capture", "geometry"),
    "preview": ("field", "geometry", "render"),
    "turntable": ("asset", "preview"),
    "topology": ("asset", "field", "geometry", "prior", "preview", "turntable"),
    "population": ("capture", "geometry", "landmarks", "morphable", "perception", "render", "topology"),
    "training": (
        "capture", "encoder", "field", "geometry", "landmarks", "losses", "perception", "population", "prior", "scene",
    ),
    "capture_sheet": ("capture", "scene"),
    "pipeline": (
        "asset", "capture", "capture_sheet", "fit", "geometry", "measures", "meshing", "preview", "prior", "render",
        "report", "scene", "scenes",
    ),
    "view": ("capture", "field", "geometry", "meshing", "prior", "scenes"),
    "inspection": ("capture", "capture_sheet", "scene", "scenes"),
    "gallery": ("geometry", "meshing", "pipeline", "preview", "prior"),
    "evaluate": ("geometry", "preview", "report", "scenes"),
    "sider": (
        "capture", "evaluate", "field", "geometry", "landmarks", "losses", "morphable", "preview", "relief", "render",
        "report", "scene",
    ),
    "benchmark": (
        "asset", "capture", "encoder", "evaluate", "field", "fit", "geometry", "landmarks", "meshing", "morphable",
        "perception", "pipeline", "population", "preview", "prior", "relief", "render", "report", "scene", "scenes",
        "topology",
    ),
    "cli_options": (),
    "cli_outputs": (),
    "batch": ("cli_outputs",),
    "cli_batch": ("batch", "cli_options"),
    "cli_app": ("app", "cli_options"),
    "cli_benchmark": ("benchmark", "cli_options", "cli_outputs"),
    "cli_inspect": ("cli_options", "cli_outputs", "inspection"),
    "cli_render": ("cli_options", "cli_outputs", "turntable"),
    "cli_topology": ("cli_options", "cli_outputs", "population", "topology"),
    "cli_perception": ("cli_options", "cli_outputs", "population", "training"),
    "cli_view": ("cli_options", "view"),
    "cli_reconstruct": (
        "asset", "capture", "cli_options", "cli_outputs", "cli_view", "encoder", "fit", "pipeline", "topology", "view",
    ),
    "cli_population": ("cli_options", "cli_outputs", "cli_perception", "cli_topology", "population"),
    "cli": (
        "cli_app", "cli_batch", "cli_benchmark", "cli_inspect", "cli_options", "cli_outputs", "cli_perception",
        "cli_population", "cli_reconstruct", "cli_render", "cli_topology", "cli_view", "evaluate", "gallery", "sider",
        "training",
    ),
    "cli_child": ("cli",),
    "__main__": ("cli",),
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


def layer(module: str) -> str:
    """Return the folder that a module lies in, or the module itself where it lies beside the folders."""
    return module.partition(".")[0]


def violations(sources: dict[str, str]) -> list[str]:
    """Return a sentence for every import that the table does not allow, and for every module it does not know."""
    sentences: list[str] = []
    folders = {name.rpartition(".")[0] for name in sources} - {""}
    for module, source in sources.items():
        imported = imports(source, set(sources))
        if module == "":
            continue  # the package may offer any module, and imports it only on use
        if module in folders:
            sentences += [f"{module}/__init__.py imports {other}" for other in sorted(imported)]
            continue
        own = layer(module)
        if own not in ALLOWED:
            sentences.append(f"{module} has no line in the table")
            continue
        for other in sorted(imported):
            if layer(other) not in {own, *GROUND, *ALLOWED[own]}:
                sentences.append(f"{module} imports {other}")
    return sentences


def unused(sources: dict[str, str]) -> list[str]:
    """Return a sentence for every permission of the table that no import needs."""
    needed = {(layer(module), layer(other)) for module in sources for other in imports(sources[module], set(sources))}
    return [
        f"{own} does not import {other}"
        for own, allowed in ALLOWED.items() for other in allowed if (own, other) not in needed
    ]  # fmt: skip


def test_every_import_is_allowed() -> None:
    assert violations(package_sources()) == []


def test_every_permission_is_needed() -> None:
    assert unused(package_sources()) == []
    assert unused({"render.trace": "import protome.field.field"}) == [
        sentence for own, allowed in ALLOWED.items() for other in allowed
        if (sentence := f"{own} does not import {other}") != "render does not import field"
    ]  # fmt: skip


def test_the_table_only_looks_down() -> None:
    seen: set[str] = set()
    for own, allowed in ALLOWED.items():
        for other in allowed:
            assert other in seen, f"{own} may import {other}, which stands above it"
        seen.add(own)


def test_no_imports_run_in_a_circle() -> None:
    sources = package_sources()
    graph = {module: imports(source, set(sources)) for module, source in sources.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(sources)  # a circle raises CycleError


def test_the_detector_runs_by_itself() -> None:
    # It is started in a process of its own, which must not pay for torch.
    sources = package_sources()
    assert imports(sources["capture.detector"], set(sources)) == set()


def test_the_check_sees_what_it_should() -> None:
    sources = {
        "": "",
        "geometry": "from protome.scene import Scene",
        "geometry.camera": "import torch\nfrom protome.geometry.transforms import skew\nimport protome.errors",
        "geometry.transforms": "def f():\n    from protome import scene",
        "scene": "import protome.pipeline",
        "pipeline": "from protome.fit import losses",
        "fit.losses": "from protome.fit.reconstruct import fit_head",
        "fit.reconstruct": "from protome.evaluate.metrics import compare",
        "surprise": "",
    }
    assert violations(sources) == [
        "geometry/__init__.py imports scene",
        "geometry.transforms imports scene",
        "scene imports pipeline",
        "fit.reconstruct imports evaluate.metrics",
        "surprise has no line in the table",
    ]
