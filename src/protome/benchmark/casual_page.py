"""The page of the benchmark of casual captures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from protome.benchmark.captures import CasualCapture
from protome.benchmark.casual_heads import CasualHead, Recognition
from protome.benchmark.page import markdown
from protome.benchmark.placing import Placing

GROUPS = (("1", (1, 1)), ("2", (2, 2)), ("3", (3, 3)), ("4 to 7", (4, 7)), ("8", (8, 8)), ("all", (1, 32)))
"""Rows of the tables: least and greatest number of photos."""
MEDIANS = ("rotation_deg", "across_mm", "shape_mm")
Placings = dict[str, Placing]
Recognitions = dict[str, Recognition]
Heads = dict[str, CasualHead]


def casual_page(
    captures: Sequence[CasualCapture], placed: Placings, wrong: Recognitions, heads: dict[str, Heads], *, preset: str,
    quick: bool,
) -> str:  # fmt: skip
    """Return the page: how photos are placed, heads beside those of known cameras, who is recognised, and targets.

    `heads` holds results of photos without cameras ("casual") and with them ("known"), or nothing.
    """
    extent = "a fixed dozen" if quick else f"{len(captures)} captures"
    parts = [
        "# Benchmark of casual captures",
        f"Written by `protome benchmark casual` ({extent}" + (f", preset {preset})." if heads else ", cameras only)."),
        "## Cameras",
        "Focal length: median error of the captures whose files do not record it (in brackets: of those that do), and "
        "share of the former within 8 %. Rotation: between two photos. Contradiction: root mean square distance at the "
        "face between true image points and what the cameras together triangulate from them. Bend: mean distance of "
        "these points from the true ones, size and pose free. Size: mean and standard deviation of the error that "
        "distances imply. Medians over captures unless stated.",
        _cameras(captures, placed),
    ]
    parts += ["## Size", _size(placed)]
    if heads:
        parts += [
            "## Heads",
            "Mean distance from the true face to the head, millimetres: with the size free (mean / median over "
            "captures), that of the same photos with known cameras, their ratio (of means), the mean head, and with a "
            "rigid alignment. A capture succeeds if a head comes out whose face, size free, is nearer to the truth "
            "than the mean head. Size: mean and standard deviation of the error. Focal length: after the fit.",
            _heads(captures, heads),
        ]
    parts += ["## People", _people(captures, placed, wrong), "## Targets", _targets(captures, placed, wrong, heads)]
    refused = [f"- {name}: {own.reason}" for name, own in placed.items() if own.reason]
    if refused:
        parts += ["## Refused", "\n".join(refused)]
    return "\n\n".join(parts) + "\n"


def _chosen(captures: Sequence[CasualCapture], extent: tuple[int, int]) -> list[CasualCapture]:
    return [own for own in captures if extent[0] <= len(own.photos) <= extent[1]]


def _cameras(captures: Sequence[CasualCapture], placed: Placings) -> str:
    rows = []
    for label, extent in GROUPS:
        own = _chosen(captures, extent)
        if not own:
            continue
        found = [placed[capture.name] for capture in own]
        unknown = [placed[capture.name].focal_percent for capture in own if not capture.recorded]
        known = [placed[capture.name].focal_percent for capture in own if capture.recorded]
        within = sum(value <= 8 for value in unknown)
        rows.append(
            [
                label, str(len(own)), f"{sum(one.posed or one.photos == 1 for one in found)}",
                f"{_median(unknown):.1f} % ({_median(known):.1f} %)", f"{within} of {len(unknown)}",
                *(f"{_median(getattr(one, key) for one in found):.2f}" for key in MEDIANS),
                _spread(one.size_percent for one in found), f"{_median(one.seconds for one in found):.1f}",
            ]
        )  # fmt: skip
    header = ["photos", "captures", "in one frame", "focal length", "within 8 %", "rotation, deg", "contradiction, mm"]
    return markdown([*header, "bend, mm", "size, %", "s"], rows)


def _size(placed: Placings) -> str:
    """Return how far irises and recorded distances correct the size, and whether the stated deviation is right."""
    rows = []
    groups = {
        "with irises": [own for own in placed.values() if own.irises],
        "without": [own for own in placed.values() if own.used and not own.irises],
    }
    groups["all"] = [own for group in groups.values() for own in group]
    for label, found in groups.items():
        if not found:
            continue
        away = [abs(own.sized_percent) / own.stated_percent for own in found]
        rows.append(
            [
                label, str(len(found)), _root_mean_square(own.size_percent for own in found),
                _root_mean_square(own.sized_percent for own in found),
                _root_mean_square(own.stated_percent for own in found),
                f"{_share(value < 1 for value in away):.0f} %", f"{_share(value < 2 for value in away):.0f} %",
            ]
        )  # fmt: skip
    return (
        "Root mean square errors of the cameras' size, per cent; 68 % and 95 % of them should lie within one and "
        + (
            "two of the stated deviations.\n\n"
            + markdown(["captures", "", "prior", "irises too", "stated", "within 1", "within 2"], rows)
        )
    )


def _root_mean_square(values: Iterable[float]) -> str:
    found = _numbers(values)
    return f"{math.sqrt(statistics.fmean(value**2 for value in found)):.1f}" if found else ""


def _heads(captures: Sequence[CasualCapture], heads: dict[str, Heads]) -> str:
    rows = []
    for label, extent in GROUPS:
        own = _chosen(captures, extent)
        if not own:
            continue
        casual, known = ([heads[key][capture.name] for capture in own] for key in ("casual", "known"))
        rows.append(
            [
                label, f"{sum(map(succeeded, casual))} of {len(own)}", _mean_median(one.face_free_mm for one in casual),
                _mean_median(one.face_free_mm for one in known), f"{_ratio(casual, known):.2f}",
                f"{_mean(one.mean_face_mm for one in casual):.2f}", _mean_median(one.face_mm for one in casual),
                _mean_median(one.head_free_mm for one in casual), _spread(one.size_percent for one in casual),
                f"{_median(one.focal_percent for one in casual):.1f} %", f"{_mean(one.seconds for one in casual):.0f}",
            ]
        )  # fmt: skip
    header = ["photos", "success", "face, size free", "known cameras", "ratio", "mean head", "face, rigid"]
    return markdown([*header, "head, size free", "size, %", "focal length", "s"], rows)


def succeeded(head: CasualHead) -> bool:
    """Return whether a head came out whose face is nearer to the truth than the mean head's."""
    return not head.reason and head.face_free_mm < head.mean_face_mm


