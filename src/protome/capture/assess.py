"""What each photo of a scene is like: facts, what is wrong with it, in words, and how much it should count."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture import checks, differences
from protome.capture.cameras import turned_degrees
from protome.capture.occlusion import FRAMES, frame_edge
from protome.errors import ProtomeWarning
from protome.scene import Scene, View
from protome.units import UNIT_MM

UNSURE_TURNED = 60.0
"""Degrees from the front beyond which face landmarks, and so the camera, are off by more than about 5 degrees."""
LEAST_WEIGHT = 0.1
"""A photo is never left out for its quality alone."""
MOST_LINES = 5
"""Warnings about photos that are printed; the sheet shows all."""

SENTENCES = {
    "faces": "several faces found in {photos}: the largest one is used",
    "blurred": "the face is blurred in {photos}: blurred photos count less",
    "tiny": f"the face is less than {checks.TINY_PX:.0f} pixels high in {{photos}}: small faces count less",
    "overexposed": "the face is overexposed in {photos}: burnt-out skin shows no shape, and such photos count less",
    "underexposed": "the face is underexposed in {photos}: black skin shows no shape, and such photos count less",
    "turned": "the face is turned away by more than 60 degrees in {photos}: the camera is uncertain",
    "cut": "the edge of the picture cuts the head in {photos}: what is cut off is a guess",
    "hair": "the outline of the hair differs in {photos}: give photos of one day",
    "light": "the light comes from another side of the face in {photos}: give photos in one light",
    "expression": "the expression is strong in {photos}: the head will have it or a mixture",
    "mouth": "the expression differs in {photos}: give photos with one expression",
    "shadow": "one half of the face is in shadow in {photos}: even light shows more of the shape",
    "glasses": "glasses seem to cover the face in {photos}: they are not modelled",
}
"""One sentence for each kind of concern, the gravest first; `photos` lists names, with details in brackets."""


@dataclass(frozen=True)
class Concern:
    """One thing that is wrong with one photo."""

    kind: str
    """A key of `SENTENCES`."""
    words: str
    """What it is, for below the photo."""
    detail: str = ""
    """What is added to the photo's name in the joined sentence."""


@dataclass(frozen=True)
class FaceFacts:
    """What `protome.capture.checks` measured on a face."""

    height_px: float
    blur: float
    burnt_out: float
    blacked_out: float
    side_light: float | None
    mouth_gap: float
    smile: float
    eyes_shut: bool
    cut_head: float
    chin_room: float
    frame_edge: float
    """Darkness of a line where glasses have their frames."""


@dataclass(frozen=True)
class PhotoFacts:
    """One photo of a scene."""

    photo: str
    width: int
    height: int
    focal_px: float
    focal_from: str
    """Where the focal length comes from, in words."""
    distance_mm: float
    """From the camera to the point between the eyes."""
    azimuth: float
    """Degrees from the front to the subject's left at which the camera stands."""
    elevation: float
    """Degrees above the level of the eyes."""
    face: FaceFacts | None
    """None where no face was found."""
    weight: float
    """How much the photo should count in a fit."""
    concerns: tuple[Concern, ...]


def assess(scene: Scene) -> tuple[PhotoFacts, ...]:
    """Return the facts of each photo of a scene whose head is located."""
    single = [_assess(view, scene) for view in scene.views]
    between = _between(scene.views, single)
    order = list(SENTENCES)
    return tuple(
        replace(facts, concerns=tuple(sorted((*facts.concerns, *more), key=lambda concern: order.index(concern.kind))))
        for facts, more in zip(single, between, strict=True)
    )


def weighed(scene: Scene, facts: Sequence[PhotoFacts]) -> Scene:
    """Return the scene whose views weigh what their facts say."""
    pairs = zip(scene.views, facts, strict=True)
    return replace(scene, views=tuple(replace(view, weight=own.weight) for view, own in pairs))


