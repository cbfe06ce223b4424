"""Whether given cameras see one face: how far each photo's landmarks are from where its camera sees the others'."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float

from protome.capture.head import HeadPlacement, Units, head_from_landmarks
from protome.capture.words import joined
from protome.errors import InputError, ProtomeWarning
from protome.landmarks import FaceLandmarks
from protome.scene import View

TURNED, RIGHT_MM = (30.0, 50.0, 70.0), (3.0, 6.0, 12.0)
"""Distance that right cameras stay below, by the degrees that a camera looks past the face's front: landmarks grow
uncertain towards the profile. Farther views are not judged. `python benchmarks/agreement.py SCENE ...` prints the
distances of right cameras beside these, and what is said of wrong ones."""
SUSPECT, WRONG = 2.0, 4.0
"""Factors of that distance from which a cause is searched, and from which a photo is named without one. Between the two
lie exchanged neighbours, whose cause is found, and cameras that are a little off, which a fit refines."""
SURE = 5.0
"""Factor by which exchanging two cameras has to bring the faces nearer to be refused for: of cameras that are a little
off, two neighbours may happen to be nearer when they are exchanged."""
SUSPECTS = 6
"""Views, the worst first, whose cameras are exchanged in pairs."""
FACTORS = np.exp(np.arange(-16, 17) * 0.05)
"""By which pictures may have been resampled after their intrinsics were found."""
LEAST_RESAMPLED = 0.04


@dataclass(frozen=True)
class Agreement:
    """How well cameras agree about the face."""

    ratios: Float[np.ndarray, "v"]
    """For each view the distance over what right cameras stay below; 0 where it is not judged."""
    off_mm: Float[np.ndarray, "v"]
    """For each view the distance; 0 without landmarks."""

    @staticmethod
    def of(placement: HeadPlacement) -> Agreement:
        """Return how well the views agree with the place of the head that they have together."""
        off = np.array([0.0 if each is None else each for each in placement.off_mm])
        turned = np.array([180.0 if each is None else each for each in placement.turned])
        limits = np.interp(turned, TURNED, RIGHT_MM)
        return Agreement(np.where(turned < TURNED[-1], off / limits, 0.0), off)

    @property
    def holds(self) -> bool:
        """Whether all views that are judged agree as those of right cameras do."""
        return bool((self.ratios < 1).all() and (self.ratios > 0).sum() > 1)


def check_agreement(views: Sequence[View], placement: HeadPlacement, units: Units | None, face: FaceLandmarks) -> None:
    """Warn of cameras that do not see one face, with the cause if another order or size of the pictures mends it.

    Raises:
        InputError: exchanging two cameras makes all faces agree far better.
    """
    found = Agreement.of(placement)
    if not (found.ratios > SUSPECT).any():
        return
    exchange = _exchanged(views, found, units, face)
    if exchange is not None:
        first, second = (views[i].name for i in exchange.pair)
        facts = (
            f"(as given, they see the face {_range(found.off_mm)} beside its landmarks; "
            f"exchanged, {_range(exchange.off_mm)}): give each photo its own camera"
        )
        if found.ratios.max() > SURE * exchange.ratio:
            raise InputError(f"the cameras of {first} and {second} are exchanged {facts}")
        warnings.warn(f"the cameras of {first} and {second} may be exchanged {facts}", ProtomeWarning, stacklevel=3)
        return
    wrong = np.flatnonzero(found.ratios > WRONG)
    factor = _resampled(views, units, face) if len(wrong) else None
    if factor is not None:
        warnings.warn(
            f"the cameras see one face if the pictures were resampled to {factor:.2f} of their size without the "
            f"intrinsics (as given, they see it {_range(found.off_mm)} beside its landmarks): if so, multiply the "
            f"first two rows of each K by {factor:.2f}",
            ProtomeWarning,
            stacklevel=3,
        )
        return
    if len(wrong):
        names = joined([f"{views[i].name} ({found.off_mm[i]:.0f} mm)" for i in wrong.tolist()])
        warnings.warn(
            f"the given cameras see the face beside its landmarks in {names}: check that each photo has its own camera "
            "and that the head was still",
            ProtomeWarning,
            stacklevel=3,
        )


def _range(off_mm: Float[np.ndarray, "v"]) -> str:
    """Return the largest distance in words."""
    return f"up to {off_mm.max():.0f} mm"


def _placed(views: Sequence[View], units: Units | None, face: FaceLandmarks) -> Agreement | None:
    try:
        return Agreement.of(head_from_landmarks(views, units, face))
    except InputError:
        return None


@dataclass(frozen=True)
class _Exchange:
    """Two views whose cameras, exchanged, make all faces agree."""

    pair: tuple[int, int]
    ratio: float
    """The largest ratio of the views then."""
    off_mm: Float[np.ndarray, "v"]
    """For each view the distance then."""


def _exchanged(views: Sequence[View], found: Agreement, units: Units | None, face: FaceLandmarks) -> _Exchange | None:
    """Return the best exchange of two views of one size that makes all faces agree, if any."""
    worst = [int(i) for i in np.argsort(-found.ratios) if views[i].landmarks is not None][:SUSPECTS]
    best, least = None, np.inf
    for a, b in combinations(worst, 2):
        if views[a].mask.shape != views[b].mask.shape:
            continue
        changed = list(views)
        changed[a], changed[b] = (
            replace(views[a], camera=views[b].camera), replace(views[b], camera=views[a].camera),
        )  # fmt: skip
        own = _placed(changed, units, face)
        if own is not None and own.holds and own.ratios.sum() < least:
            best = _Exchange((min(a, b), max(a, b)), float(own.ratios.max()), own.off_mm)
            least = float(own.ratios.sum())
    return best


def _resampled(views: Sequence[View], units: Units | None, face: FaceLandmarks) -> float | None:
    """Return by which factor all pictures were resampled without their intrinsics, if that makes all faces agree."""
    best, least = None, np.inf
    for factor in FACTORS:
        if abs(factor - 1) < LEAST_RESAMPLED:
            continue
        changed = [
            replace(view, landmarks=None if view.landmarks is None else view.landmarks / factor) for view in views
        ]
        own = _placed(changed, units, face)
        if own is not None and own.holds and own.ratios.sum() < least:
            best, least = float(factor), float(own.ratios.sum())
    return best
