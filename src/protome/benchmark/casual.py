"""The benchmark of casual captures: heads from photos without cameras, beside heads of the same photos with them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from protome.benchmark.captures import read_captures
from protome.benchmark.casual_heads import CasualHead, Recognition, measure_head, measure_wrong
from protome.benchmark.casual_page import casual_page
from protome.benchmark.casual_report import write_casual_report
from protome.benchmark.kept import kept_results
from protome.benchmark.placing import Placing, measure_placing
from protome.util.engines import Engine, Processes
from protome.util.files import check_output_folder, write_atomically

QUICK = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13)
"""Numbers of the captures of a quick run: four each of one, three and eight photos, the real scan among them."""
QUICK_WRONG = 12
QUICK_PRESET = "draft"


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
    placed = kept_results(Placing, "placement", measure_placing, [(own,) for own in every], out, engine, quiet)
    known = kept_results(Recognition, "wrong", measure_wrong, [(own,) for own in wrong], out, engine, quiet)
    heads: dict[str, dict[str, CasualHead]] = {}
    if not placement:
        for name, posed in (("casual", False), ("known", True)):
            todo = [(own, posed, preset, out) for own in every]
            heads[name] = kept_results(CasualHead, f"{name}_{preset}", measure_head, todo, out, engine, quiet)
    text = casual_page(every, placed, known, heads, preset=preset, quick=quick)
    write_atomically(out / "casual.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_casual_report(out, text, every, placed, heads)
    facts = {"placement": placed, "wrong": known, **heads}
    rows = {part: {name: asdict(found) for name, found in own.items()} for part, own in facts.items()}  # type: ignore[attr-defined]
    write_atomically(out / "casual.json", lambda part: part.write_text(json.dumps(rows, indent=1) + "\n"))
    print(text)
