"""The picture of the layers in docs/: it shows today's imports, and what it is drawn by can be trusted."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

from layers import Layers, imported_boxes, layers_of, layers_text
from test_imports import ALLOWED, package_sources

DOCS = Path(__file__).resolve().parents[1] / "docs"


def shown_text(picture: Path) -> str:
    """Return the layers that an SVG file says it shows."""
    found = re.search(r"<desc>(.*?)</desc>", picture.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_the_picture_shows_todays_imports() -> None:
    assert shown_text(DOCS / "layers.svg") == layers_text(layers_of(imported_boxes())), "run python docs/layers.py"


def test_the_picture_is_drawn_by_its_command(tmp_path: Path) -> None:
    out = tmp_path / "layers.svg"
    subprocess.run([sys.executable, DOCS / "layers.py", "--out", out], cwd=tmp_path, check=True)
    assert out.read_text(encoding="utf-8") == (DOCS / "layers.svg").read_text(encoding="utf-8")


def test_the_boxes_are_those_of_the_table_of_imports() -> None:
    boxes = {entry.partition(".")[0] for entry in ALLOWED}
    assert {box.rstrip("/") for box in imported_boxes()} == boxes
    folders = {f"{name.partition('.')[0]}/" for name in package_sources() if "." in name}
    assert {box for box in imported_boxes() if box.endswith("/")} == folders


def test_rows_stand_on_what_they_import() -> None:
    imports = {"top": {"a", "b"}, "a": {"b", "ground/"}, "b": {"ground/"}, "alone": set(), "ground/": set()}
    layers = layers_of(imports)
    # Top imports b, and a the ground, by a longer path as well: those lines are left out.
    lines = (("a", "b"), ("b", "ground/"), ("top", "a"))
    assert layers == Layers((("alone", "ground/"), ("b",), ("a",), ("top",)), lines)
    assert layers_text(layers).splitlines() == [
        "3: top", "2: a", "1: b", "0: alone ground/", "a -> b", "b -> ground/", "top -> a",
    ]  # fmt: skip


def test_boxes_in_a_circle_share_a_row() -> None:
    layers = layers_of({"top": {"a/"}, "a/": {"b/", "ground"}, "b/": {"a/"}, "ground": set()})
    assert layers.rows == (("ground",), ("a/", "b/"), ("top",))
    assert set(layers.imports) == {("top", "a/"), ("a/", "b/"), ("b/", "a/"), ("a/", "ground")}