def sentences(facts: Sequence[PhotoFacts]) -> tuple[str, ...]:
    """Return what is wrong with the photos, the gravest first: a sentence for each kind of concern."""
    said = []
    if alike(facts):
        among = "both" if len(facts) == 2 else f"all {len(facts)}"
        said.append(
            f"{among} photos show the head from nearly the same direction: they show little more of its shape than one "
            "photo; turn by 30 degrees or more between photos"
        )
    for kind, sentence in SENTENCES.items():
        found = [(own.photo, concern) for own in facts for concern in own.concerns if concern.kind == kind]
        if kind == "faces" and len(found) == 1:
            said.append(f"{found[0][1].detail} found in {found[0][0]}: the largest one is used")
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


def alike(facts: Sequence[PhotoFacts]) -> bool:
    """Return whether there are several photos, and all from nearly the same direction."""
    return len(facts) > 1 and differences.spread_degrees([_towards(own) for own in facts]) < differences.ALIKE


def joined(names: Sequence[str], most: int = 6) -> str:
    """Return names as a list in words; of many, the first few and how many more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def weight_of(face: FaceFacts | None) -> float:
    """Return how much a photo should count: 1 for a good one, the share of its detail that is there for a poor one.

    Detail counts by area: a face that is twice as blurred, or half as high, as it may be at most counts a quarter.
    """
    if face is None:
        return 1.0
    weight = min(1.0, checks.BLURRED / max(face.blur, 1e-9)) ** 2 * min(1.0, face.height_px / checks.TINY_PX) ** 2
    lost = max(face.burnt_out, face.blacked_out)
    return max(LEAST_WEIGHT, weight * (1.0 - lost if lost > checks.CLIPPED else 1.0))


def _assess(view: View, scene: Scene) -> PhotoFacts:
    """Return the facts of one photo by itself."""
    x, y, z = (view.transformed(scene.head_from_world).camera.centre.double() * UNIT_MM).tolist()
    face = None if view.landmarks is None else _face_facts(view, view.landmarks)
    turned = turned_degrees(np.array([x, y, z]))
    concerns = [] if face is None else _concerns(face, turned, scene.posed)
    if view.faces is not None and view.faces > 1:
        concerns.append(Concern("faces", f"{view.faces} faces: the largest is used", f"{view.faces} faces"))
    return PhotoFacts(
        view.name, view.camera.width, view.camera.height, view.camera.focal, view.focal_from,
        math.dist((x, y, z), (0.0, 0.0, 0.0)), math.degrees(math.atan2(x, z)),
        math.degrees(math.atan2(y, math.hypot(x, z))), face, weight_of(face), tuple(concerns),
    )  # fmt: skip


def _face_facts(view: View, landmarks: Float[Tensor, "478 2"]) -> FaceFacts:
    height, width = view.mask.shape
    return FaceFacts(
        height_px=checks.face_height(landmarks),
        blur=checks.blur(view.image, landmarks),
        burnt_out=checks.burnt_out(view.image, landmarks),
        blacked_out=checks.blacked_out(view.image, landmarks),
        side_light=checks.side_light(view.image, landmarks),
        mouth_gap=checks.mouth_gap(landmarks),
        smile=checks.smile(landmarks),
        eyes_shut=checks.shut_eyes(landmarks),
        cut_head=checks.cut_head(view.mask, landmarks),
        chin_room=checks.chin_room(landmarks, height, width),
        frame_edge=frame_edge(view.image, landmarks),
    )


def _concerns(face: FaceFacts, turned: float, posed: bool) -> list[Concern]:
    """Return what is wrong with a face that is seen from `turned` degrees beside its front."""
    found = []
    if face.blur > checks.BLURRED:
        wide = f"{100 * face.blur:.1f} % of the face" if math.isfinite(face.blur) else "no detail at all"
        found.append(Concern("blurred", f"blurred: {wide}"))
    if face.height_px < checks.TINY_PX:
        found.append(Concern("tiny", f"small face: {face.height_px:.0f} pixels", f"{face.height_px:.0f} pixels"))
    if face.burnt_out > checks.CLIPPED:
        found.append(Concern("overexposed", f"overexposed: {100 * face.burnt_out:.0f} % of the skin"))
    if face.blacked_out > checks.CLIPPED:
        found.append(Concern("underexposed", f"underexposed: {100 * face.blacked_out:.0f} % of the skin"))
    if turned > UNSURE_TURNED and not posed:
        found.append(Concern("turned", f"turned away by {turned:.0f} degrees", f"{turned:.0f} degrees"))
    if face.chin_room < checks.CHIN_ROOM:
        found.append(Concern("cut", "the edge cuts the chin", "the chin"))
    if face.cut_head > checks.CUT:
        found.append(Concern("cut", "the edge cuts the head"))
    if turned > differences.FRONTAL:
        return found
    strong = {
        "mouth open": face.mouth_gap > checks.MOUTH_OPEN,
        "eyes shut": face.eyes_shut,
        "broad smile": face.smile > checks.SMILE,
    }
    words = ", ".join(name for name, holds in strong.items() if holds)
    if words:
        found.append(Concern("expression", f"expression: {words}", words))
    if face.side_light is not None and abs(math.log2(face.side_light)) > math.log2(checks.HARSH):
        side = "right" if face.side_light > 1 else "left"
        found.append(Concern("shadow", f"the {side} half is in shadow"))
    if face.frame_edge > FRAMES:
        found.append(Concern("glasses", "glasses, it seems"))
    return found


def _between(views: Sequence[View], facts: Sequence[PhotoFacts]) -> list[list[Concern]]:
    """Return what differs in each photo from the most typical one, of those from the front that can be compared."""
    found: list[list[Concern]] = [[] for _ in views]
    towards = [_towards(own) for own in facts]
    front = [
        i for i, own in enumerate(facts)
        if own.face is not None and turned_degrees(towards[i].numpy()) < differences.FRONTAL
    ]  # fmt: skip
    outlines = {i: _outline(views[i]) for i in front}

    def table(differ: Callable[[int, int], float]) -> Float[np.ndarray, "v v"]:
        values = np.zeros((len(front), len(front)))
        for (a, first), (b, second) in combinations(enumerate(front), 2):
            if differences.angle_between(towards[first], towards[second]) < differences.COMPARABLE:
                values[a, b] = values[b, a] = differ(first, second)
        return values

    def hair(first: int, second: int) -> float:
        return differences.hair_difference(outlines[first], outlines[second])

    def light(first: int, second: int) -> float:
        one, other = facts[first].face, facts[second].face
        if one is None or other is None or one.side_light is None or other.side_light is None:
            return 0.0
        return abs(math.log2(one.side_light / other.side_light))

    def mouth(first: int, second: int) -> float:
        one, other = facts[first].face, facts[second].face
        if one is None or other is None:
            return 0.0
        return max(abs(one.smile - other.smile), abs(one.mouth_gap - other.mouth_gap))

    for kind, words, values, threshold in (
        ("hair", "other outline of the hair", table(hair), differences.OTHER_HAIR),
        ("light", "light from another side", table(light), differences.OTHER_LIGHT),
        ("mouth", "other expression", table(mouth), differences.OTHER_MOUTH),
    ):
        for odd, typical in differences.odd_ones(values, threshold).items():
            beside = f"than in {facts[front[typical]].photo}"
            found[front[odd]].append(Concern(kind, f"{words} {beside}", beside.replace("than in", "beside")))
    return found


def _outline(view: View) -> Float[np.ndarray, "k"]:
    assert view.landmarks is not None
    return differences.hair_outline(view.mask, view.landmarks)


def _towards(facts: PhotoFacts) -> Float[Tensor, "3"]:
    """Return the unit vector from the head to a photo's camera."""
    azimuth, elevation = math.radians(facts.azimuth), math.radians(facts.elevation)
    level = math.cos(elevation)
    return torch.tensor([math.sin(azimuth) * level, math.sin(elevation), math.cos(azimuth) * level]).double()
