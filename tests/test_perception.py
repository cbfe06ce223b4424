"""The perception network: squares, weights, and where its landmarks lie in a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from protome.errors import InputError
from protome.perception.network import LANDMARKS, SIZE, Perceived, PerceptionNet
from protome.perception.parts import OTHERS, PARTS, SKIN
from protome.perception.perceive import perceive
from protome.perception.square import EYES, FACE_SHARE, Square
from protome.perception.weights import load_network, save_weights, stored_weights


def _face(turn: float = 0.4) -> np.ndarray:
    """Return landmarks spread over an ellipse, turned in the picture."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (468, 2)) * [40, 50]
    points[EYES[0]], points[EYES[1]] = [-35, -10], [35, -10]
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ turned.T + [150, 130]


def test_a_square_lies_upright_around_the_face() -> None:
    face = _face()
    square = Square.around(face, SIZE)
    linear, move = square.square_from_photo[:, :2], square.square_from_photo[:, 2]
    seen = face @ linear.T + move
    assert seen[EYES[0], 1] == pytest.approx(seen[EYES[1], 1])
    assert seen[EYES[0], 0] < seen[EYES[1], 0]
    low, high = seen.min(0), seen.max(0)
    assert (high - low).max() == pytest.approx(FACE_SHARE * SIZE)
    assert 0.5 * (low + high) == pytest.approx([SIZE / 2, SIZE / 2])
    assert square.to_photo(seen) == pytest.approx(face)


def test_a_square_shows_the_photo_where_it_says() -> None:
    row, column = torch.meshgrid(torch.arange(260), torch.arange(300), indexing="ij")
    photo = torch.stack([(column + 0.5) / 300, (row + 0.5) / 260, torch.zeros(260, 300)], -1)
    square = Square.around(_face(), SIZE)
    cut = square.cut(photo)
    for pixel in ([40, 60], [96, 96], [150, 101]):
        place = square.to_photo(np.array([pixel]) + 0.5)[0]
        assert cut[:2, pixel[1], pixel[0]].numpy() == pytest.approx(place / [300, 260], abs=2e-3)
    back = square.on_photo(cut.permute(1, 2, 0).numpy(), 260, 300)
    assert back[130, 150, :2] == pytest.approx(photo[130, 150, :2].numpy(), abs=2e-3)
    assert (back[:5, :5] == 0).all()


def test_the_network_is_small_and_takes_other_sizes_too() -> None:
    network = PerceptionNet().eval()
    bytes_in_half = 2 * sum(value.numel() for value in network.state_dict().values())
    assert bytes_in_half < 10e6
    for size in (128, SIZE):
        said = network(torch.rand(2, 3, size, size))
        assert said.landmarks.shape == said.coarse.shape == (2, LANDMARKS, 2)
        assert said.log_sigma.shape == said.visible.shape == (2, LANDMARKS)
        assert said.parts.shape == (2, len(PARTS), size, size)


def test_corrections_see_the_place_that_they_correct() -> None:
    # A change of the picture beside a landmark, and nowhere else, changes what is said of it.
    network = PerceptionNet().eval()
    fine = torch.zeros(1, 32, 48, 48)
    places = torch.zeros(1, LANDMARKS, 2)
    places[0, 0] = torch.tensor([0.5, -0.5])
    last = network.correct[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    before = network._corrections(fine, places)
    fine[0, :, 12, 36] = 1.0
    after = network._corrections(fine, places)
    assert (after[0, 0] - before[0, 0]).abs().max() > 1e-3
    assert torch.equal(after[0, 1:], before[0, 1:])


def test_weights_come_back_in_half_precision(tmp_path: Path) -> None:
    network = PerceptionNet()
    save_weights(tmp_path / "net.safetensors", network, {"pictures": "12"})
    tensors, about = stored_weights(tmp_path / "net.safetensors")
    assert about["pictures"] == "12"
    for key, value in network.state_dict().items():
        assert (tensors[key] - value).abs().max() <= 1e-3 * value.abs().max() + 1e-6
    assert not load_network(tmp_path / "net.safetensors").training


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        stored_weights(tmp_path / "none")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        stored_weights(tmp_path / "text")


class _Fixed(PerceptionNet):
    """Says that all landmarks lie at one place of the square, and that its left half is the subject's skin."""

    def forward(self, pictures: torch.Tensor) -> Perceived:
        places = torch.tensor([0.5, -0.25]).expand(1, LANDMARKS, 2)
        # The spread keeps the second square from being infinitely small.
        places = places + torch.linspace(-0.4, 0.4, LANDMARKS)[None, :, None]
        parts = torch.zeros(1, len(PARTS), SIZE, SIZE)
        parts[:, SKIN, :, : SIZE // 2], parts[:, OTHERS, :, SIZE // 2 :] = 20, 20
        logs = torch.full((1, LANDMARKS), float(np.log(0.1)))
        return Perceived(places, places, logs, torch.zeros(1, LANDMARKS) + 3, parts)


def test_what_is_seen_is_told_in_the_photos_pixels() -> None:
    face = _face(0.0)
    seen = perceive(_Fixed(), torch.rand(260, 300, 3), torch.from_numpy(face), passes=1)
    square = Square.around(face, SIZE)
    middle = square.to_photo(np.array([[0.75 * SIZE, 0.375 * SIZE]]))[0]
    assert seen.landmarks.mean(0) == pytest.approx(middle, abs=1e-3)
    assert seen.sigma == pytest.approx(0.1 * SIZE / 2 / square.zoom, rel=1e-5)
    assert seen.certain.all()
    person = seen.person_on(260, 300)
    centre = square.to_photo(np.array([[SIZE / 2, SIZE / 2]]))[0].astype(int)
    assert person[centre[1], centre[0] - 20] > 0.99
    assert person[centre[1], centre[0] + 20] < 0.01
    assert person[2, 2] == 0
