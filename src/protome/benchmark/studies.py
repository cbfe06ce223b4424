"""Named studies of the effect of one factor on the error. A study is a list of cases with labels."""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from protome.benchmark.accuracy import MEAN, NOISES, Case, common_views, measure_all, subjects_in
from protome.benchmark.changes import CHANGES, STEP_FACTORS
from protome.benchmark.page import ARCHITECTURE, NOISY, OURS, Results, cell, markdown, mean
from protome.benchmark.true_size import pupils_mm
from protome.errors import InputError, ProtomeWarning
from protome.fit.methods import METHODS
from protome.util.engines import Engine, Processes
from protome.util.files import check_output_folder, write_atomically


@dataclass(frozen=True)
class Entry:
    """One cell of a study's table, for each number of views."""

    row: str
    case: Case
    """The case; subject, number of views and preset are filled in."""
    column: str = ""
    """Heading of the column, beside the number of views."""
    least_views: int = 1
    most_views: int = 32
    """Range of numbers of views to which the entry applies."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of repetitions; for several, the table has mean and standard deviation."""


@dataclass(frozen=True)
class Study:
    """A comparison."""

    about: str
    """A description of the comparison for the page."""
    views: tuple[int, ...]
    """Default numbers of views."""
    entries: tuple[Entry, ...]


def _changed(name: str, least_views: int = 1, most_views: int = 32) -> Entry:
    """Return our method with one change."""
    own = Case("", 0, OURS, change=name)
    return Entry(CHANGES[name].about, own, least_views=least_views, most_views=most_views)


STANDARD = Entry(OURS, Case("", 0, OURS))
"""Our method without a change."""
SEEDS = (0, 1, 2, 3, 4)

STUDIES = {
    "ablations": Study(
        "Each row changes one factor of the fit. Gains, patches and refined cameras need several photos; the encoder "
        "gives initial latents only for photos without a common frame, here for one photo.",
        (1, 3),
        (
            STANDARD,
            _changed("no-encoder", most_views=1),
            _changed("no-patches", least_views=2),
            _changed("no-gains", least_views=2),
            _changed("no-lights", least_views=2),
            Entry("cameras refined", Case("", 0, OURS, refine=True), least_views=2),
            _changed("no-colour-phase"),
            _changed("fixed-placement"),
            _changed("alike-pixels"),
            _changed("coarse-colour"),
            _changed("one-rate"),
            _changed("no-eikonal"),
        ),
    ),
    "camera-noise": Study(
        "Each camera is rotated and shifted at random; the columns are standard deviations.",
        (3,),
        tuple(
            Entry(
                f"{name}, cameras refined" if refine else name,
                Case("", 0, name, level, refine),
                f"{NOISES[level][0]:g}°, {NOISES[level][1]:g} mm" if level else "exact cameras",
                least_views=2,
            )
            for name in reversed(NOISY)
            for refine in (False, True)
            for level in range(len(NOISES))
        ),
    ),
    "chance": Study(
        "The same fits with different random seeds. The first row is the mean and the standard deviation over seeds.",
        (1, 3),
        (
            Entry("all seeds", Case("", 0, OURS), seeds=SEEDS),
            *(Entry(f"seed {seed}", Case("", 0, OURS, seed=seed)) for seed in SEEDS),
        ),
    ),
    "methods": Study(
        "The methods that `--method` names.",
        (1, 3),
        tuple(Entry(name, Case("", 0, name)) for name in METHODS),
    ),
    "priors": Study(
        "Architectures of the prior, each trained on the same heads for the same number of steps.",
        (1, 4),
        tuple(Entry(name, Case("", 0, name)) for name in ARCHITECTURE),
    ),
    "size": Study(
        "The known length that fixes the metric scale: none, the distance from the camera to the tip of the nose (one "
        "photo), or the distance between the pupils (people with open eyes). With several photos, cameras are not "
        "given.",
        (1, 3),
        (
            Entry("not known", Case("", 0, OURS), most_views=1),
            Entry("camera's distance known", Case("", 0, OURS, scale_known=True), most_views=1),
            Entry("pupils' distance known", Case("", 0, OURS, pupils=True), most_views=1),
            Entry("not known", Case("", 0, OURS, posed=False), least_views=2),
            Entry("pupils' distance known", Case("", 0, OURS, pupils=True, posed=False), least_views=2),
        ),
    ),
    "steps": Study(
        "Steps of the first two phases, in which the latents and then the networks are fitted, as multiples of the "
        "preset's numbers, which grow with the number of photos.",
        (1, 3, 8),
        (
            *(_changed(f"steps-{factor:g}") for factor in STEP_FACTORS if factor < 1),
            replace(STANDARD, row="the preset's steps"),
            *(_changed(f"steps-{factor:g}") for factor in STEP_FACTORS if factor > 1),
        ),
    ),
    "tracing": Study(
        "Ray tracing. By default the search along a ray is guided by a grid of the head, and the frozen reference is "
        "interpolated in a finer grid.",
        (1, 3),
        (
            STANDARD,
            _changed("network-reference"),
            _changed("selective-sampling"),
            _changed("sphere-tracing"),
            _changed("equal-samples"),
            _changed("equal-samples-cache"),
        ),
    ),
    "unposed": Study(
        "Photos whose cameras are not given: several find theirs together, one is located by its landmarks, and masks "
        "are found.",
        (1, 3),
        (
            Entry(OURS, Case("", 0, OURS, posed=False)),
            Entry(CHANGES["no-encoder"].about, Case("", 0, OURS, posed=False, change="no-encoder"), most_views=1),
            Entry("cameras given", Case("", 0, OURS)),
        ),
    ),
}
"""Studies by name."""


