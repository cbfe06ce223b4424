"""The report of the benchmark of textures: its page, and each photo beside the textured head with a slider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from protome.benchmark.texture_quality import TEXTURE, TextureRun
from protome.report.document import sections_of
from protome.report.page import picture_uri
from protome.report.sections import Pair, Section, write_sections

WORDS = (
    "The photo is one that was held back where there are three photos or more, and the given one of a single photo. "
    "PSNR is that of the textured head on the face, the mean over such views."
)


def write_texture_report(folder: Path, text: str, runs: Sequence[tuple[TextureRun, Path]]) -> None:
    """Write report.html into the folder: the page `text`, and a slider for every run with the picture of its strip.

    A strip has three squares side by side: the photo, the textured head and the vertex colours.
    """
    title, words, sections = sections_of(text, folder)
    pairs = tuple(_pair(run, path) for run, path in runs)
    write_sections(folder / "report.html", title, words, [Section("Photo and head", (WORDS,), pairs), *sections])


def _pair(run: TextureRun, path: Path) -> Pair:
    with Image.open(path) as opened:
        strip = np.asarray(opened.convert("RGB"))
    side = strip.shape[0]
    photo, textured = np.ascontiguousarray(strip[:, :side]), np.ascontiguousarray(strip[:, side : 2 * side])
    shown = [row for row in run.qualities if row.kind == TEXTURE]
    # As in the picture: views that were held back where there are any.
    own = next((row for row in shown if row.held_back), shown[0])
    count = "1 photo" if own.views == 1 else f"{own.views} photos"
    words = f"the head from {count}, {own.face_psnr:.1f} dB"
    return Pair(picture_uri(photo), f"{own.subject}, a photo", picture_uri(textured), words)
