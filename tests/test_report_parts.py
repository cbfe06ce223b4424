"""Reports of evaluations and benchmarks: complete in themselves, and with the numbers and colours of what they show."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from protome.benchmark.page import markdown
from protome.evaluate.evaluation_report import MOST_FACES, coloured, distribution
from protome.evaluate.figures import heat_colours
from protome.evaluate.landmarks import MarkedMesh
from protome.evaluate.report import report_evaluation
from protome.geometry.mesh import Mesh
from protome.report.document import sections_of, write_document
from protome.sider.detail_report import PAIRS, write_detail_report
from test_report import Page


def ball(radius: float, level: int = 3) -> Mesh:
    own = trimesh.creation.icosphere(level, radius)
    return Mesh(np.asarray(own.vertices, np.float64), np.asarray(own.faces, np.int64))


def refers_to_itself(text: str) -> Page:
    page = Page(text)
    assert all(address.startswith("data:") for address in page.refers)
    assert "default-src 'none'" in text
    return page


def glb_of(text: str) -> trimesh.Trimesh:
    found = re.search(r'id="glb">([^<]+)<', text)
    assert found is not None
    return trimesh.load(io.BytesIO(base64.b64decode(found[1])), file_type="glb", force="mesh")


def test_an_evaluations_report_has_the_scan_and_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ball(80.0).save(tmp_path / "<b>.ply")
    ball(81.0).save(tmp_path / "scan.ply")
    (tmp_path / "marks.json").write_text(json.dumps({"nose_tip": [0.0, 0.0, 81.0]}))
    report_evaluation(
        tmp_path / "<b>.ply", tmp_path / "scan.ply", landmarks=tmp_path / "marks.json", report=tmp_path / "r.html"
    )
    text = (tmp_path / "r.html").read_text()
    page = refers_to_itself(text)
    assert "&lt;b&gt;.ply against scan.ply" in text
    # Every number of the table that is printed is in the page.
    printed = re.findall(r"\d+\.\d{3}", capsys.readouterr().out)
    assert len(printed) >= 20
    assert all(f"<td>{number}</td>" in text for number in printed)
    np.testing.assert_allclose(glb_of(text).extents, 0.162, atol=1e-3)  # in metres
    assert "The scan from several sides, coloured by the distances" in page.images


def test_the_scan_has_the_colours_of_its_distances_and_not_too_many_triangles() -> None:
    scan = MarkedMesh(ball(80.0, 7), {}, Path("scan.ply"))
    distances = np.where(scan.mesh.vertices[:, 0] > 0, 2.0, 0.0)
    assert len(scan.mesh.faces) > MOST_FACES
    shown = coloured(scan, distances, 2.0)
    assert 0.8 * MOST_FACES < len(shown.faces) <= 1.01 * MOST_FACES
    assert shown.colours is not None
    right = shown.vertices[:, 0] > 0.002
    np.testing.assert_allclose(shown.colours[right].mean(0), heat_colours(np.array([2.0]), 2.0)[0], atol=1e-6)


def test_the_distribution_is_read_from_left_to_right() -> None:
    drawing = str(distribution(np.array([0.5, 0.5, 1.5, 3.0]), 2.0))
    assert "Half of the distances are below 1.00 mm" in drawing
    heights = [float(point.split(",")[1]) for point in re.findall(r'points="([^"]+)"', drawing)[0].split()]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > heights[-1]


def test_a_page_of_a_benchmark_becomes_a_report(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "accuracy.png")
    table = markdown(("photos", "face"), (("1", "1.09"), ("<3>", "0.37")))
    parts = [
        "# Benchmark",
        "Written by `it`.",
        "## Views",
        table,
        "Targets.",
        "![Errors](accuracy.png)",
        "## More",
        "No.",
    ]
    text = "\n\n".join(parts) + "\n"
    title, words, sections = sections_of(text, tmp_path)
    assert (title, words, [section.title for section in sections]) == ("Benchmark", "Written by it.", ["Views", "More"])
    assert sections[0].tables[0].rows == (("1", "1.09"), ("<3>", "0.37"))
    assert sections[0].words == ("Targets.",)
    write_document(tmp_path / "report.html", text, tmp_path)
    page = refers_to_itself((tmp_path / "report.html").read_text())
    assert set(page.images) == {"Errors"}
    assert "&lt;3&gt;" in (tmp_path / "report.html").read_text()


def test_a_detailed_faces_report_has_the_face_and_its_pictures(tmp_path: Path) -> None:
    for name in {name for pair in PAIRS for name in (pair[0], pair[2])} | {"sheet"}:
        Image.new("RGB", (16, 16), "teal").save(tmp_path / f"{name}.png")
    ball(0.08).save(tmp_path / "detail.glb")
    facts = {
        "command": ["protome", "detail", "<me>.jpg"], "preset": "relief", "seconds": {"fit": 3.0}, "curves": {},
        "mesh": {"vertices": 642}, "displacement_mm": {"median": 0.1, "p99": 0.5},
    }  # fmt: skip
    write_detail_report(tmp_path, facts)
    text = (tmp_path / "report.html").read_text()
    page = refers_to_itself(text)
    assert len(page.labels) == len(PAIRS)
    assert "by less than 0.50 mm" in text
    assert "&lt;me&gt;.jpg" in text
    np.testing.assert_allclose(glb_of(text).extents, 0.16, atol=1e-3)
