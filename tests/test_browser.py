"""The default file in a common viewer of the web: three.js in Chromium shows it as its photo does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from browser import chromium, drawn
from painted import Painted, painted
from protome.asset.asset import Asset, make_asset
from protome.asset.formats import write_asset
from protome.asset.options import AssetOptions
from protome.asset.picture import Textured
from protome.asset.source import Source


@pytest.fixture(scope="module")
def head() -> Painted:
    chromium()
    return painted((0.0,), resolution=90)


@pytest.fixture(scope="module")
def made(head: Painted) -> Asset:
    own = [Source.of(view, view.camera) for view in head.views]
    return make_asset(head.mesh, head.grey, own, AssetOptions(texture=1024, faces=12_000))


def decibels(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> float:
    return float(-10 * np.log10(((first - second) ** 2)[inside].mean()))


def test_a_viewer_shows_the_photo_and_our_picture_unless_a_lit_material_is_asked_for(
    head: Painted, made: Asset, tmp_path: Path
) -> None:
    view = head.views[0]
    ours = Textured.of(made).seen(view.camera)
    # Near the outline the renderer fills in, whose grey is not the photo's.
    inside = binary_erosion((ours.face >= 0) & (view.mask.numpy() > 0.5), iterations=20)
    pictures = {}
    for material in ("unlit", "pbr"):
        folder = tmp_path / material
        folder.mkdir()
        write_asset(folder, replace(made, material=material), ("glb",))
        pictures[material] = drawn(folder / "head.glb", view.camera, folder)
    photo = view.image.double().numpy()
    assert decibels(pictures["unlit"], photo, inside) > 36
    assert decibels(pictures["unlit"], ours.colour, inside) > 42
    # Light of the viewer on top of the photo's makes another picture.
    assert decibels(pictures["pbr"], photo, inside) < 24
