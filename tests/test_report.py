"""Reports: one file that asks nothing of any network, and shows the photos, the head and what is known of both."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from browser import chromium, visit
from painted import Painted, painted
from protome.asset.asset import Asset, make_asset
from protome.asset.decimate import is_closed
from protome.asset.gltf import glb_of
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.capture.facts import PhotoFacts
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.report import head_report, light
from protome.report.head_report import Shown, write_report
from protome.report.library import three_js
from protome.report.light import report_glb
from protome.report.plan import cameras_from_above, curve

_DRAG = """
const rest = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const place = document.getElementById("viewer");
const drag = (kind, x, y) => place.dispatchEvent(new PointerEvent(kind, {clientX: x, clientY: y, pointerId: 1}));
const timer = setInterval(async () => {
  if (!document.body.dataset.ready) return;
  clearInterval(timer);
  const canvas = place.querySelector("canvas"), pictures = [];
  const take = async () => { await rest(); pictures.push(canvas.toDataURL("image/png")); };
  await take();
  drag("pointerdown", 100, 100); drag("pointermove", 250, 110); drag("pointerup", 250, 110);
  await take();
  document.querySelector('[data-show="shape"]').click();
  await take();
  fetch("pictures", {method: "POST", body: JSON.stringify(pictures)});
}, 200);
"""

ANGLES = (0.0, 50.0)
NOSE = np.array([0.0, -20.0, 15.0])
FACTS: Mapping[str, Any] = {
    "preset": "draft", "seed": 3, "device": "cpu", "seconds": {"fit": 12.0}, "versions": {"protome": "1"},
    "command": ["protome", "reconstruct", "<a> & b.jpg"], "measures_mm": {"face width": 141.6},
    "size": {"from": "the irises", "std_percent": 2.5}, "cameras_from": "all photos together",
    "mesh": {"vertices": 12345}, "curves": {"colour": [1.0, 0.5, 0.25]}, "alt": {"capture.png": "Two photos."},
}  # fmt: skip


class Page(HTMLParser):
    """Everything that a page refers to, and its images by what describes them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.images: dict[str, np.ndarray] = {}
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.refers += [own[name] for name in ("src", "href", "srcset", "data", "poster", "action") if name in own]
        if tag == "img":
            assert own["alt"]
            data = base64.b64decode(own["src"].partition("base64,")[2])
            self.images[own["alt"]] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float) / 255
        if tag in ("button", "input") and own.get("type") == "range":
            self.labels.append(own["aria-label"])


@pytest.fixture(scope="module")
def head() -> Painted:
    return painted(ANGLES, resolution=90)


@pytest.fixture(scope="module")
def asset(head: Painted) -> Asset:
    sources = [Source.of(view, view.camera) for view in head.views]
    return make_asset(head.mesh, head.grey, sources, AssetOptions(texture=1024, faces=12_000))


