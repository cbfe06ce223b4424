"""The report of an evaluation: the scan to turn, coloured by the distances, their table and their distribution."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from protome.evaluate.figures import heat_colours, heat_limit, save_heatmap, upright
from protome.evaluate.landmarks import MarkedMesh
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.report.page import raw, sheet_uri
from protome.report.sections import Model, Picture, Section, Table, write_sections

MOST_FACES = 120_000
"""Triangles of the scan in the report, which would be too large a file with more."""
_WIDTH, _HEIGHT, _STEPS = 300, 120, 60


def write_evaluation_report(
    path: Path, rows: Sequence[Sequence[str]], facts: Mapping[str, Any], scan: MarkedMesh | None,
    distances: Float[np.ndarray, "v"] | None,
) -> None:  # fmt: skip
    """Write the report; `rows` are the lines of the table, `facts` what the JSON file says of files and protocol.

    Where several scans were measured there is nothing to turn, and the report is the table.
    """
    heading = ("", "mean", "median", "90 %", "std", "points", "unit")
    sections = [Section("Distances", tables=(Table(tuple(map(tuple, rows)), heading),))]
    model = None
    if scan is not None and distances is not None:
        known = distances[np.isfinite(distances)]
        limit = heat_limit(distances)
        sections.append(Section("Distribution", drawings=(distribution(known, limit),)))
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / "heat.png"
            save_heatmap(picture, scan.mesh, distances, scan.landmarks)
            still = Picture(sheet_uri(picture), "The scan from several sides, coloured by the distances")
            shown = Path(folder) / "scan.glb"
            coloured(scan, distances, limit).save(shown)
            glb = shown.read_bytes()
        sections.append(Section("From several sides", pictures=(still,)))
        words = f"Colours are distances from 0 (dark) to {limit:g} mm (bright) and more. Grey was not measured."
        shows = (("colours", "Distances"), ("shape", "Shape"), ("normals", "Normals"))
        model = Model("The scan", glb, still, words, shows)
    sections.append(Section("How it was measured", tables=(Table(_settings(facts)),)))
    subtitle = f"{Path(facts['prediction']).name} against {Path(facts['truth']).name}, protocol {facts['protocol']}."
    write_sections(path, "Distances to a scan", subtitle, sections, model)


def coloured(scan: MarkedMesh, distances: Float[np.ndarray, "v"], limit: float) -> Mesh:
    """Return the scan in metres, upright, in colours (sRGB) of its distances, with few enough triangles."""
    vertices, faces = scan.mesh.vertices @ upright(scan.landmarks or {}).T, scan.mesh.faces
    colours = heat_colours(distances, limit)
    if len(faces) > MOST_FACES:
        fewer, faces = fast_simplification.simplify(
            vertices.astype(np.float32), faces, target_reduction=1 - MOST_FACES / len(faces)
        )
        colours = colours[tree_of(vertices).query(fewer)[1]]
        vertices = fewer.astype(np.float64)
    return Mesh(vertices / 1000.0, np.asarray(faces, np.int64), colours)


def distribution(distances: Float[np.ndarray, "k"], limit: float) -> Markup:
    """Return a drawing of the share of distances (mm) below each length."""
    lengths = np.linspace(0, 2 * limit, _STEPS)
    shares = np.searchsorted(np.sort(distances), lengths, side="right") / max(1, len(distances))
    points = " ".join(
        f"{4 + (_WIDTH - 8) * k / (_STEPS - 1):.1f},{_HEIGHT - 18 - (_HEIGHT - 34) * share:.1f}"
        for k, share in enumerate(shares)
    )
    median, high = (float(np.percentile(distances, share)) if len(distances) else 0.0 for share in (50, 90))
    words = f"Half of the distances are below {median:.2f} mm, 90 % below {high:.2f} mm"
    return raw(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<path class="axis" d="M4 {_HEIGHT - 18} H{_WIDTH - 4} M4 16 H{_WIDTH - 4}"/>'
        f'<polyline class="curve" points="{points}"/><text x="4" y="11">100 % of the points</text>'
        f'<text x="4" y="{_HEIGHT - 4}">0</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 4}" text-anchor="end">{2 * limit:g} mm</text></svg>'
        f"<figcaption>{escape(words)}.</figcaption>"
    )


def _settings(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    words = {
        "prediction": "prediction", "truth": "scan", "protocol": "protocol", "dof": "alignment",
        "face_radius_mm": "radius of the face, mm", "start": "start of the alignment",
        "covered_radius_mm": "radius that the prediction covers, mm",
    }  # fmt: skip
    return tuple((own, str(facts[name])) for name, own in words.items() if name in facts)
