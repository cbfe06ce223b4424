"""The report of a detailed face: the face to turn, photo and renders with a slider, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protome.report.page import raw, sheet_uri
from protome.report.plan import curve
from protome.report.sections import Model, Pair, Picture, Section, Table, write_sections

PAIRS = (
    ("photo", "the photo", "overlay", "the detailed face over it"),
    ("coarse_overlay", "the coarse face", "overlay", "the detailed face"),
    ("coarse_normals", "normals of the coarse face", "normals", "normals of the detailed face"),
    ("photo", "the photo", "render", "what the fit explains of it"),
)
"""Pictures of the folder, side by side."""


def write_detail_report(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write report.html beside the other files of `protome detail`; `facts` is what result.json holds."""
    pairs = tuple(
        Pair(sheet_uri(folder / f"{first}.png"), words, sheet_uri(folder / f"{second}.png"), others)
        for first, words, second, others in PAIRS
    )
    moved, seconds = facts["displacement_mm"], facts["seconds"]
    median, most = moved["median"], moved["p99"]
    depth = f"The relief moves the face by {median:.3f} mm in the median; 99 % of it by less than {most:.2f} mm."
    rows = [(name, str(facts[name])) for name in ("photo", "model", "preset", "device", "seed") if name in facts]
    rows += [("command", " ".join(map(str, facts["command"])))]
    rows += [("vertices of detail.ply", f"{facts['mesh']['vertices']:,}")]
    rows += [(f"seconds, {stage}", f"{own:.1f}") for stage, own in seconds.items()]
    losses = facts.get("curves") or {}
    drawings = tuple(raw(curve(name, own)) for name, own in losses.items() if len(own) > 1)
    sections = [
        Section("Photo and face", (depth,), pairs=pairs),
        Section("All pictures", pictures=(Picture(sheet_uri(folder / "sheet.png"), "All pictures side by side"),)),
        Section("How it was made", tables=(Table(tuple(rows)),), drawings=drawings),
    ]
    still = Picture(sheet_uri(folder / "overlay.png"), "The detailed face over the photo")
    model = Model("The face", (folder / "detail.glb").read_bytes(), still)
    write_sections(
        folder / "report.html", "Detailed face", f"Made in {sum(seconds.values()):.0f} seconds.", sections, model
    )
