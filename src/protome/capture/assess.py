"""What each photo of a scene is like, what is wrong with it, and how much it should count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from protome.capture import checks, differences
from protome.capture.facts import SENTENCES, Concern, FaceFacts, PhotoFacts
from protome.capture.occlusion import FRAMES, frame_edge
from protome.capture.skin import eyes_closed
from protome.geometry.pose import turned_degrees
from protome.scene import Scene, View
from protome.units import UNIT_MM

UNSURE_TURNED = 60.0
"""Degrees from the front beyond which face landmarks, and so the camera, are off by more than about 5 degrees."""
LEAST_WEIGHT = 0.1
"""A photo is never left out for its quality alone."""
_FAR = 180.0
"""Degrees between two views: all of them are compared."""


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
    # With given cameras the face is the one that they and the mask agree on.
    if view.faces is not None and view.faces > 1 and not scene.has_own_world:
        concerns.append(Concern("faces", f"{view.faces} faces: one is used", f"{view.faces} faces"))
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
        tint=checks.tint(view.image, landmarks),
        mouth_gap=checks.mouth_gap(landmarks),
        smile=checks.smile(landmarks),
        eyes_shut=eyes_closed(landmarks),
        cut_head=checks.cut_head(view.mask, landmarks),
        chin_room=checks.chin_room(landmarks, height, width),
        frame_edge=frame_edge(view.image, landmarks),
        covered=view.covered,
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
    red, blue = face.tint
    if blue - red > checks.BLUE:
        ratio = f"blue is {2 ** (blue - red):.1f} times red"
        found.append(Concern("blue", f"no skin's colour: {ratio}", ratio))
    if face.covered is not None and face.covered > checks.COVERED:
        share = f"{100 * face.covered:.0f} %"
        found.append(Concern("covered", f"mouth or nose covered: {share}", share))
    if turned > UNSURE_TURNED and not posed:
        found.append(Concern("turned", f"turned away by {turned:.0f} degrees", f"{turned:.0f} degrees"))
    if face.chin_room < checks.CHIN_ROOM:
        found.append(Concern("cut", "the edge cuts the chin", "the chin"))
    elif face.cut_head > checks.CUT:
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
    towards = [own.towards for own in facts]
    front = [
        i for i, own in enumerate(facts)
        if own.face is not None and turned_degrees(towards[i].numpy()) < differences.FRONTAL
    ]  # fmt: skip
    outlines = {i: _outline(views[i]) for i in front}

    def table(differ: Callable[[int, int], float], within: float) -> Float[np.ndarray, "v v"]:
        values = np.zeros((len(front), len(front)))
        for (a, first), (b, second) in combinations(enumerate(front), 2):
            if differences.angle_between(towards[first], towards[second]) < within:
                values[a, b] = values[b, a] = differ(first, second)
        return values

    def hair(first: int, second: int) -> float:
        return differences.hair_difference(outlines[first], outlines[second])

    def light(first: int, second: int) -> float:
        one, other = facts[first].face, facts[second].face
        if one is None or other is None or one.side_light is None or other.side_light is None:
            return 0.0
        return abs(math.log2(one.side_light / other.side_light))

    def tint(first: int, second: int) -> float:
        one, other = facts[first].face, facts[second].face
        if one is None or other is None:
            return 0.0
        return max(abs(a - b) for a, b in zip(one.tint, other.tint, strict=True))

    def mouth(first: int, second: int) -> float:
        one, other = facts[first].face, facts[second].face
        if one is None or other is None:
            return 0.0
        return max(abs(one.smile - other.smile), abs(one.mouth_gap - other.mouth_gap))

    near = differences.COMPARABLE
    for kind, words, values, threshold in (
        ("hair", "other outline of the hair", table(hair, near), differences.OTHER_HAIR),
        ("light", "light from another side", table(light, near), differences.OTHER_LIGHT),
        ("tint", "light of another colour", table(tint, _FAR), differences.OTHER_TINT),
        ("mouth", "other expression", table(mouth, near), differences.OTHER_MOUTH),
    ):
        for odd, typical in differences.odd_ones(values, threshold).items():
            other = facts[front[typical]].photo
            found[front[odd]].append(Concern(kind, f"{words} than in {other}", f"unlike {other}"))
    return found


def _outline(view: View) -> Float[np.ndarray, "k"]:
    assert view.landmarks is not None
    return differences.hair_outline(view.mask, view.landmarks)
