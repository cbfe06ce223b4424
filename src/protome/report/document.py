"""Pages of benchmarks, which the package writes in Markdown, as sections of a report."""

from __future__ import annotations

import re
from pathlib import Path

from protome.report.page import sheet_uri
from protome.report.sections import Picture, Section, Table, write_sections

_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def sections_of(text: str, folder: Path) -> tuple[str, str, list[Section]]:
    """Return title, first paragraph and sections of a page that holds headings, paragraphs, lists, tables and pictures.

    Pictures lie in the folder; code in backticks becomes plain text, and each line of a list a paragraph.
    """
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title, _, words = head.strip().removeprefix("# ").partition("\n")
    return title, _plain(words), [_section(part, folder) for part in parts]


def write_document(path: Path, text: str, folder: Path) -> None:
    """Write a page of Markdown as a report."""
    title, words, sections = sections_of(text, folder)
    write_sections(path, title, words, sections)


def _section(text: str, folder: Path) -> Section:
    title, _, rest = text.partition("\n")
    words: list[str] = []
    tables: list[Table] = []
    pictures: list[Picture] = []
    for block in re.split(r"\n\s*\n", rest.strip()):
        if block.startswith("|"):
            lines = [[_plain(cell) for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
            tables.append(Table(tuple(map(tuple, lines[2:])), tuple(lines[0])))
        elif found := _PICTURE.fullmatch(block.strip()):
            pictures.append(Picture(sheet_uri(folder / found[2]), found[1]))
        elif block.startswith("- "):
            words += [_plain(line.removeprefix("- ")) for line in block.splitlines()]
        elif block.strip():
            words.append(_plain(block))
    return Section(title.strip(), tuple(words), tables=tuple(tables), pictures=tuple(pictures))


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())