@dataclass(frozen=True)
class Plan:
    """One run of a study."""

    name: str
    study: Study
    subjects: tuple[str, ...]
    views: tuple[int, ...]
    preset: str
    eyeless: frozenset[str] = frozenset()
    """Subjects whose pupils' distance cannot be measured; cases that need it omit them."""

    def columns(self) -> list[tuple[int, str]]:
        """Return the table's columns: number of views and heading."""
        found = [(views, entry.column) for views in self.views for entry in self.study.entries]
        return list(dict.fromkeys(key for key in found if any(self.entries(row, *key) for row in self.rows())))

    def rows(self) -> list[str]:
        """Return the labels of the table's rows."""
        return list(dict.fromkeys(entry.row for entry in self.study.entries))

    def entries(self, row: str, views: int, column: str) -> list[Entry]:
        """Return the entry of a cell, or none."""
        return [
            entry for entry in self.study.entries
            if (entry.row, entry.column) == (row, column) and entry.least_views <= views <= entry.most_views
        ]  # fmt: skip

    def cases(self, entry: Entry, views: int, seed: int) -> list[Case]:
        """Return the cases of an entry, one for each subject."""
        subjects = [subject for subject in self.subjects if not (entry.case.pupils and subject in self.eyeless)]
        own = seed if len(entry.seeds) > 1 else entry.case.seed
        return [replace(entry.case, subject=subject, views=views, preset=self.preset, seed=own) for subject in subjects]

    def all_cases(self) -> list[Case]:
        """Return all cases, the mean heads first."""
        baseline = [Case(subject, 1, MEAN) for subject in self.subjects]
        return baseline + [
            case
            for views, column in self.columns() for row in self.rows() for entry in self.entries(row, views, column)
            for seed in entry.seeds for case in self.cases(entry, views, seed)
        ]  # fmt: skip


