"""Facts of photos: what is said about them, and how much they count."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from portraits import paint, portrait_camera, scene_of
from protome.capture import checks
from protome.capture.assess import assess, weighed
from protome.capture.facts import SENTENCES, Concern, PhotoFacts
from protome.capture.words import alike_sentence, alt_text, joined, line, sentences, warn
from protome.errors import ProtomeWarning
from protome.scene import View


def blurred(view: View, share: float) -> View:
    """The view with its image blurred by a share of its face's height."""
    assert view.landmarks is not None
    width = share * checks.face_height(view.landmarks)
    image = torch.from_numpy(gaussian_filter(view.image.numpy(), (width, width, 0)))
    return replace(view, image=image)


def facts_of(*views: View) -> tuple[PhotoFacts, ...]:
    return assess(scene_of(*views))


def kinds(facts: PhotoFacts) -> list[str]:
    return [concern.kind for concern in facts.concerns]


def test_good_photos_count_fully_and_nothing_is_said() -> None:
    scene = scene_of(*(paint(portrait_camera(azimuth), name=f"{azimuth}.png") for azimuth in (-30.0, 0.0, 30.0)))
    facts = assess(scene)
    assert [own.weight for own in facts] == [1.0, 1.0, 1.0]
    assert sentences(facts) == ()
    after = weighed(scene, facts)
    assert all(view.weight == 1.0 for view in after.views)
    for own, azimuth in zip(facts, (-30.0, 0.0, 30.0), strict=True):
        assert own.azimuth == pytest.approx(azimuth, abs=0.01)
        assert own.distance_mm == pytest.approx(700, abs=0.1)
        assert own.focal_px == pytest.approx(1.6 * 480)
        assert own.focal_mm == pytest.approx(1.6 * np.hypot(36, 24) / np.sqrt(2), rel=1e-3)
        assert own.focal_from == "from the file"


def test_negatives_and_exchanged_channels_are_noticed() -> None:
    view = paint(portrait_camera())
    grey = view.image.mean(2, keepdim=True).expand(-1, -1, 3)
    for image, noticed in ((view.image, False), (grey, False), (1 - view.image, True), (view.image.flip(2), True)):
        (facts,) = facts_of(replace(view, image=image))
        assert ("blue" in kinds(facts)) == noticed
    sentence = next(each for each in sentences(facts_of(replace(view, image=1 - view.image))) if "bluer" in each)
    assert "times red" in sentence


def test_a_covered_mouth_is_noticed() -> None:
    view = paint(portrait_camera())
    for share, noticed in ((None, False), (0.03, False), (0.28, True)):
        (facts,) = facts_of(replace(view, covered=share))
        assert ("covered" in kinds(facts)) == noticed
    assert sentences((facts,))[0].startswith("something covers the mouth or the nose in ")


def test_blurred_photos_count_by_their_area_of_detail() -> None:
    view = paint(portrait_camera())
    (sharp,), (soft,) = facts_of(view), facts_of(blurred(view, 0.03))
    assert sharp.weight == 1
    assert soft.face is not None
    assert soft.face.blur == pytest.approx(0.03, rel=0.2)
    assert soft.weight == pytest.approx((checks.BLURRED / soft.face.blur) ** 2)
    assert 0.15 < soft.weight < 0.4
    assert kinds(soft) == ["blurred"]
    assert sentences([soft]) == ("the face is blurred in a.png: blurred photos count less",)


def test_tiny_faces_and_burnt_out_skin_count_less() -> None:
    tiny = paint(portrait_camera(size=140))
    (own,) = facts_of(tiny)
    assert own.face is not None
    assert "tiny" in kinds(own)
    assert own.weight <= (own.face.height_px / checks.TINY_PX) ** 2 < 1
    bright = replace(paint(portrait_camera()), image=torch.ones(480, 480, 3))
    (own,) = facts_of(bright)
    assert {"blurred", "overexposed"} <= set(kinds(own))
    assert own.weight == pytest.approx(0.1)  # no photo is left out for its quality


