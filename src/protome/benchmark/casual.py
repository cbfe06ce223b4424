"""The benchmark of casual captures: heads from photos without cameras, beside heads of the same photos with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

from protome.benchmark.captures import read_captures
from protome.benchmark.casual_heads import CasualHead, Recognition, measure_head, measure_wrong
from protome.benchmark.casual_page import casual_page
from protome.benchmark.casual_report import write_casual_report
from protome.benchmark.placing import Placing, measure_placing
from protome.util.engines import Engine, Processes, Work
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

QUICK = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13)
"""Numbers of the captures of a quick run: four each of one, three and eight photos, the real scan among them."""
QUICK_WRONG = 12
QUICK_PRESET = "draft"

Result = TypeVar("Result")


def benchmark_casual(
    captures: Path, out: Path, *, quick: bool = False, placement: bool = False, preset: str = "standard",
    engine: Engine | None = None, quiet: bool = False,
) -> None:  # fmt: skip
    """Measure casual captures, print the page and write it as casual.md and report.html, and the numbers as
    casual.json.

    `placement` measures only cameras and who is recognised, without a fit. Results are kept in `out`, so that a stopped
    run continues.

    Raises:
        InputError: there are no captures, or the folder cannot be written.
    """
    check_output_folder(out)
    every, wrong = read_captures(captures), read_captures(captures, wrong=True)
    if quick:
        every = [every[number] for number in QUICK if number < len(every)]
        wrong, preset = wrong[:QUICK_WRONG], QUICK_PRESET
    engine = engine or Processes()
    placed = _measured(Placing, "placement", measure_placing, [(own,) for own in every], out, engine, quiet)
    known = _measured(Recognition, "wrong", measure_wrong, [(own,) for own in wrong], out, engine, quiet)
    heads: dict[str, dict[str, CasualHead]] = {}
    if not placement:
        for name, posed in (("casual", False), ("known", True)):
            todo = [(own, posed, preset, out) for own in every]
            heads[name] = _measured(CasualHead, f"{name}_{preset}", measure_head, todo, out, engine, quiet)
    text = casual_page(every, placed, known, heads, preset=preset, quick=quick)
    write_atomically(out / "casual.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_casual_report(out, text, every, placed, heads)
    facts = {"placement": placed, "wrong": known, **heads}
    rows = {part: {name: asdict(found) for name, found in own.items()} for part, own in facts.items()}  # type: ignore[attr-defined]
    write_atomically(out / "casual.json", lambda part: part.write_text(json.dumps(rows, indent=1) + "\n"))
    print(text)


def _measured(
    kind: type[Result], label: str, measure: Callable[..., Result], todo: Sequence[tuple], out: Path, engine: Engine,
    quiet: bool,
) -> dict[str, Result]:  # fmt: skip
    """Return the results by the captures' names: stored ones, and the others as they are measured."""
    paths = {given[0].name: out / f"{given[0].name}_{label}.json" for given in todo}
    results: dict[str, Result] = {}
    for name, path in paths.items():
        if (stored := _stored(kind, path)) is not None:
            results[name] = stored
    left = [given for given in todo if given[0].name not in results]
    with progress(label.replace("_", " "), max(len(left), 1), quiet=quiet) as step:
        work: Work[tuple[Callable[..., Result], tuple], Result] = Work(_called)
        for number, found in engine.run(work, [(measure, given) for given in left]):
            name = left[number][0].name
            results[name] = found
            text = json.dumps(asdict(results[name]), indent=1) + "\n"  # type: ignore[call-overload]
            write_atomically(paths[name], lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            step(1, name)
    return {given[0].name: results[given[0].name] for given in todo}


def _called(job: tuple[Callable[..., Result], tuple]) -> Result:
    measure, given = job
    return measure(*given)


def _stored(kind: type[Result], path: Path) -> Result | None:
    """Return a stored result, if there is one with all of today's values."""
    row = json.loads(path.read_text()) if path.is_file() else {}
    keys = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if keys != row.keys():
        return None
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
