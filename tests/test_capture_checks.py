"""Each check of a photo measures what it says, on pictures whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch
from scipy.ndimage import gaussian_filter

from portraits import SKIN, paint, portrait_camera
from protome.capture import checks
from protome.capture.landmarks import detect
from protome.capture.skin import eyes_closed, skin_mask
from protome.scene import View


@pytest.fixture(scope="module")
def portrait() -> View:
    return paint(portrait_camera())


@pytest.fixture(scope="module")
def astronaut() -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.from_numpy(np.array(skimage.data.astronaut())).float() / 255
    return image, detect([image], with_masks=False)[0].faces[0]


def linear_times(image: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """The picture with its linear light multiplied, by the sRGB standard's curve."""
    light = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4) * factor
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


def test_blur_of_a_real_face_is_measured(astronaut: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, landmarks = astronaut
    height = checks.face_height(landmarks)
    own = checks.blur(image, landmarks)
    assert own < 0.6 * checks.BLURRED
    for share in (0.015, 0.02, 0.03, 0.04):
        blurred = torch.from_numpy(gaussian_filter(image.numpy(), (share * height, share * height, 0)))
        expected = np.hypot(share, own)
        assert checks.blur(blurred, landmarks) == pytest.approx(expected, rel=0.15)
        # Neither contrast nor brightness counts, nor the number of pixels.
        assert checks.blur(0.4 * blurred + 0.3, landmarks) == pytest.approx(checks.blur(blurred, landmarks), rel=1e-3)
        larger = torch.nn.functional.interpolate(blurred.permute(2, 0, 1)[None], scale_factor=2, mode="bicubic")[0]
        assert checks.blur(larger.permute(1, 2, 0), 2 * landmarks) == pytest.approx(expected, rel=0.25)


def test_a_face_without_edges_is_blurred_without_end(portrait: View) -> None:
    assert portrait.landmarks is not None
    assert checks.blur(torch.full_like(portrait.image, 0.5), portrait.landmarks) == float("inf")


def test_clipped_skin_is_counted(portrait: View) -> None:
    landmarks = portrait.landmarks
    assert landmarks is not None
    assert checks.burnt_out(portrait.image, landmarks) == 0
    assert checks.blacked_out(portrait.image, landmarks) == 0
    skin = skin_mask(landmarks, 480, 480)
    y = torch.arange(480)[:, None].expand(480, 480)
    upper = skin & (y < y[skin].float().quantile(0.3))
    share = float(upper.sum() / skin.sum())
    for value, check in ((1.0, checks.burnt_out), (0.0, checks.blacked_out)):
        image = portrait.image.clone()
        image[upper] = value
        assert check(image, landmarks) == pytest.approx(share, abs=0.01)
    red = portrait.image.clone()
    red[skin] = torch.tensor([1.0, 0.6, 0.5])  # red alone clips on skin that is exposed well
    assert checks.burnt_out(red, landmarks) == 0


def test_light_from_the_side_is_a_ratio_of_linear_light(portrait: View) -> None:
    landmarks = portrait.landmarks
    assert landmarks is not None
    assert checks.side_light(portrait.image, landmarks) == pytest.approx(1.0, abs=0.01)
    x = torch.arange(480)[None, :, None].expand(480, 480, 1)
    for brighter, ratio in ((x >= 240, 3.0), (x < 240, 1 / 3.0)):  # the subject's left is the picture's right
        image = linear_times(portrait.image, torch.where(brighter, 1.0, 1 / 3))
        assert checks.side_light(image, landmarks) == pytest.approx(ratio, rel=0.05)
    profile = paint(portrait_camera(65.0))
    assert profile.landmarks is not None
    assert checks.side_light(profile.image, profile.landmarks) is None


def test_the_tint_of_the_light_is_measured(portrait: View) -> None:
    assert portrait.landmarks is not None
    red, blue = checks.tint(portrait.image, portrait.landmarks)
    linear = [((value + 0.055) / 1.055) ** 2.4 for value in SKIN]
    assert red == pytest.approx(np.log2(linear[0] / linear[1]), abs=0.02)
    warmer = linear_times(portrait.image, torch.tensor([1.0, 1.0, 0.5]))
    assert checks.tint(warmer, portrait.landmarks) == pytest.approx((red, blue - 1), abs=0.03)


def test_expressions_are_ratios_of_landmarks(portrait: View) -> None:
    landmarks = portrait.landmarks
    assert landmarks is not None
    assert checks.mouth_gap(landmarks) < 0.1 < checks.MOUTH_OPEN
    assert abs(checks.smile(landmarks)) < 0.15
    assert not eyes_closed(landmarks)
    width = landmarks[61] - landmarks[291]
    mouth = landmarks.clone()
    mouth[14] = mouth[13] + torch.tensor([0.0, 0.5]) * width.norm()
    assert checks.mouth_gap(mouth) == pytest.approx(0.5, abs=1e-3)
    laugh = landmarks.clone()
    laugh[61], laugh[291] = laugh[61] + 0.2 * width, laugh[291] - 0.2 * width
    assert checks.smile(laugh) == pytest.approx(1.4 * (1 + checks.smile(landmarks)) - 1, abs=1e-3)
    assert checks.smile(laugh) > checks.SMILE > checks.smile(landmarks)
    shut = landmarks.clone()
    shut[[145, 374]] = shut[[159, 386]]
    assert eyes_closed(shut)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_what_the_edge_cuts_off_the_hair_is_a_chord(portrait: View, turns: int) -> None:
    landmarks = portrait.landmarks
    assert landmarks is not None
    assert checks.cut_head(portrait.mask, landmarks) == 0
    rows = torch.nonzero(portrait.mask.any(1))[:, 0]
    ball_radius = 115 * 1.6 * 480 / 700
    cut = portrait.cropped(0, int(rows[0]) + 20, 480, 480 - int(rows[0]) - 20)
    chord = 2 * np.sqrt(ball_radius**2 - (ball_radius - 20) ** 2)
    assert cut.landmarks is not None
    # A photo on its side: np.rot90 turns counter-clockwise.
    mask = torch.rot90(cut.mask, turns)
    points, (height, width) = cut.landmarks, cut.mask.shape
    for _ in range(turns):
        points, (height, width) = torch.stack([points[:, 1], width - points[:, 0]], 1), (width, height)
    assert checks.cut_head(mask, points) == pytest.approx(chord / checks.face_height(landmarks), abs=0.03)


def test_a_body_that_reaches_the_edge_is_no_cut_head(portrait: View) -> None:
    assert float(portrait.mask[-1].mean()) > 0.5
    assert portrait.landmarks is not None
    wide = portrait.mask.clone()
    wide[int(portrait.landmarks[152, 1]) + 10 :] = 1
    assert checks.cut_head(wide, portrait.landmarks) == 0


def test_room_below_the_chin(portrait: View) -> None:
    landmarks = portrait.landmarks
    assert landmarks is not None
    height = checks.face_height(landmarks)
    bottom = round(float(landmarks[152, 1]) + 0.1 * height)
    assert checks.chin_room(landmarks, bottom, 480) == pytest.approx(0.1, abs=0.01)
    assert checks.chin_room(landmarks, round(bottom - 0.2 * height), 480) == pytest.approx(-0.1, abs=0.01)


def test_the_height_of_a_face_is_in_pixels() -> None:
    for distance in (600.0, 1200.0):
        view = replace(paint(portrait_camera(distance=distance)))
        assert view.landmarks is not None
        assert checks.face_height(view.landmarks) == pytest.approx(169 * 1.6 * 480 / distance, rel=0.06)
