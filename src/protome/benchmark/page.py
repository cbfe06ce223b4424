"""The benchmark of accuracy: its cases, its tables, its figure and its page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from protome.benchmark.accuracy import (
    MEAN,
    NOISES,
    Accuracy,
    Case,
    common_views,
    measure_all,
    subjects_in,
)
from protome.errors import InputError
from protome.evaluate.figures import upright
from protome.evaluate.h3ds import read_scene
from protome.geometry.mesh import Mesh
from protome.preview import coloured_view, contact_sheet, side_camera, square
from protome.report.document import write_document
from protome.scenes.h3ds import read_h3ds
from protome.util.engines import Engine, Processes
from protome.util.files import check_output_folder, write_atomically

OURS = "protome"
BASELINES = ("idr", "idr-one-head", "h3d-net", "h3d-net-pm", "deform", "sira", "sira++-paper", "sira++")
ARCHITECTURE = ("h3d-net-latents", "h3d-net", "h3d-net-pm", "deform", "sira-short")
"""Priors of one training budget, as compared in the paper's architecture ablation."""
PAPER = {
    "sira++": {1: (1.57, 10.79), 3: (1.18, 8.63), 4: (1.23, 5.31), 6: (1.04, 4.81), 8: (1.18, 4.63), 16: (1.07, 4.26),
               32: (1.02, 4.12)},
    "h3d-net": {3: (1.44, 11.6), 4: (1.41, 8.32), 6: (1.21, 5.75), 8: (1.35, 7.88), 16: (1.17, 6.91),
                32: (1.04, 5.67)},
    "idr": {3: (3.51, 28.8), 4: (3.33, 14.3), 6: (3.12, 16.4), 8: (2.97, 12.6), 16: (2.88, 12.4), 32: (2.04, 10.6)},
}  # fmt: skip
"""Face and head in millimetres on H3DS (real captures), as published; other data than ours, so not comparable."""
TARGETS = {1: (0.65, 0.6), 3: (0.45, 0.4), 8: (0.3, 0.2), 32: (0.2, 0.1)}
"""Target ratios to the mean head's error."""
Results = dict[Case, Accuracy]


@dataclass(frozen=True)
class Extent:
    """The extent of a run."""

    views: tuple[int, ...]
    """Default numbers of views."""
    ablated: int
    """Number of subjects of the other methods."""
    ablated_views: tuple[int, ...]
    """Numbers of views of the other methods."""
    noises: tuple[int, ...]
    """Levels of camera noise."""


QUICK = Extent((1, 3, 8), 2, (1, 3, 4), (2,))
FULL = Extent((1, 3, 4, 6, 8, 16, 32), 1000, (1, 3, 4, 6, 8, 16, 32), (1, 2, 3))
NOISY = ("h3d-net", "sira++", OURS)
"""Methods that are measured with noisy cameras, with and without refinement."""
NOISY_VIEWS = 3
"""Number of views in the table of camera noise."""
ARCHITECTURE_VIEWS = (1, 4)
"""Numbers of views of the architecture's ablation, if the run includes them."""


@dataclass(frozen=True)
class Plan:
    """The cases of one run."""

    subjects: tuple[str, ...]
    ablated: tuple[str, ...]
    views: tuple[int, ...]
    extent: Extent
    preset: str
    others: tuple[str, ...]
    """Names of other methods' meshes."""

    def main(self) -> list[Case]:
        """Our method, the mean head and other methods' meshes on all subjects."""
        baseline = [Case(subject, 1, MEAN) for subject in self.subjects]
        # The default settings of a user: with two or more photos, cameras are refined.
        own = [
            Case(subject, views, OURS, refine=views > 1, preset=self.preset)
            for views in self.views for subject in self.subjects
        ]  # fmt: skip
        theirs = [
            Case(subject, views, name) for name in self.others for views in self.views for subject in self.subjects
        ]
        return baseline + own + theirs

    def scale_known(self) -> list[Case]:
        """Our method with one view and a known distance of the face."""
        return [
            Case(subject, 1, OURS, preset=self.preset, scale_known=True) for subject in self.subjects if 1 in self.views
        ]

    @property
    def ablated_views(self) -> list[int]:
        """Numbers of views of the other methods."""
        return [views for views in self.views if views in self.extent.ablated_views]

    def baselines(self) -> list[Case]:
        """The other methods, on fewer subjects."""
        return [
            Case(subject, views, name, preset=self.preset)
            for views in self.ablated_views for name in BASELINES for subject in self.ablated
        ]  # fmt: skip

    def noise(self) -> list[Case]:
        """Camera noise, if the run includes that number of views; only our method also refines exact cameras."""
        return [
            Case(subject, NOISY_VIEWS, name, level, refine, self.preset)
            for level in (0, *self.extent.noises) for name in NOISY for refine in (False, True)
            for subject in self.ablated if NOISY_VIEWS in self.views and (level or not refine or name == OURS)
        ]  # fmt: skip

    @property
    def architecture_views(self) -> list[int]:
        """Numbers of views of the architecture's ablation."""
        return [views for views in self.views if views in ARCHITECTURE_VIEWS]

    def architecture(self) -> list[Case]:
        """Priors trained with one budget."""
        return [
            Case(subject, views, name, preset=self.preset)
            for views in self.architecture_views for name in ARCHITECTURE for subject in self.ablated
        ]  # fmt: skip

    def cases(self) -> list[Case]:
        """All cases, in order of importance."""
        return [*self.main(), *self.scale_known(), *self.baselines(), *self.noise(), *self.architecture()]