def _ratio(casual: Sequence[CasualHead], known: Sequence[CasualHead]) -> float:
    """Return the ratio of the mean errors of the captures that have both."""
    both = [(a.face_free_mm, b.face_free_mm) for a, b in zip(casual, known, strict=True) if not (a.reason or b.reason)]
    return _mean(a for a, _ in both) / _mean(b for _, b in both) if both else math.nan


def _right(captures: Sequence[CasualCapture], placed: Placings) -> tuple[int, int]:
    """Return how many photos of the right person's face were left out, and of how many."""
    faces = {(own.name, photo.file) for own in captures for photo in own.photos if photo.shows_face}
    return sum((own.name, file) in faces for own in captures for file in placed[own.name].left_out), len(faces)


def _people(captures: Sequence[CasualCapture], placed: Placings, wrong: Recognitions) -> str:
    refused, total = _right(captures, placed)
    found = sum(own.recognised for own in wrong.values())
    beside = sum(own.right_refused for own in wrong.values())
    return (
        f"Photos of the right person's face that were left out: {refused} of {total}. Captures with one photo of "
        f"another person: it was left out or refused in {found} of {len(wrong)}; of the right person's photos in "
        f"these, {beside} were."
    )


def _targets(captures: Sequence[CasualCapture], placed: Placings, wrong: Recognitions, heads: dict[str, Heads]) -> str:
    refused, total = _right(captures, placed)
    unknown = [placed[own.name].focal_percent for own in captures if not own.recorded]
    rows = [
        ("median focal length error, %", _median(unknown), 8.0, True),
        ("wrong people recognised, %", _share(own.recognised for own in wrong.values()), 95.0, False),
        ("right ones refused, %", 100 * refused / max(total, 1), 2.0, True),
    ]
    if heads:
        casual = heads["casual"]
        rows.insert(0, ("success, %", _share(map(succeeded, casual.values())), 98.0, False))
        for count, most in ((3, 1.2), (8, 1.15)):
            own = [capture.name for capture in _chosen(captures, (count, count))]
            ratio = _ratio([casual[name] for name in own], [heads["known"][name] for name in own])
            rows.append((f"{count} photos, face to that of known cameras", ratio, most, True))
            if count == 3:
                rows.append(
                    ("3 photos, face, size free, mm", _mean(casual[name].face_free_mm for name in own), 0.5, True)
                )
        sizes = _numbers(own.size_percent for own in casual.values())
        spread = math.sqrt(statistics.fmean(value**2 for value in sizes)) if sizes else math.nan
        rows.append(("size, root mean square error, %", spread, 2.5, True))
    return markdown(
        ["", "found", "target", ""],
        [
            [name, f"{value:.2f}", f"{'at most' if most else 'at least'} {goal:g}", _judged(value, goal, most)]
            for name, value, goal, most in rows
        ],
    )


def _judged(value: float, goal: float, most: bool) -> str:
    return "yes" if (value <= goal if most else value >= goal) else "no"


def _numbers(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(found) if (found := _numbers(values)) else math.nan


def _median(values: Iterable[float]) -> float:
    return statistics.median(found) if (found := _numbers(values)) else math.nan


def _mean_median(values: Iterable[float]) -> str:
    found = _numbers(values)
    return f"{_mean(found):.2f} / {_median(found):.2f}"


def _spread(values: Iterable[float]) -> str:
    found = _numbers(values)
    return f"{_mean(found):+.1f} ± {statistics.pstdev(found):.1f}" if found else ""


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return 100 * sum(found) / len(found) if found else math.nan
