"""The measures of a texture's quality, on pictures whose differences are known."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from painted import paint, painted
from protome.asset.asset import Asset, make_asset
from protome.asset.charts import Part
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.asset.texels import Texels
from protome.benchmark.texture_page import FIGURE, figure, texture_page
from protome.benchmark.texture_quality import (
    Cost,
    Quality,
    TextureRun,
    _between,
    _compared,
    _Picture,
    seam_steps,
)  # fmt: skip
from protome.benchmark.texture_report import write_texture_report
from protome.geometry.camera import Camera
from protome.scene import View
from test_report import Page


@pytest.fixture(scope="module")
def made() -> Asset:
    head = painted((0.0, 60.0, -60.0, 180.0), resolution=90)
    own = [Source.of(view, view.camera) for view in head.views]
    return make_asset(head.mesh, head.grey, own, AssetOptions(texture=1024, faces=8_000))


def test_a_known_difference_has_its_ratio_and_blur_its_sharpness() -> None:
    photo = np.random.default_rng(0).uniform(0.3, 0.7, (64, 64, 3))
    camera = Camera(torch.eye(3), torch.eye(4), 64, 64)
    view = View("a.png", torch.from_numpy(photo).float(), torch.ones(64, 64), camera)
    everywhere = np.ones((64, 64), bool)
    shifted = _Picture(view.image.double().numpy() + 0.1, everywhere, everywhere)
    psnr, face, _, sharpness = _compared(shifted, view)
    assert psnr == pytest.approx(20, abs=1e-4)
    assert face == pytest.approx(20, abs=1e-4)
    assert sharpness == pytest.approx(1)
    blurred = _Picture(gaussian_filter(photo, (2, 2, 0)), everywhere, everywhere)
    assert _compared(blurred, view)[3] < 0.4


def test_views_between_given_ones_have_them_on_both_sides() -> None:
    given = [0, 4, 28]
    assert [number for number in range(32) if number not in given and _between(number, given, 32)] == [
        1, 2, 3, 29, 30, 31,
    ]  # fmt: skip


def test_a_seam_is_seen_in_the_steps_across_charts(made: Asset) -> None:
    texels = Texels.of(made.atlas, 1024)
    points = texels.interpolated(made.atlas.mesh.vertices)
    smooth = replace(made, colour=texels.image(np.rint(255 * paint(points)).astype(np.uint8)))
    assert seam_steps(smooth) < 1.3
    charts = np.zeros(1024 * 1024, np.uint8)
    face = made.atlas.faces[made.atlas.chart % len(Part) == Part.FACE]
    inside = np.isin(texels.corners, made.atlas.vertex[face]).all(1)
    charts[texels.index[inside]] = 25
    brighter = smooth.colour.astype(int) + charts.reshape(1024, 1024, 1)
    stepped = replace(made, colour=np.clip(brighter, 0, 255).astype(np.uint8))
    assert seam_steps(stepped) > 1.5


def some_runs() -> list[TextureRun]:
    return [
        TextureRun((Quality(name, 3, "texture", False, psnr, psnr - 1, 0.9, 0.95, 1.0),), Cost(seconds, 30.0, 1.5))
        for name, psnr, seconds in (("a", 30.0, 8.0), ("b", 32.0, 12.0))
    ]


def test_the_page_has_means_over_subjects() -> None:
    page = texture_page(some_runs(), "draft")
    assert "| 3 | given | texture | 31.0 | 30.0 | 0.900 | 0.95 | 1.00 |" in page
    assert "| given views, PSNR on the face, dB | 30.00 | at least 32 | no |" in page
    assert "| given views, sharpness | 0.95 | at least 0.9, at most 1.1 | yes |" in page
    assert "| finish, processor seconds, most | 12.00 | at most 10 | no |" in page
    assert "held back, 8" not in page


def test_the_report_has_the_page_and_each_photo_beside_its_head(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for path in paths:
        strip = np.zeros((20, 60, 3), np.uint8)
        strip[:, :20], strip[:, 20:40], strip[:, 40:] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
        Image.fromarray(strip).save(path)
    figure(paths).save(tmp_path / FIGURE)
    runs = some_runs()
    runs[1] = replace(
        runs[1], qualities=(*runs[1].qualities, replace(runs[1].qualities[0], held_back=True, face_psnr=27))
    )
    write_texture_report(tmp_path, texture_page(runs, "draft"), list(zip(runs, paths, strict=True)))
    html = (tmp_path / "report.html").read_text()
    assert all(address.startswith("data:") for address in Page(html).refers)
    assert re.findall(r"<figcaption>(.*)</figcaption>", html) == [
        "a, a photo | the head from 3 photos, 29.0 dB", "b, a photo | the head from 3 photos, 27.0 dB",
    ]  # fmt: skip
    shown = re.search(
        r'class="both"[^>]*><img src="data:image/jpeg;base64,([^"]+)"[^>]*><img[^>]* src="[^,]+,([^"]+)"', html
    )
    assert shown is not None
    for data, colour in zip(shown.groups(), ((200, 0, 0), (0, 200, 0)), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        np.testing.assert_allclose(picture.reshape(-1, 3).mean(0), colour, atol=4)
    assert "<td>31.0</td>" in html
    assert html.count("<table") == 3
