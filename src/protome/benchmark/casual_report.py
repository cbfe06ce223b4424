"""The report of the benchmark of casual captures: its page, and a line for every capture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from protome.benchmark.captures import CasualCapture
from protome.benchmark.casual_heads import CasualHead
from protome.benchmark.casual_page import Heads, Placings, succeeded
from protome.report.document import sections_of
from protome.report.sections import Section, Table, write_sections

PLACED = ("capture", "photos", "left out", "in one frame", "focal length, %", "rotation, deg", "size, %")
FITTED = ("face, size free, mm", "known cameras, mm", "success")
WORDS = (
    "Errors of each capture, in the order of their names. Empty: not known, or no head came out. One photo shares "
    "its frame with no other."
)


def write_casual_report(
    folder: Path, text: str, captures: Sequence[CasualCapture], placed: Placings, heads: dict[str, Heads]
) -> None:
    """Write report.html into the folder: the page `text`, and a table of all captures.

    `heads` holds results of photos without cameras ("casual") and with them ("known"), or nothing.
    """
    title, words, sections = sections_of(text, folder)
    rows = []
    for name in sorted(own.name for own in captures):
        found = placed[name]
        framed = "" if found.photos == 1 else "yes" if found.posed else "no"
        row = [
            name, str(found.photos), ", ".join(found.left_out), framed,
            _number(found.focal_percent, ".1f"), _number(found.rotation_deg, ".2f"),
            _number(found.size_percent, "+.1f"),
        ]  # fmt: skip
        if heads:
            casual, known = heads["casual"][name], heads["known"][name]
            row += [_face(casual), _face(known), "yes" if succeeded(casual) else "no"]
        rows.append(tuple(row))
    heading = (*PLACED, *FITTED) if heads else PLACED
    every = Section("Each capture", (WORDS,), tables=(Table(tuple(rows), heading),))
    write_sections(folder / "report.html", title, words, [*sections, every])


def _face(head: CasualHead) -> str:
    return _number(head.face_free_mm, ".2f")


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