def run_study(
    name: str,
    scenes: Path,
    out: Path,
    *,
    subjects: Sequence[str] | None = None,
    views: Sequence[int] = (),
    preset: str = "standard",
    engine: Engine | None = None,
    quiet: bool = False,
) -> None:
    """Run a study on a folder of scenes in H3DS's layout, print its table and write NAME.md and NAME.json.

    Results are kept in `out` as those of `protome benchmark accuracy` are, so that a stopped run continues and cases
    that two studies share are measured once.

    Raises:
        InputError: no such study or subject; there are no scenes; or a subject lacks a view set of that size.
    """
    if name not in STUDIES:
        raise InputError(f"no study is called {name}: use one of {', '.join(STUDIES)}")
    study = STUDIES[name]
    check_output_folder(out)
    known = subjects_in(scenes)
    unknown = [subject for subject in subjects or () if subject not in known]
    if unknown:
        raise InputError(f"{scenes} has no subject called {unknown[0]}: use some of {', '.join(known)}")
    chosen = tuple(dict.fromkeys(subjects or known))
    counts = common_views(scenes, chosen, sorted(set(views)) or study.views, every=bool(views))
    plan = Plan(name, study, chosen, tuple(counts), preset, _eyeless(study, scenes, chosen))
    if not plan.columns():
        raise InputError(f"the study {name} compares nothing with {_counted(counts)}: give other numbers with --views")
    results = measure_all(plan.all_cases(), scenes, out, meshes={}, engine=engine or Processes(), quiet=quiet)
    text = page(plan, results)
    write_atomically(out / f"{name}.md", lambda part: part.write_text(text, encoding="utf-8"))
    rows = [{**asdict(case), **asdict(found)} for case, found in results.items()]
    facts = json.dumps({"study": name, "preset": preset, "rows": rows}, indent=1)
    write_atomically(out / f"{name}.json", lambda part: part.write_text(facts + "\n"))
    print(text)


def _eyeless(study: Study, scenes: Path, subjects: Sequence[str]) -> frozenset[str]:
    if not any(entry.case.pupils for entry in study.entries):
        return frozenset()
    found = frozenset(subject for subject in subjects if pupils_mm(scenes / subject) is None)
    for subject in sorted(found):
        warnings.warn(
            f"{subject} shows open eyes in fewer than two photos: it is left out where the pupils' distance is known",
            ProtomeWarning,
            stacklevel=3,
        )
    return found


def page(plan: Plan, results: Results) -> str:
    """Return the study's page: a description and the table."""
    baseline = [Case(subject, 1, MEAN) for subject in plan.subjects]
    face, head = (mean(results, baseline, key) for key in ("face_mm", "head_mm"))
    parts = [
        f"# Study: {plan.name}",
        plan.study.about,
        f"Written by `protome benchmark study {plan.name}` (preset {plan.preset}; {', '.join(plan.subjects)}). Mean "
        "distances from the true surface to the reconstructed one after rigid alignment, face (95 mm around the tip of "
        "the nose) / full head, millimetres; in brackets divided by those of the prior's mean head on the same "
        f"subjects ({face:.2f} / {head:.2f} mm on all of them). Cameras are taken as given unless a row refines them.",
        _table(plan, results),
    ]
    return "\n\n".join(parts) + "\n"


def _table(plan: Plan, results: Results) -> str:
    rows = []
    for row in plan.rows():
        cells, seconds = [], []
        for views, column in plan.columns():
            entries = plan.entries(row, views, column)
            cells.append(_cell(plan, results, entries[0], views) if entries else "")
            seconds += [
                results[case].seconds
                for entry in entries for seed in entry.seeds for case in plan.cases(entry, views, seed)
            ]  # fmt: skip
        if any(cells):
            rows.append([row, *cells, f"{statistics.fmean(seconds):.0f}" if seconds else ""])
    headings = [_counted([views]) + (f", {column}" if column else "") for views, column in plan.columns()]
    return markdown(["", *headings, "CPU s a fit"], rows)


def _cell(plan: Plan, results: Results, entry: Entry, views: int) -> str:
    """Return an entry's errors: means over subjects, for several seeds with their mean and standard deviation."""
    every = [plan.cases(entry, views, seed) for seed in entry.seeds]
    if not every[0]:
        return ""
    left = f", {len(every[0])} of {len(plan.subjects)} subjects" if len(every[0]) < len(plan.subjects) else ""
    if len(every) == 1:
        return cell(results, every[0]) + left
    values = [[mean(results, cases, key) for cases in every] for key in ("face_mm", "head_mm")]
    return " / ".join(f"{statistics.fmean(own):.2f} ± {statistics.stdev(own):.2f}" for own in values) + left


def _counted(views: Sequence[int]) -> str:
    return f"{', '.join(map(str, views))} view{'' if list(views) == [1] else 's'}"
