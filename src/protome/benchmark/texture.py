"""The benchmark of textures: heads from few photos, drawn beside photos that were given and that were held back."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from protome.asset.formats import write_asset
from protome.asset.options import AssetOptions
from protome.benchmark.texture_page import FIGURE, figure, texture_page
from protome.benchmark.texture_quality import Cost, Quality, TextureRun, measure, strip
from protome.benchmark.texture_report import write_texture_report
from protome.errors import InputError
from protome.pipeline import reconstruct
from protome.scene import View
from protome.scenes.scene_folder import read_scene
from protome.util.engines import Processes, Work, in_order
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

VIEWS = (1, 3, 8)


@dataclass(frozen=True)
class _Job:
    subject: str
    source: Path
    views: int | None
    """Photos of a scene's view set; None for a folder of photos."""
    preset: str

    def stem(self) -> str:
        """Return the name of its files."""
        return f"{self.subject}_{self.views or 'photos'}_{self.preset}"


def benchmark_texture(
    scenes: Path,
    out: Path,
    *,
    subjects: Sequence[str] | None = None,
    views: Sequence[int] = (),
    photos: Sequence[Path] = (),
    preset: str = "standard",
    quiet: bool = False,
) -> None:
    """Reconstruct subjects from view sets, print the page of their textures' quality and write it with its pictures.

    `photos` are folders of photos without cameras, whose heads are compared with the photos given. Results are kept in
    `out`, so that a stopped run continues.

    Raises:
        InputError: there are no scenes, or a subject lacks a view set of that size.
    """
    check_output_folder(out)
    known = sorted(path.name for path in scenes.iterdir() if path.is_dir()) if scenes.is_dir() else []
    chosen = list(subjects or known)
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise InputError(
            f"{scenes} has no subject called {(missing or ['anything'])[0]}: use some of {', '.join(known)}"
        )
    jobs = [_Job(name, scenes / name, count, preset) for count in views or VIEWS for name in chosen]
    jobs += [_Job(folder.name, folder, None, preset) for folder in photos]
    runs = []
    with progress("heads", len(jobs), quiet=quiet) as step:
        for job in jobs:
            path = out / f"{job.stem()}.json"
            if (found := _stored(path)) is None:
                # A process for each head, so that its peak memory is its own.
                [found] = in_order(Processes(1), Work(_measured), [(job, out)])
                text = json.dumps(asdict(found), indent=1) + "\n"
                write_atomically(path, lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            runs.append(found)
            step(1, job.stem())
    text = texture_page(runs, preset)
    write_atomically(out / "texture.md", lambda part: part.write_text(text, encoding="utf-8"))
    sheet = figure([out / f"{job.stem()}.png" for job in jobs])
    write_atomically(out / FIGURE, lambda part: sheet.save(part, "JPEG", quality=90))
    write_texture_report(out, text, [(run, out / f"{job.stem()}.png") for run, job in zip(runs, jobs, strict=True)])
    print(text)


def _stored(path: Path) -> TextureRun | None:
    """Return a stored result, if there is one with all of today's values."""
    if not path.is_file():
        return None
    facts = json.loads(path.read_text())
    try:
        return TextureRun(tuple(Quality(**row) for row in facts["qualities"]), Cost(**facts["cost"]))
    except (KeyError, TypeError):
        return None


def _measured(given: tuple[_Job, Path]) -> TextureRun:
    """Reconstruct and finish a head, and return its quality and what it cost; its picture goes into a folder."""
    job, out = given
    began = time.process_time()
    views = None if job.views is None else [str(job.views)]
    head = reconstruct([job.source], views=views, preset=job.preset, quiet=True)
    fitted = time.process_time()
    options = AssetOptions()
    asset = head.asset(options)
    with tempfile.TemporaryDirectory() as folder:
        write_asset(Path(folder), asset, options.formats)
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    every = head.scene.views if job.views is None else _views(job.source)
    picture = strip(head, asset, every)
    write_atomically(out / f"{job.stem()}.png", lambda part: Image.fromarray(picture).save(part, "PNG"))
    cost = Cost(ended - fitted, ended - began, peak / 1e9)
    return TextureRun(tuple(measure(head, asset, every, job.subject)), cost)


def _views(folder: Path) -> list[View]:
    """Return all views of a capture.

    Raises:
        InputError: it has views without masks.
    """
    views = [view for view in read_scene(folder) if isinstance(view, View)]
    if not views:
        raise InputError(f"{folder} has no masks, without which a person is not told from the background: add them")
    return views
