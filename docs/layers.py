"""Draw the layers of the package from its imports: `python docs/layers.py --out docs/layers.svg`.

A box is a folder of `src/protome`, or a module beside the folders. It stands one row above the highest box that it
imports from. Lines are those imports that no longer path implies. The text of the picture is in `layers_text`.
"""

from __future__ import annotations

import argparse
import ast
import html
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "protome"
PICTURE = Path(__file__).with_name("layers.svg")
WIDTH, ROW, BOX = 960, 66, 30
"""Pixels: the picture's width, from one line of boxes to the next, and a box's height."""
LETTER, PADDING, GAP = 8.4, 12, 16
"""Pixels of a letter's width, of the space beside a name in its box, and of the least space between boxes."""
FOLDER, MODULE = "#dbe9f6", "#f3efe4"


@dataclass(frozen=True)
class Layers:
    """The package as rows of boxes."""

    rows: tuple[tuple[str, ...], ...]
    """Names of folders (with a slash) and modules, from the bottom up."""
    imports: tuple[tuple[str, str], ...]
    """Pairs (box, box that it imports from), without pairs that a longer path implies."""


def box_of(module: str, source: Path = SOURCE) -> str:
    """Return the box of a module given by its dotted name below the package."""
    first = module.partition(".")[0]
    return f"{first}/" if (source / first).is_dir() else first


def imported_boxes(source: Path = SOURCE) -> dict[str, set[str]]:
    """Return for each box the boxes that it imports from, its own left out."""
    found: dict[str, set[str]] = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if parts[-1] == "__init__":
            continue
        own = box_of(".".join(parts), source)
        found.setdefault(own, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            inside = {name.split(".", 1)[1] for name in names if name.startswith("protome.")}
            found[own] |= {box_of(name, source) for name in inside} - {own}
    return found


def layers_of(imports: dict[str, set[str]]) -> Layers:
    """Return rows and lines of boxes by what each imports from; boxes that import in a circle share a row."""
    below = {box: set(others) for box, others in imports.items()}
    while any(not below[other] <= below[box] for box in below for other in below[box]):
        below = {box: others.union(*(below[other] for other in others)) for box, others in below.items()}
    heights: dict[str, int] = {}
    while len(heights) < len(imports):
        for box, others in below.items():
            circle = {other for other in others if box in below[other]} | {box}
            if box not in heights and others - circle <= heights.keys():
                height = 1 + max((heights[other] for other in others - circle), default=-1)
                heights |= dict.fromkeys(circle, height)
    rows = [tuple(sorted(box for box in heights if heights[box] == row)) for row in range(max(heights.values()) + 1)]
    lines = [
        (box, other)
        for box in sorted(imports)
        for other in sorted(imports[box])
        if not any(
            heights[box] > heights[between] > heights[other] and other in below[between] for between in imports[box]
        )
    ]
    return Layers(tuple(rows), tuple(lines))


def layers_text(layers: Layers) -> str:
    """Return the layers as text: a line for each row from the top, then a line for each box with what it imports."""
    rows = [f"{number}: {' '.join(row)}" for number, row in reversed(list(enumerate(layers.rows)))]
    lines = [f"{box} -> {other}" for box, other in layers.imports]
    return "\n".join([*rows, *lines])


def picture(layers: Layers) -> str:
    """Return the layers as SVG, whose description is `layers_text`."""
    rows = [line for row in layers.rows for line in _broken(row)]
    places: dict[str, tuple[float, float]] = {}
    boxes: list[str] = []
    for height, row in enumerate(rows):
        space = (WIDTH - sum(map(_width, row))) / (len(row) + 1)
        left, middle = space, ROW * (len(rows) - height) - ROW / 2
        for name in row:
            x, top, width = left + _width(name) / 2, middle - BOX / 2, _width(name)
            colour = FOLDER if name.endswith("/") else MODULE
            boxes.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{BOX}" rx="4" fill="{colour}"/>'
                f'<text x="{x:.1f}" y="{middle + 5:.1f}">{html.escape(name)}</text>'
            )
            places[name] = (x, middle)
            left += width + space
    lines = [
        f'<path d="M{places[box][0]:.1f} {places[box][1]:.1f}L{places[other][0]:.1f} {places[other][1]:.1f}"/>'
        for box, other in layers.imports
    ]
    size = f'width="{WIDTH}" height="{ROW * len(rows)}" viewBox="0 0 {WIDTH} {ROW * len(rows)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<desc>{html.escape(layers_text(layers))}</desc>",
            '<rect width="100%" height="100%" fill="white"/>',
            '<g stroke="#8496b0" fill="none">',
            *lines,
            "</g>",
            '<g font-family="monospace" font-size="14" text-anchor="middle">',
            *boxes,
            "</g>",
            "</svg>",
            "",
        ]
    )


def _width(name: str) -> float:
    """Return the width of a box in pixels."""
    return LETTER * len(name) + 2 * PADDING


def _broken(row: tuple[str, ...]) -> list[list[str]]:
    """Return a row as lines of boxes that fit beside each other."""
    lines: list[list[str]] = [[]]
    for name in row:
        if lines[-1] and sum(_width(other) + GAP for other in [*lines[-1], name]) + GAP > WIDTH:
            lines.append([])
        lines[-1].append(name)
    return lines


def main() -> None:
    """Write the picture to the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=PICTURE, metavar="FILE", help="the SVG file to write")
    parser.parse_args().out.write_text(picture(layers_of(imported_boxes())), encoding="utf-8")


if __name__ == "__main__":
    main()
