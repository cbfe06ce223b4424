"""What is said about photos: warnings, one line for each photo, and the text that stands for the contact sheet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from protome.capture import differences
from protome.capture.facts import SENTENCES, PhotoFacts
from protome.errors import ProtomeWarning

MOST_LINES = 5
"""Warnings about photos that are printed; the sheet shows all."""
_FRONT = 3.0
"""Degrees within which a camera stands in front."""


def sentences(facts: Sequence[PhotoFacts]) -> tuple[str, ...]:
    """Return what is wrong with the photos, the gravest first: a sentence for each kind of concern."""
    about_all = alike_sentence(facts)
    said = [about_all] if about_all else []
    for kind, sentence in SENTENCES.items():
        found = [(own.photo, concern) for own in facts for concern in own.concerns if concern.kind == kind]
        if kind == "faces" and len(found) == 1:
            which = "the largest one" if len(facts) == 1 else "the largest one, or the one that the other photos show,"
            said.append(f"{found[0][1].detail} found in {found[0][0]}: {which} is used")
        elif found:
            listed = [f"{photo} ({concern.detail})" if concern.detail else photo for photo, concern in found]
            said.append(sentence.format(photos=joined(listed)))
    return tuple(said)


def warn(facts: Sequence[PhotoFacts]) -> None:
    """Issue the sentences as `ProtomeWarning`s; of many, the gravest `MOST_LINES`, and one line about the rest."""
    said = sentences(facts)
    for sentence in said[:MOST_LINES]:
        warnings.warn(sentence, ProtomeWarning, stacklevel=2)
    if len(said) > MOST_LINES:
        rest = len(said) - MOST_LINES
        more = "one more remark about the photos is" if rest == 1 else f"{rest} more remarks about the photos are"
        warnings.warn(f"{more} in capture.png", ProtomeWarning, stacklevel=2)


def alike_sentence(facts: Sequence[PhotoFacts]) -> str | None:
    """Return a sentence where there are several photos and all are from nearly the same direction."""
    if len(facts) < 2 or differences.spread_degrees([own.towards for own in facts]) >= differences.ALIKE:
        return None
    among = "both" if len(facts) == 2 else f"all {len(facts)}"
    return (
        f"{among} photos show the head from nearly the same direction, and so little more of its shape than one does: "
        "turn the head or the camera by 30 degrees between photos"
    )


def joined(names: Sequence[str], most: int = 6) -> str:
    """Return names as a list in words; of many, the first few and how many more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def place(facts: PhotoFacts) -> str:
    """Return where the camera stands, in words; left and right are the subject's."""
    words = []
    if abs(facts.azimuth) >= _FRONT:
        words.append(f"{abs(facts.azimuth):.0f}° from the {'left' if facts.azimuth > 0 else 'right'}")
    if abs(facts.elevation) >= _FRONT:
        words.append(f"{abs(facts.elevation):.0f}° from {'above' if facts.elevation > 0 else 'below'}")
    return f"{facts.distance_mm / 1000:.2f} m away, {' and '.join(words) or 'in front'}"


def focal(facts: PhotoFacts) -> str:
    """Return the focal length and where it comes from, in words."""
    return f"{facts.focal_mm:.0f} mm lens ({facts.focal_from})"


def size(facts: PhotoFacts) -> str:
    """Return the sizes of the picture and of the face, in words."""
    face = "no face" if facts.face is None else f"face {facts.face.height_px:.0f} px"
    return f"{facts.width} x {facts.height} px, {face}"


def line(facts: PhotoFacts) -> str:
    """Return what is known about a photo, in one line."""
    remarks = "; ".join(concern.words for concern in facts.concerns) or "no remarks"
    return f"{facts.photo}: {size(facts)}; {place(facts)}; {focal(facts)}; weight {facts.weight:.2f}; {remarks}"


def alt_text(facts: Sequence[PhotoFacts]) -> str:
    """Return the text that stands for the contact sheet where it cannot be seen."""
    count = "one photo" if len(facts) == 1 else f"{len(facts)} photos"
    lines = " ".join(f"{line(own)}." for own in facts)
    return f"Contact sheet of {count} with landmarks, outline of the person, and place of the camera. {lines}"