@pytest.fixture(scope="module")
def report(head: Painted, asset: Asset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for name in ("preview.png", "capture.png"):
        Image.new("RGB", (40, 30), "teal").save(folder / name)
    shown = [
        Shown(f"<{number}>.jpg", np.rint(255 * view.image.numpy()).astype(np.uint8), view.camera)
        for number, view in enumerate(head.views)
    ]
    photos = [
        PhotoFacts(one.name, 360, 360, 480.0, "assumed", 900.0, angle, 0.0, None, 1.0, ())
        for one, angle in zip(shown, ANGLES, strict=True)
    ]
    write_report(folder / "report.html", asset, shown, photos, FACTS, NOSE)
    return folder / "report.html"


def test_a_report_refers_to_nothing_outside_itself(report: Path) -> None:
    text = report.read_text()
    page = Page(text)
    assert page.refers
    assert all(address.startswith("data:") for address in page.refers)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    # What a script might ask for all the same, the browser refuses.
    assert "default-src 'none'" in text
    assert len(text) < 12e6


def test_photos_lie_beside_their_renders(report: Path, head: Painted) -> None:
    page = Page(report.read_text())
    for number in range(len(ANGLES)):
        photo = page.images[f"Photo <{number}>.jpg"]
        render = page.images[f"The head as the camera of photo <{number}>.jpg sees it"]
        assert photo.shape == render.shape
        # Both show the painted skin in the middle, where the head is.
        middle = tuple(slice(side // 3, 2 * side // 3) for side in photo.shape[:2])
        assert np.abs(photo[middle] - render[middle]).mean() < 0.04
    assert page.labels == [f"Share of photo <{number}>.jpg beside the render" for number in range(len(ANGLES))]


def test_texts_of_users_are_no_markup(report: Path) -> None:
    text = report.read_text()
    assert "&lt;a&gt; &amp; b.jpg" in text
    assert "<a> & b.jpg" not in text
    assert "<0>.jpg" not in text


def test_the_head_in_the_page_is_the_asset(report: Path, asset: Asset) -> None:
    found = re.search(r'id="glb">([^<]+)<', report.read_text())
    assert found is not None
    mesh = trimesh.load(io.BytesIO(base64.b64decode(found[1])), file_type="glb", force="mesh")
    np.testing.assert_allclose(1000 * mesh.bounds, [asset.vertices().min(0), asset.vertices().max(0)], atol=1e-2)


def test_a_large_head_is_lighter_in_the_report(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = glb_of(asset)
    assert report_glb(asset, whole) == report_glb(asset) == whole
    for name, value in (("MOST_BYTES", len(whole) - 1), ("FACES", 4_000), ("TEXTURE", 512)):
        monkeypatch.setattr(light, name, value)
    small = report_glb(asset)
    assert len(small) < 0.5 * len(whole)
    before, after = (trimesh.load(io.BytesIO(data), file_type="glb", force="mesh") for data in (whole, small))
    assert 3_500 < len(after.faces) < 4_500
    assert after.visual.material.baseColorTexture.size == (512, 512)
    # It is the same surface with the same colours, and without gaps.
    points, faces = trimesh.sample.sample_surface(after, 2_000, seed=0)
    near = Surface(Mesh(np.array(before.vertices), np.array(before.faces, np.int64))).closest(np.array(points))
    assert 1000 * np.quantile(near.distances, 0.99) < 0.5
    assert after.area == pytest.approx(before.area, rel=0.01)
    assert is_closed(light.lighter(asset.atlas, 4_000).mesh)
    shares = []
    for mesh, own, at in ((after, faces, np.array(points)), (before, near.faces, near.points)):
        weights = barycentric(np.array(mesh.triangles[own]), at)[..., None]
        uv = (weights * mesh.visual.uv[mesh.faces[own]]).sum(1)
        picture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), float)
        column, row = np.clip(uv * [1, -1] + [0, 1], 0, 0.999).T * len(picture)
        shares.append(picture[row.astype(int), column.astype(int)])
    assert np.median(np.abs(shares[0] - shares[1])) < 6


def test_seen_shares_follow_the_photos(head: Painted, asset: Asset) -> None:
    shares = dict(head_report._seen(asset, NOSE))
    face, whole = (int(shares[name].split(" ")[0]) for name in ("face", "all of it"))
    # Of a body seen from the front and one side, at most about two thirds.
    assert face > 80
    assert 25 < whole < 70


def test_cameras_stand_where_the_photos_say() -> None:
    drawing = cameras_from_above([PhotoFacts("a.jpg", 10, 10, 10.0, "given", 1000.0, 90.0, 0.0, None, 1.0, ())])
    spot = re.search(r'<circle class="stand" cx="([\d.]+)" cy="([\d.]+)"', drawing)
    assert spot is not None
    # The subject's left is on the right, level with the head.
    assert float(spot[1]) > 250
    assert float(spot[2]) == pytest.approx(150, abs=0.1)


def test_a_curve_that_falls_is_drawn_downwards() -> None:
    points = re.search(r'points="([^"]+)"', curve("colour", [4.0, 2.0, 1.0]))
    assert points is not None
    rows = [float(pair.split(",")[1]) for pair in points[1].split(" ")]
    assert rows == sorted(rows)


def test_three_js_is_complete_and_cannot_end_its_tag() -> None:
    library = three_js()
    assert library is not None
    assert "Three.js Authors" in library
    assert "SPDX-License-Identifier: MIT" in library
    assert library.endswith("THREE.GLTFLoader=GLTFLoader;})();")


def test_a_browser_draws_the_head_and_turns_it_when_dragged(report: Path, tmp_path: Path) -> None:
    program = chromium()
    # The page may not talk to anybody, so the test's own copy has to be told otherwise.
    page = re.sub(r"<meta http-equiv=.Content-Security-Policy.*?>", "", report.read_text())
    kind, told = visit(program, page.replace("</body>", f"<script>{_DRAG}</script></body>").encode(), tmp_path)
    assert kind == "/pictures", told
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA")).astype(float)
        for data in json.loads(told)
    ]
    first, turned, shape = pictures
    # The head fills a good part of the picture, in the colours of its paint.
    inside = first[..., 3] > 128
    assert 0.15 < inside.mean() < 0.9
    assert first[inside][:, :3].std(0).min() > 15
    assert np.abs(first - turned).mean() > 4
    # Without the texture it is grey.
    grey = shape[shape[..., 3] > 128][:, :3]
    assert np.abs(grey.max(1) - grey.min(1)).mean() < 25
