"""Numbers in README and in docs/accuracy.md are those of docs/benchmark.md, which a command has written."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CELL = re.compile(r"(\d+\.\d\d) / (\d+\.\d\d) \((\d+\.\d\d) / (\d+\.\d\d)\)")
"""Face / head in millimetres, and in brackets the same divided by the mean head's."""


def _rows(text: str) -> list[list[str]]:
    """Return the cells of all lines of tables."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines]


def _benchmark() -> dict[str, tuple[str, ...]]:
    """Return (face, its ratio, head, its ratio) by the number of photos in words, and of the mean head."""
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    rows = _rows(text[text.index("## Views") : text.index("## Subjects")])
    found: dict[str, tuple[str, ...]] = {}
    for row, suffix in (("protome", ""), ("protome, camera's distance known", ", its camera's distance known")):
        cells = next(cells for cells in rows if cells[0] == row)
        for heading, cell in zip(rows[0][1:], cells[1:], strict=True):
            if match := CELL.fullmatch(cell):
                face, head, face_ratio, head_ratio = match.groups()
                found[heading.split()[0] + suffix] = (face, face_ratio, head, head_ratio)
    mean = re.search(r"which saw no photo \((\d+\.\d\d) / (\d+\.\d\d) mm", text)
    assert mean is not None
    return found | {"mean head": (mean[1], "1.00", mean[2], "1.00")}


def test_the_table_of_accuracy_is_the_benchmarks() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    heading, _, *rows = _rows(text)
    assert heading[0] == "photos"
    assert {cells[0]: tuple(cells[1:]) for cells in rows} == _benchmark()


def test_the_table_of_the_readme_is_the_benchmarks() -> None:
    rows = _rows((ROOT / "README.md").read_text(encoding="utf-8"))
    heading, face, head = rows[0], *rows[2:4]
    assert (face[0], head[0]) == ("face", "full head")
    truth = _benchmark()
    names = ["mean head" if name.startswith("mean head") else name.split()[0] for name in heading[1:]]
    assert face[1:] == [truth[name][0] for name in names]
    assert head[1:] == [truth[name][2] for name in names]
