"""What the perception network adds to views, given true parts; and which networks are trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protome.capture.colours import MOST_ODDS, colour_odds
from protome.capture.sight import covered_share, parts_around, subject_on, things_in_front, with_sight, without_others
from protome.errors import InputError
from protome.fit.rays import pixel_table
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.perception import parts
from protome.perception.network import SIZE, PerceptionNet
from protome.perception.perceive import Perception
from protome.perception.sight import Sight, packaged_sight
from protome.perception.square import Square
from protome.perception.weights import save_weights
from protome.scene import Scene, View

WIDTH, HEIGHT = 400, 300
SQUARE = Square(np.array([[0.9, 0.0, -0.9 * 60], [0.0, 0.9, -0.9 * 40]]), SIZE)
"""Shows columns 60 to 273 and rows 40 to 253 of the photo."""
FACE = torch.tensor([[150.0, 120.0], [190.0, 120.0], [170.0, 170.0], [150.0, 160.0]])


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    row, column = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.hypot(column - x, row - y) < radius


SUBJECT, NEIGHBOUR = _disc(160, 150, 60), _disc(270, 150, 70)
"""The neighbour, who touches the subject, reaches beyond the square and below it."""


def _seen(label: np.ndarray) -> Perception:
    """Return the perception that sees true labels of a photo in the square."""
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    place = SQUARE.to_photo(np.stack([column.ravel(), row.ravel()], 1))
    x, y = np.clip(place[:, 0].astype(int), 0, WIDTH - 1), np.clip(place[:, 1].astype(int), 0, HEIGHT - 1)
    one_hot = np.eye(len(parts.PARTS), dtype=np.float32)[label[y, x]].reshape(SIZE, SIZE, -1)
    return Perception(np.zeros((1, 2)), np.ones(1), np.ones(1), one_hot, SQUARE)


def _labels() -> np.ndarray:
    label = np.full((HEIGHT, WIDTH), parts.BACKGROUND)
    label[NEIGHBOUR] = parts.OTHERS
    label[SUBJECT] = parts.SKIN
    return label


GREY = torch.full((HEIGHT, WIDTH, 3), 0.5)
"""A photo whose colours say nothing."""


def test_a_neighbour_leaves_the_mask_beyond_the_square_too() -> None:
    both = torch.from_numpy((SUBJECT | NEIGHBOUR).astype(np.float32))
    mask = without_others(both, GREY, FACE, _seen(_labels())).numpy() > 0.5
    only = NEIGHBOUR & ~SUBJECT
    assert mask[only].mean() < 0.02
    assert (mask & SUBJECT).sum() / (mask | SUBJECT).sum() > 0.97


def test_a_neighbour_whose_face_was_detected_leaves_the_mask_where_the_square_shows_little_of_them() -> None:
    other = torch.tensor([[280.0, 100.0], [320.0, 100.0], [320.0, 150.0], [280.0, 150.0]])
    body = _disc(300, 150, 60)
    both = torch.from_numpy((SUBJECT | body).astype(np.float32))
    label = np.where(SUBJECT, parts.SKIN, np.where(body, parts.OTHERS, parts.BACKGROUND))
    mask = without_others(both, GREY, FACE, _seen(label), [other]).numpy() > 0.5
    assert mask[body & ~SUBJECT].mean() < 0.05
    assert (mask & SUBJECT).sum() / (mask | SUBJECT).sum() > 0.97


def test_the_body_under_another_face_is_that_persons_whatever_the_parts_say() -> None:
    both = SUBJECT | _disc(290, 170, 75)
    label = np.where(both, parts.CLOTHES, parts.BACKGROUND)
    whole = torch.from_numpy(both.astype(np.float32))
    face = torch.tensor([[150.0, 110.0], [190.0, 110.0], [170.0, 160.0], [150.0, 150.0]])
    other = face + torch.tensor([120.0, 10.0])
    mask = without_others(whole, GREY, face, _seen(label), [other]).numpy() > 0.5
    middle = np.broadcast_to((np.arange(WIDTH) + 0.5)[None], both.shape)
    assert mask[both & (middle < 190)].all()
    assert not mask[both & (middle > 275)].any()
    # A face far behind is small: what is under it at some distance is the subject's.
    small = 230 + (face - face.mean(0)) * 0.3
    small[:, 1] -= 150
    mask = without_others(whole, GREY, face, _seen(label), [small]).numpy() > 0.5
    assert mask[both & (middle < 215)].mean() > 0.98


def test_clothes_in_the_subjects_colour_are_the_subjects_under_another_face_too() -> None:
    body = SUBJECT | _disc(170, 240, 70)
    other = torch.tensor([[280.0, 60.0], [320.0, 60.0], [320.0, 110.0], [280.0, 110.0]])
    both = body | _disc(290, 170, 75)
    label = np.where(both, parts.CLOTHES, parts.BACKGROUND)
    image = torch.zeros(HEIGHT, WIDTH, 3)
    image[..., 2] = 0.6
    image[body] = torch.tensor([0.7, 0.1, 0.1])
    whole = torch.from_numpy(both.astype(np.float32))
    by_place = without_others(whole, GREY, FACE, _seen(label), [other]).numpy() > 0.5
    by_colour = without_others(whole, image, FACE, _seen(label), [other]).numpy() > 0.5

    def iou(mask: np.ndarray) -> float:
        return float((mask & body).sum() / (mask | body).sum())

    assert iou(by_place) < 0.93
    assert iou(by_colour) > 0.97


def test_odds_by_colours_are_those_of_their_shares() -> None:
    image = np.zeros((60, 90, 3), np.float32)
    image[:, 30:60], image[:, 60:] = (1, 0, 0), (0, 0, 1)
    rest = np.zeros((60, 90), bool)
    subject, other = rest.copy(), rest.copy()
    subject[:, :45], other[:, 60:] = True, True  # black and red; blue
    odds = colour_odds(image, subject, other, 1.0)
    assert odds is not None
    assert np.allclose(odds[:, :60], -MOST_ODDS, atol=1e-3)
    assert np.allclose(odds[:, 60:], MOST_ODDS, atol=1e-3)
    # Half of another person's pixels are red as a third of the subject's are: odds of three halves.
    other[:, 50:] = True
    other[:, :50] = False
    other[:, 60:70] = True
    other[:, 70:] = False
    odds = colour_odds(image, subject, other, 1.0)
    assert odds is not None
    assert np.allclose(odds[:, 30:60], np.log(1.5), atol=0.01)
    assert colour_odds(image, subject, rest, 1.0) is None


def test_clothes_that_are_taken_for_another_persons_stay_and_so_does_the_face() -> None:
    body = SUBJECT | _disc(170, 240, 70)
    label = np.where(body, parts.CLOTHES, parts.BACKGROUND)
    label[_disc(190, 230, 25)] = parts.OTHERS  # below the face
    whole = torch.from_numpy(body.astype(np.float32))
    assert torch.equal(without_others(whole, GREY, FACE, _seen(label)), whole)
    label[:] = parts.OTHERS
    mask = without_others(whole, GREY, FACE, _seen(label)).numpy()
    assert mask[_disc(168, 135, 12)].min() == 1
    assert mask[~_disc(170, 145, 40)].max() < 0.1


def test_background_stays_what_the_mask_says() -> None:
    fuzzy = torch.from_numpy((_disc(160, 150, 70)).astype(np.float32))
    label = np.where(SUBJECT, parts.SKIN, parts.BACKGROUND)
    assert torch.equal(without_others(fuzzy, GREY, FACE, _seen(label)), fuzzy)


def test_what_stands_in_front_is_found_and_thin_things_are_not() -> None:
    label, hand = _labels(), _disc(170, 165, 12)
    label[hand] = parts.FRONT
    label[118:120, 140:200] = parts.FRONT  # the frame of spectacles
    front = things_in_front(_seen(label), FACE, (HEIGHT, WIDTH))
    assert front is not None
    found = front.numpy() > 0.5
    assert (found & hand).sum() / (found | hand).sum() > 0.85
    label[_disc(165, 140, 50)] = parts.FRONT
    assert things_in_front(_seen(label), FACE, (HEIGHT, WIDTH)) is None
    assert things_in_front(_seen(_labels()), FACE, (HEIGHT, WIDTH)) is None


def test_a_fit_draws_no_pixel_where_something_stands_in_front() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, -0.4]), 500.0, WIDTH, HEIGHT)
    front = torch.from_numpy(_disc(200, 150, 30).astype(np.float32))
    view = View("one", torch.zeros(HEIGHT, WIDTH, 3), torch.ones(HEIGHT, WIDTH), camera)
    bounds = torch.tensor([[-0.8, -1.0, -1.2], [0.8, 1.0, 0.6]])
    scenes = [Scene((one,), Similarity.identity()) for one in (view, replace(view, front=front))]
    plain, hidden = (pixel_table(scene, bounds, WIDTH) for scene in scenes)
    assert len(plain) == len(hidden)
    drawn = hidden.weight > 0
    assert int((plain.weight > 0).sum() - drawn.sum()) == pytest.approx(np.pi * 30**2, rel=0.05)
    spots = camera.project(hidden.rays.at(torch.ones(len(hidden))))
    away = (spots - torch.tensor([200.0, 150.0])).norm(dim=1)
    assert bool((away[drawn] > 29).all())


def _file(path: Path, **scores: float) -> Path:
    save_weights(path, PerceptionNet(), {name: str(value) for name, value in scores.items()})
    return path


def test_scores_in_the_file_decide_what_a_network_is_used_for(tmp_path: Path) -> None:
    good = {"person_iou": 0.96, "others_taken": 0.05, "mean_iou": 0.8, "face_nme": 1.8, "sigmas": 1.1}
    cases: tuple[tuple[dict[str, float], tuple[bool, bool, bool]], ...] = (
        (good, (True, True, True)),
        ({**good, "others_taken": 0.8}, (False, True, False)),
        ({**good, "mean_iou": 0.5}, (True, True, False)),
        ({**good, "face_nme": 9.0}, (True, False, True)),
        ({**good, "sigmas": 3.0}, (True, False, True)),
        ({}, (False, False, False)),
    )
    for number, (scores, wanted) in enumerate(cases):
        sight = Sight.load(_file(tmp_path / f"{number}.safetensors", **scores))
        assert (sight.uses_people, sight.uses_landmarks, sight.uses_front) == wanted


def test_without_a_network_views_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 500.0, 64, 64)
    view = View("one", torch.zeros(64, 64, 3), torch.ones(64, 64), camera, landmarks=torch.rand(478, 2) * 64)
    assert with_sight(view, None) is view
    monkeypatch.setattr("protome.perception.sight.ASSET", "none.safetensors")
    packaged_sight.cache_clear()
    assert packaged_sight() is None
    packaged_sight.cache_clear()
    with pytest.raises(InputError, match="does not exist"):
        Sight.load(tmp_path / "none.safetensors")


def test_a_good_network_adds_landmarks_parts_and_nothing_to_a_given_mask() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 500.0, 64, 64)
    landmarks = torch.rand(478, 2) * 64
    view = View("one", torch.rand(64, 64, 3), torch.ones(64, 64), camera, landmarks=landmarks)
    network = PerceptionNet().eval()
    assert network.parts.bias is not None
    with torch.no_grad():
        network.parts.bias.copy_(
            torch.zeros(len(parts.PARTS), 4).index_fill(0, torch.tensor([parts.OTHERS]), 50.0).reshape(-1)
        )
    everything = Sight(network, True, True, True)
    around = parts_around(everything, view.image, view.landmarks)
    seen = with_sight(view, everything, around)
    assert seen.dense is not None
    assert len(seen.dense.pixels) == 800
    assert float(seen.mask.min()) < 0.1
    assert torch.equal(with_sight(view, everything, around, mask_given=True).mask, view.mask)
    assert with_sight(view, Sight(network, True, False, True), around).dense is None
    assert torch.equal(with_sight(view, Sight(network, False, True, False), around).mask, view.mask)


def test_the_subject_is_unknown_where_the_network_did_not_look() -> None:
    square = Square(np.array([[1.0, 0.0, -10.0], [0.0, 1.0, -20.0]]), 32)  # pixels 10 to 42 across, 20 to 52 down
    shares = np.zeros((32, 32, len(parts.PARTS)))
    shares[..., parts.HAIR], shares[..., parts.OTHERS], shares[..., parts.BACKGROUND] = 0.5, 0.3, 0.2
    nothing = np.zeros(0)
    found = subject_on(Perception(np.zeros((0, 2)), nothing, nothing, shares, square), torch.Size((60, 64, 3)))
    assert found is not None
    assert found.shape == (60, 64)
    assert found[21:51, 11:41].numpy() == pytest.approx(0.5)
    outside = torch.ones(60, 64, dtype=torch.bool)
    outside[19:53, 9:43] = False
    assert found[outside].isnan().all()
    assert subject_on(None, torch.Size((60, 64))) is None


def test_what_covers_mouth_and_nose_is_measured_there_alone() -> None:
    known = load_face_landmarks().positions[:, :2]
    face = torch.tensor([165.0, 130.0]) + 0.5 * known * torch.tensor([1.0, -1.0])
    row = np.mgrid[:HEIGHT, :WIDTH][0] + 0.5
    nose, mouth = float(face[2, 1]), float(face[13, 1])
    assert covered_share(_seen(np.where(row > nose - 5, parts.FRONT, parts.SKIN)), face) > 0.98
    assert covered_share(_seen(np.where(row < nose - 15, parts.FRONT, parts.SKIN)), face) < 0.02
    assert 0.2 < covered_share(_seen(np.where(row > mouth, parts.FRONT, parts.SKIN)), face) < 0.5