def benchmark_accuracy(
    scenes: Path,
    out: Path,
    *,
    quick: bool = False,
    ours_only: bool = False,
    views: Sequence[int] = (),
    preset: str = "standard",
    meshes: Sequence[str] = (),
    engine: Engine | None = None,
    quiet: bool = False,
) -> None:
    """Measure all methods on a folder of scenes in H3DS's layout and write the tables, the figure and a page.

    `ours_only` leaves out the other methods, the camera noise and the ablation. `views` replaces the extent's numbers
    of views. `meshes` are NAME=DIR of other methods' meshes, SUBJECT_VIEWS.ply in the scene's world frame. A stopped
    run continues.

    Raises:
        InputError: there are no scenes, some lack a view set of that size, or a folder of meshes does not exist.
    """
    check_output_folder(out)
    others: dict[str, Path] = {}
    for given in meshes:
        name, _, folder = given.partition("=")
        if not folder or not Path(folder).is_dir():
            raise InputError(f"{given} names no folder of meshes: give NAME=DIR")
        others[name] = Path(folder)
    extent = QUICK if quick else FULL
    if ours_only:
        extent = replace(extent, ablated=0)
    subjects = subjects_in(scenes)[: 4 if quick else None]
    shared = common_views(scenes, subjects, sorted(set(views)) or extent.views, every=bool(views))
    plan = Plan(
        tuple(subjects), tuple(subjects[: extent.ablated]), tuple(shared), extent, preset, tuple(others)
    )  # fmt: skip
    results = measure_all(plan.cases(), scenes, out, meshes=others, engine=engine or Processes(), quiet=quiet)
    figure(plan, results, out / "accuracy.png")
    pictures(plan, results, scenes, out)
    text = page(plan, results, quick=quick)
    write_atomically(out / "benchmark.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_document(out / "report.html", text, out)
    rows = [{**case.__dict__, **found.__dict__} for case, found in results.items()]
    facts = json.dumps({"quick": quick, "preset": preset, "rows": rows}, indent=1)
    write_atomically(out / "accuracy.json", lambda part: part.write_text(facts + "\n"))
    print(text)


def mean(results: Results, cases: Sequence[Case], key: str) -> float:
    """Return the mean of one number over some cases."""
    return statistics.fmean(getattr(results[case], key) for case in cases)


def cell(results: Results, cases: Sequence[Case], keys: tuple[str, str] = ("face_mm", "head_mm")) -> str:
    """Return `face / head` in millimetres, and in brackets as ratios to the mean head on the same subjects."""
    baseline = [Case(case.subject, 1, MEAN) for case in cases]
    face, head = (mean(results, cases, key) for key in keys)
    ratios = face / mean(results, baseline, keys[0]), head / mean(results, baseline, keys[1])
    return f"{face:.2f} / {head:.2f} ({ratios[0]:.2f} / {ratios[1]:.2f})"


def _select(cases: Sequence[Case], **wanted: object) -> list[Case]:
    return [case for case in cases if all(getattr(case, key) == value for key, value in wanted.items())]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(plan: Plan, results: Results, *, quick: bool) -> str:
    """Return the page with all tables."""
    extent = "the quick extent" if quick else "the full extent"
    subjects = ", ".join(plan.subjects)
    face, head = (mean(results, _select(plan.main(), method=MEAN), key) for key in ("face_mm", "head_mm"))
    parts = [
        "# Benchmark",
        f"Written by `protome benchmark accuracy` ({extent}, preset {plan.preset}). Subjects: {subjects}. Distances "
        "run from the truth's surface to the nearest point of the prediction's after rigid alignment, face (95 mm "
        "around the tip of the nose) / full head, means in millimetres; in brackets the same divided by the error of "
        f"the prior's mean head on the same subjects, which saw no photo ({face:.2f} / {head:.2f} mm on all of them).",
        "## Views",
        _views_table(plan, results),
        "Targets are ratios. One photo does not determine the metric scale; `--distance` gives the camera's distance. "
        "H3DS's measure is the paper's: alignment with scale, distance to the nearest vertex (of meshes whose edges "
        "have been halved). The paper's numbers in it are of real captures and not comparable with ours.",
        "![Errors by number of photos](accuracy.png)",
        *(_others_parts(plan, results) if plan.ablated else []),
        "## Subjects",
        _subjects_table(plan, results),
        "![Best, middle and worst subject](subjects.jpg)",
    ]
    return "\n\n".join(parts) + "\n"


def _others_parts(plan: Plan, results: Results) -> list[str]:
    parts = []
    if plan.ablated_views:
        parts += [
            "## Methods",
            f"On {', '.join(plan.ablated)}; `idr` and `idr-one-head` have no prior. `sira++-paper` is SIRA++ "
            "according to its text, with the same number of steps; `protome` is `sira++` with photo-consistency of "
            "surface patches and, for two or more posed photos, refined cameras.",
            _methods_table(plan, results),
        ]
    if plan.noise():
        parts += [
            "## Camera noise",
            f"{NOISY_VIEWS} views; each camera is rotated and shifted at random.",
            _noise_table(plan, results),
        ]
    if plan.architecture_views:
        parts += [
            "## Architecture",
            "Priors trained on the same heads for the same number of steps; `h3d-net-latents` is `h3d-net` "
            "with frozen networks, whose latents alone are fitted.",
            _architecture_table(plan, results),
        ]
    return parts


def _views_table(plan: Plan, results: Results) -> str:
    rows = []
    for name in (OURS, *plan.others):
        columns = [_select(plan.main(), method=name, views=views) for views in plan.views]
        rows.append([name, *(cell(results, column) for column in columns)])
        public = (cell(results, column, ("h3ds_face_mm", "h3ds_head_mm")) for column in columns)
        rows.append([f"{name}, H3DS's measure", *public])
    rows.insert(1, ["targets", *(" / ".join(map(str, TARGETS[v])) if v in TARGETS else "" for v in plan.views)])
    if plan.scale_known():
        rows.insert(
            1, [f"{OURS}, camera's distance known", cell(results, plan.scale_known()), *[""] * (len(plan.views) - 1)]
        )
    for name, numbers in PAPER.items():
        rows.append(
            [f"{name}, paper", *(f"{numbers[v][0]} / {numbers[v][1]}" if v in numbers else "" for v in plan.views)]
        )
    return markdown(["", *(f"{views} view{'s' if views > 1 else ''}" for views in plan.views)], rows)


def _methods_table(plan: Plan, results: Results) -> str:
    own = [case for case in plan.main() if case.method == OURS and case.subject in plan.ablated]
    cases = [*plan.baselines(), *own]
    rows = []
    for name in (*BASELINES, OURS):
        columns = [_select(cases, method=name, views=views) for views in plan.ablated_views]
        seconds = mean(results, [case for column in columns for case in column], "seconds")
        rows.append([name, *(cell(results, column) for column in columns), f"{seconds:.0f}"])
    return markdown(["", *(f"{v} view{'s' if v > 1 else ''}" for v in plan.ablated_views), "CPU s a fit"], rows)


def _noise_table(plan: Plan, results: Results) -> str:
    levels, rows = (0, *plan.extent.noises), []
    for name in NOISY:
        for refine in (False, True):
            columns = [_select(plan.noise(), method=name, refine=refine, noise=level) for level in levels]
            cells = [cell(results, column) if column else "" for column in columns]
            rows.append([f"{name}, cameras refined" if refine else name, *cells])
    header = [f"{NOISES[level][0]:g}°, {NOISES[level][1]:g} mm" if level else "none" for level in levels]
    return markdown(["", *header], rows)


def _architecture_table(plan: Plan, results: Results) -> str:
    counts = plan.architecture_views
    rows = [
        [name, *(cell(results, _select(plan.architecture(), method=name, views=views)) for views in counts)]
        for name in ARCHITECTURE
    ]
    return markdown(["", *(f"{views} view{'s' if views > 1 else ''}" for views in counts)], rows)


def _subjects_table(plan: Plan, results: Results) -> str:
    rows = [
        [subject, cell(results, [Case(subject, 1, MEAN)]).split(" (")[0],
         *(cell(results, _select(plan.main(), method=OURS, views=views, subject=subject)) for views in plan.views)]
        for subject in plan.subjects
    ]  # fmt: skip
    return markdown(["", "mean head", *(f"{views} view{'s' if views > 1 else ''}" for views in plan.views)], rows)


def figure(plan: Plan, results: Results, path: Path) -> None:
    """Draw the errors by number of views, one line for each method, on the subjects common to all of them."""
    drawn = Figure(figsize=(10, 4), layout="constrained")
    shared, names = plan.ablated or plan.subjects, (*BASELINES, OURS) if plan.ablated else (OURS,)
    cases = [*plan.baselines(), *(case for case in plan.main() if case.subject in shared)]
    for number, (key, title) in enumerate((("face_mm", "face, mm"), ("head_mm", "full head, mm"))):
        axes = drawn.add_subplot(1, 2, number + 1)
        baseline = mean(results, _select(cases, method=MEAN), key)
        axes.axhline(baseline, color="grey", linestyle=":", label=MEAN)
        top = 3 * baseline
        for name in names:
            counts = plan.views if name == OURS else plan.ablated_views
            values = [mean(results, _select(cases, method=name, views=views), key) for views in counts]
            own = {"color": "black", "linewidth": 2.5} if name == OURS else {"linewidth": 1.2}
            axes.plot(counts, values, marker="o", label=name, **own)
            top = max(top, *(1.05 * value for value in values))
        axes.set(xscale="log", xlabel="photos", title=title, ylim=(0, top))
        axes.set_xticks(plan.views, [str(views) for views in plan.views])
        axes.minorticks_off()
        axes.legend(fontsize=8)
    write_atomically(path, lambda part: drawn.savefig(part, format="png", dpi=110))


def pictures(plan: Plan, results: Results, scenes: Path, out: Path, size: int = 220) -> None:
    """Draw the best, the middle and the worst subject: the truth and the results of the fewest and the most views."""
    first = plan.views[min(1, len(plan.views) - 1)]
    order = sorted(plan.subjects, key=lambda name: mean(results, _select(
        plan.main(), method=OURS, views=first, subject=name), "face_mm"))  # fmt: skip
    chosen = list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))
    rows = []
    for subject in chosen:
        truth = read_scene(scenes / subject).head
        turn, middle = upright(truth.landmarks), truth.points(("nose_tip",), "")[0]
        standing = Mesh((truth.mesh.vertices - middle) @ turn.T, truth.mesh.faces)
        bounds = standing.bounds
        tiles = [square(read_h3ds(scenes / subject, ["1"])[0].image.numpy(), size)]
        tiles += _tiles(standing, bounds, size, coloured=False)
        for views in dict.fromkeys((*plan.views[:2], plan.views[-1])):
            (case,) = _select(plan.main(), method=OURS, views=views, subject=subject)
            head = Mesh.load(out / f"{case.name}.ply")
            tiles += _tiles(
                Mesh((head.vertices - middle) @ turn.T, head.faces, head.colours), bounds, size, coloured=True
            )
        rows.append(tiles)
    sheet = np.rint(255 * contact_sheet(rows).clip(0, 1)).astype(np.uint8)
    write_atomically(out / "subjects.jpg", lambda part: Image.fromarray(sheet).save(part, "JPEG", quality=88))


def _tiles(mesh: Mesh, bounds: Float[np.ndarray, "2 3"], size: int, *, coloured: bool) -> list[np.ndarray]:
    camera = side_camera(35.0, torch.from_numpy(bounds).float(), size)
    colour, normal = coloured_view(mesh, None, camera)
    return [colour, normal] if coloured else [normal]
