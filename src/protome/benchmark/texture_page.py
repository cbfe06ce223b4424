"""The page of the benchmark of textures, and its figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from protome.benchmark.page import markdown
from protome.benchmark.texture_quality import TEXTURE, Quality, TextureRun

FIGURE = "texture.jpg"
_KEYS = ("psnr", "face_psnr", "ssim", "sharpness", "seams")
_PER_ROW = 2


def texture_page(runs: Sequence[TextureRun], preset: str) -> str:
    """Return the page: quality by the number of photos, costs, and how far the targets are met."""
    rows = [row for run in runs for row in run.qualities]
    sets = [run for run in runs if run.qualities[0].photos]
    subjects = ", ".join(dict.fromkeys(row.subject for row in rows))
    about = (
        f"Written by `protome benchmark texture` ({subjects}; preset {preset}). Pictures of the head from the photos' "
        "cameras beside the photos: given ones, and ones between them that were held back. PSNR in decibels on the "
        "person and on the face, structural similarity, sharpness (mean gradient on the face over the photo's), and "
        "the colour step across borders of charts over that beside them. Two pixels along outlines do not count. "
        "Means over subjects; vertex colours are those of the dense mesh."
    )
    blocks = ["# Textures", about, "## Views", _table([row for row in rows if not row.photos])]
    if sets:
        blocks += ["## Photos without cameras", "Photos as people take them; all were given.",
                   _table([row for row in rows if row.photos])]  # fmt: skip
    blocks += ["## Costs", "Processor seconds of one thread: the finish (decimation, atlas, baking, files; texture of "
               "2048 pixels, 60,000 triangles) and the whole reconstruction; largest memory of its process.",
               _costs(runs), "## Targets", _targets(rows, runs),
               f"![A photo, held back where there are three or more, the textured head, and the dense mesh's vertex "
               f"colours, for each head]({FIGURE})"]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def _table(rows: Sequence[Quality]) -> str:
    """Return one line for each number of photos, views and kind, means over the subjects."""
    lines = []
    keys = dict.fromkeys((row.views, row.held_back, row.kind) for row in rows)
    for views, held_back, kind in sorted(keys, key=lambda key: (key[0], key[1], key[2] == TEXTURE)):
        own = [row for row in rows if (row.views, row.held_back, row.kind) == (views, held_back, kind)]
        values = {key: float(np.mean([getattr(row, key) for row in own])) for key in _KEYS}
        lines.append([
            str(views), "held back" if held_back else "given", kind, f"{values['psnr']:.1f}",
            f"{values['face_psnr']:.1f}", f"{values['ssim']:.3f}", f"{values['sharpness']:.2f}",
            f"{values['seams']:.2f}" if kind == TEXTURE else "",
        ])  # fmt: skip
    return markdown(["photos", "views", "colours", "PSNR", "PSNR, face", "SSIM", "sharpness", "seams"], lines)


def _costs(runs: Sequence[TextureRun]) -> str:
    lines = [
        [run.qualities[0].subject, str(run.qualities[0].views), f"{run.cost.finish_seconds:.1f}",
         f"{run.cost.seconds:.0f}", f"{run.cost.peak_gb:.2f}"]
        for run in runs
    ]  # fmt: skip
    return markdown(["subject", "photos", "finish, s", "whole, s", "memory, GB"], lines)


def _targets(rows: Sequence[Quality], runs: Sequence[TextureRun]) -> str:
    """Return the targets of the textures that apply to the runs, and what was found."""

    def mean(key: str, held_back: bool, views: Callable[[int], bool] = bool) -> float | None:
        textures = [row for row in rows if row.kind == TEXTURE and not row.photos]
        own = [getattr(row, key) for row in textures if row.held_back == held_back and views(row.views)]
        return float(np.mean(own)) if own else None

    found = [
        ("given views, PSNR on the face, dB", mean("face_psnr", False), 32.0, None),
        ("given views, sharpness", mean("sharpness", False), 0.9, 1.1),
        ("views held back, 8 photos, PSNR, dB", mean("psnr", True, lambda views: views == 8), 26.0, None),
        ("views held back, 3 photos, PSNR, dB", mean("psnr", True, lambda views: views == 3), 24.0, None),
        ("finish, processor seconds, most", max(run.cost.finish_seconds for run in runs), None, 10.0),
        ("memory, GB, most", max(run.cost.peak_gb for run in runs), None, 2.0),
    ]
    single = [run.cost.seconds for run in runs if run.qualities[0].views == 1]
    found.append(("one photo, processor seconds, most", max(single, default=None), None, 40.0))
    lines = []
    for name, value, least, most in found:
        if value is None:
            continue
        parts = [f"at least {least:g}" if least is not None else "", f"at most {most:g}" if most is not None else ""]
        met = (least is None or value >= least) and (most is None or value <= most)
        lines.append([name, f"{value:.2f}", ", ".join(filter(None, parts)), "yes" if met else "no"])
    return markdown(["", "found", "target", ""], lines)


def figure(strips: Sequence[Path]) -> Image.Image:
    """Return the strips of all heads as one picture."""
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in strips]
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % _PER_ROW)
    rows = [np.concatenate(pictures[at : at + _PER_ROW], 1) for at in range(0, len(pictures), _PER_ROW)]
    return Image.fromarray(np.concatenate(rows, 0))
