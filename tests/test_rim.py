"""What a photo shows at the edge of a face, and photos without colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protome.asset.rim import rim_trust
from protome.asset.source import Source
from protome.asset.tone import toned
from protome.geometry.camera import Camera

SKIN, BACKLIGHT, HAIR = np.array([0.6, 0.45, 0.35]), np.array([0.95, 0.97, 1.0]), np.array([0.1, 0.08, 0.06])
BROWN = np.array([1.0, 0.8, 0.5])


def seen(edge: np.ndarray, beside: np.ndarray = SKIN, apart: float = 8.0) -> float:
    """Return the trust in a colour at a grazing angle, beside colours that are seen frontally."""
    places = np.array([[0.0, 0.0], [3.0, 0.0], [-4.0, 2.0], [apart, 0.0]])
    colours = np.stack([SKIN, SKIN, beside, edge])
    return float(rim_trust(places, colours, np.array([1.0, 0.9, 0.8, 0.3]))[-1])


def test_a_colour_at_the_edge_counts_if_it_is_seen_further_in() -> None:
    assert seen(SKIN) == 1
    assert seen(0.95 * SKIN) > 0.9
    assert seen(HAIR, beside=HAIR) == 1
    assert seen(BACKLIGHT) < 0.01
    assert seen(HAIR) < 0.01
    # Nothing beside says what colour it has.
    assert seen(BACKLIGHT, apart=60.0) == 1


def test_colours_seen_frontally_are_not_doubted() -> None:
    trust = rim_trust(np.zeros((2, 2)), np.stack([SKIN, BACKLIGHT]), np.array([0.9, 0.7]))
    assert (trust == 1).all()


def source(tint: np.ndarray | None) -> Source:
    """Return a photo of noise that has one tone, or colours."""
    rng = np.random.default_rng(0)
    image = rng.random((40, 40, 3)) if tint is None else rng.random((40, 40, 1)) * tint
    return Source(
        image.astype(np.float32), np.full((40, 40), 5, np.float32), Camera(torch.eye(3), torch.eye(4), 40, 40)
    )


@pytest.mark.parametrize("tint", [np.ones(3), BROWN])
def test_what_a_photo_without_colours_does_not_show_has_its_tone(tint: np.ndarray) -> None:
    blue = np.array([[0.1, 0.2, 0.5], [0.3, 0.4, 0.6]])
    plain = toned(blue, [source(tint)])
    np.testing.assert_allclose(plain / plain[:, :1], np.tile(tint / tint[0], (2, 1)), atol=0.01)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(plain @ weights, blue @ weights, atol=0.01)


def test_a_photo_with_colours_leaves_them() -> None:
    blue = np.array([[0.1, 0.2, 0.5]])
    assert (toned(blue, [source(None)]) == blue).all()
    assert (toned(blue, [source(np.ones(3)), source(None)]) == blue).all()
