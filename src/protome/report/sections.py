"""The parts that reports are put together from, and the report that is nothing but such parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from protome.report.library import three_js
from protome.report.page import base64_of, raw, rendered, text_of
from protome.util.files import write_atomically
from protome.util.versions import versions

SIDES = (("Front", 0), ("Left", 90), ("Back", 180), ("Right", -90))
"""The subject's own sides, degrees."""


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first of each names it."""

    rows: tuple[tuple[str, ...], ...]
    heading: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows in words."""

    address: Markup
    words: str


@dataclass(frozen=True)
class Pair:
    """Two pictures of one size with a slider between them."""

    first: Markup
    first_words: str
    second: Markup
    second_words: str


@dataclass(frozen=True)
class Section:
    """One part of a report, in the order of its fields."""

    title: str
    words: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Markup, ...] = ()
    """SVG."""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Model:
    """A mesh to turn."""

    title: str
    glb: bytes
    """In metres, +y up, the face along +z."""
    still: Picture
    """What is shown where nothing can be drawn in three dimensions."""
    words: str = ""
    shows: tuple[tuple[str, str], ...] = (("shape", "Shape"), ("normals", "Normals"))
    """What the viewer can show, by its own names and in words; the first is shown first."""


def write_sections(
    path: Path, title: str, subtitle: str, sections: Sequence[Section], model: Model | None = None
) -> None:
    """Write a report of sections, below a mesh to turn if there is one."""
    library = three_js()
    page = rendered(
        "plain.html",
        title=title,
        subtitle=subtitle,
        style=raw(text_of("style.css")),
        sections=sections,
        version=versions()["protome"],
        model_title="" if model is None else model.title,
        model_words="" if model is None else model.words,
        still="" if model is None else model.still.address,
        still_words="" if model is None else model.still.words,
        shows=() if model is None else model.shows,
        cameras=False,
        sides=SIDES,
        library=None if library is None else raw(library),
        viewer=raw(text_of("viewer.js")),
        glb="" if model is None else base64_of(model.glb),
        seen_map="",
        viewer_facts=raw(json.dumps({"cameras": []})),
    )
    write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))