def test_several_of_a_kind_are_one_sentence() -> None:
    views = [paint(portrait_camera(azimuth), name=f"{azimuth:.0f}.png") for azimuth in (0.0, 30.0, -30.0)]
    facts = facts_of(blurred(views[0], 0.03), blurred(views[1], 0.04), replace(views[2], faces=3))
    assert sentences(facts) == (
        "3 faces found in -30.png: the largest one, or the one that the other photos show, is used",
        "the face is blurred in 0.png and 30.png: blurred photos count less",
    )
    facts = facts_of(*(replace(view, faces=2) for view in views[:2]))
    assert sentences(facts)[0] == (
        "several faces found in 0.png (2 faces) and 30.png (2 faces): the largest of each, or the one that the other "
        "photos show, is used"
    )


def test_of_a_posed_scene_the_cameras_choose_the_face() -> None:
    scene = scene_of(replace(paint(portrait_camera()), faces=3))
    (own,) = assess(replace(scene, posed=True))
    assert own.concerns == ()


def test_expressions_and_edges_are_said() -> None:
    view = paint(portrait_camera())
    assert view.landmarks is not None
    landmarks = view.landmarks.clone()
    landmarks[14] += torch.tensor([0.0, 30.0])
    landmarks[[145, 374]] = landmarks[[159, 386]]
    (own,) = facts_of(replace(view, landmarks=landmarks))
    assert sentences([own]) == (
        "the expression is strong in a.png (mouth open, eyes shut): the head will have it or a mixture",
    )
    top = int(torch.nonzero(view.mask.any(1))[0, 0]) + 25
    (own,) = facts_of(view.cropped(0, top, 480, 480 - top))
    assert [concern.words for concern in own.concerns] == ["the edge cuts the head"]
    chin = int(view.landmarks[152, 1]) + 2
    (own,) = facts_of(view.cropped(0, 0, 480, chin))
    assert [concern.words for concern in own.concerns] == ["the edge cuts the chin"]


def test_photos_of_other_days_are_told_apart() -> None:
    cameras = [portrait_camera(azimuth) for azimuth in (-12.0, 0.0, 12.0)]
    short = [paint(camera, 112.0, f"{number}.png") for number, camera in enumerate(cameras)]
    long = replace(paint(cameras[2], 165.0), name="2.png")
    said = sentences(facts_of(*short[:2], long))
    assert "the outline of the hair differs in 2.png (unlike 1.png): give photos of one day" in said
    warm = replace(short[1], image=short[1].image * torch.tensor([1.0, 0.8, 0.4]))
    said = sentences(facts_of(short[0], warm, short[2]))
    assert "the light has another colour in 1.png (unlike 0.png): give photos in one light" in said
    assert sentences(facts_of(*short)) == ()


def test_photos_from_one_place_are_a_warning() -> None:
    views = [paint(portrait_camera(azimuth), name=f"{azimuth}.png") for azimuth in (0.0, 2.0, -3.0)]
    sentence = alike_sentence(facts_of(*views))
    assert sentence is not None
    assert sentence.startswith("all 3 photos show the head from nearly the same direction, ")
    assert alike_sentence(facts_of(*views[:1])) is None
    assert alike_sentence(facts_of(views[0], paint(portrait_camera(12.0)))) is None


def test_at_most_a_few_lines_are_printed() -> None:
    (own,) = facts_of(paint(portrait_camera()))
    everything = replace(own, concerns=tuple(Concern(kind, kind) for kind in SENTENCES))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn([everything])
    assert [str(item.message) for item in caught][
        -1
    ] == f"{len(SENTENCES) - 5} more remarks about the photos are in capture.png"
    assert len(caught) == 6
    assert all(item.category is ProtomeWarning for item in caught)


def test_names_are_listed_in_words() -> None:
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined([str(n) for n in range(20)]) == "0, 1, 2, 3, 4 and 15 more"


def test_a_line_and_the_alternative_text_hold_the_facts() -> None:
    view = paint(portrait_camera(20.0), name="b.png")
    facts = facts_of(replace(view, faces=2), replace(view, name="c.png", landmarks=None, faces=0))
    assert line(facts[0]) == (
        "b.png: 480 x 480 px, face 188 px; 0.70 m away, 20° from the left; 49 mm lens (from the file); weight 1.00; "
        "2 faces: one is used"
    )
    assert "; no face; " not in line(facts[1])
    assert "480 x 480 px, no face; 0.70 m away" in line(facts[1])
    text = alt_text(facts)
    assert text.startswith("Contact sheet of 2 photos with landmarks")
    assert all(line(own) in text for own in facts)
