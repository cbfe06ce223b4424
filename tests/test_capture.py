"""Photos to scenes: the mean head's landmarks, detection in a real photo, masks."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from protome.capture import capture
from protome.capture.capture import capture_photos
from protome.capture.landmarks import Detection, choose_face, detect
from protome.capture.mask import person_mask
from protome.capture.posed import locate_head
from protome.errors import InputError, ProtomeWarning
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.population.face_landmarks import EYE_CORNERS, FACE_OVAL, build_face_landmarks
from protome.scene import Scene, View
from protome.units import UNIT_MM

RIGHT_IRIS, LEFT_IRIS, NOSE_TIP = 468, 473, 4
FACE = load_face_landmarks()


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).float() / 255.0


# The mean head's landmarks


def test_packaged_landmarks_lie_in_the_head_frame() -> None:
    face = FACE
    assert face.positions.shape == (468, 3)
    assert face.ibug68.shape == (68,)
    assert face.positions[list(EYE_CORNERS)].mean(0).norm() < 1e-3
    x, y, z = face.positions[[33, 263, NOSE_TIP, 152, 10]].T
    assert x[0] < -35  # the subject's right eye
    assert x[1] > 35
    assert z.argmax() == 2  # the nose tip is foremost
    assert y.argmin() == 3  # the chin lowest
    assert y.argmax() == 4
    assert 80 < float(x[1] - x[0]) < 100  # people's outer eye corners are 80 to 100 mm apart
    assert ((face.weights > 0) & (face.weights <= 1)).all()
    assert float(face.weights[list(FACE_OVAL)].max()) < 0.1 < 0.9 < float(face.weights[[33, 133]].min())
    # Outer right eye corner and left mouth corner in iBUG's order.
    assert face.ibug68[[36, 54]].tolist() == [33, 291]


def test_landmarks_are_built_as_barycentric_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bodies = rng.normal(0, 0.05, (3, 40, 3))
    triangles = rng.integers(0, 40, (468, 3))
    barycentric = rng.dirichlet([1, 1, 1], 468)
    np.savez(tmp_path / "bodies.npz", vertices_arms_down=bodies)
    table = {
        "valid_body": {"triangles": triangles.tolist(), "barycentric": barycentric.tolist()},
        "ibug68_refined": list(range(68)),
    }
    (tmp_path / "mediapipe_landmarks.json").write_text(json.dumps(table))
    built = build_face_landmarks(tmp_path, tmp_path)
    expected = np.einsum("lc,lcd->ld", barycentric, bodies.mean(0)[triangles]) * 1000
    expected -= expected[list(EYE_CORNERS)].mean(0)
    np.testing.assert_allclose(built.positions, expected, atol=1e-3)
    assert built.weights.max() == 1
    built.save(tmp_path / "asset.npz")
    with np.load(tmp_path / "asset.npz") as stored:
        np.testing.assert_array_equal(stored["positions"], built.positions)
    with pytest.raises(InputError, match="does not exist"):
        build_face_landmarks(tmp_path / "gone", tmp_path)


# Detection in a real photo


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return as_tensor(skimage.data.astronaut())


@pytest.fixture(scope="module")
def found(astronaut: torch.Tensor) -> dict[str, Detection]:
    """Detections in one go, with denormals flushed to zero as the package sets it; nothing may appear on stderr."""
    photo = skimage.data.astronaut()
    small = np.full((1400, 1400, 3), 128, np.uint8)
    small[900:1156, 200:456] = photo[::2, ::2]  # the face is 3 % of this picture
    portrait = Image.fromarray(photo[:400, 60:390])
    two = Image.new("RGB", (580, 400))
    two.paste(portrait, (250, 0))
    two.paste(portrait.resize((250, 300)), (0, 50))
    images = {
        "plain": photo,
        "turned": np.rot90(photo),
        "small": small,
        "two": np.asarray(two),
        "cat": skimage.data.chelsea(),
    }
    torch.set_flush_denormal(True)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            detections = detect([as_tensor(image) for image in images.values()])
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            torch.set_flush_denormal(False)
        said.seek(0)
        assert said.read() == b""
    return dict(zip(images, detections, strict=True))


def test_eyes_and_nose_of_a_photo_lie_where_one_sees_them(found: dict[str, Detection]) -> None:
    (face,) = found["plain"].faces
    # Read off an enlargement of the photo.
    for landmark, place in ((RIGHT_IRIS, (203.0, 100.8)), (LEFT_IRIS, (246.8, 103.2)), (NOSE_TIP, (223.5, 126.0))):
        assert (face[landmark] - torch.tensor(place)).norm() < 3.0


def test_a_photo_on_its_side_gives_the_same_landmarks(found: dict[str, Detection]) -> None:
    (upright,), (turned,) = found["plain"].faces, found["turned"].faces
    x, y = turned.unbind(1)
    assert torch.allclose(torch.stack([512 - y, x], 1), upright, atol=1e-3)
    assert torch.equal(torch.rot90(found["turned"].person_mask, -1), found["plain"].person_mask)


def test_a_small_face_is_found_as_exactly_as_a_large_one(found: dict[str, Detection]) -> None:
    (large,), (small,) = found["plain"].faces, found["small"].faces
    # Every second pixel was kept: its centre moved by half a pixel of the large photo.
    back = (small - torch.tensor([200.0, 900.0])) * 2 - 0.5
    assert (back - large).norm(dim=1).mean() < 1.5


def test_a_cat_is_no_face(found: dict[str, Detection]) -> None:
    assert found["cat"].faces == ()


def test_no_face_and_several_faces(found: dict[str, Detection]) -> None:
    with pytest.raises(InputError, match=r"^no face found in a\.jpg: give a photo that shows the face"):
        choose_face(found["cat"], "a.jpg")
    first, second = found["two"].faces
    assert float(second[:, 0].mean()) < 250 < float(first[:, 0].mean())
    with pytest.warns(ProtomeWarning, match=r"^2 faces found in two\.png: the largest one is used$"):
        assert torch.equal(choose_face(found["two"], "two.png"), first)
    with pytest.raises(InputError, match=r"^2 faces found in two\.png: crop the photo to one person$"):
        choose_face(found["two"], "two.png", strict=True)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise ImportError('no such thing')", "ImportError: no such thing"),
        ("__version__ = '1.2.3'", "ImportError: version 1.2.3 has no `solutions`"),
    ],
)
def test_a_missing_or_different_mediapipe_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: torch.Tensor, module: str, reason: str
) -> None:
    (tmp_path / "mediapipe.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError) as refused:
        detect([astronaut])
    assert str(refused.value) == (
        f"faces are found with MediaPipe 0.10.21, which cannot be used here ({reason}): run "
        "`pip install --no-deps mediapipe==0.10.21 absl-py attrs flatbuffers 'protobuf>=4.25.3,<5'`"
    )


# Masks


@pytest.mark.parametrize("middle", [250, 193])  # of the landmarks; from 193 on, the far cheek's lie 22 pixels outside
def test_a_coarse_outline_moves_to_the_image_edge(middle: float) -> None:
    y, x = np.mgrid[:600, :500] + 0.5
    head = ((x - 250) / 110) ** 2 + ((y - 220) / 140) ** 2 < 1
    body = ((x - 250) / 220) ** 2 + ((y - 510) / 180) ** 2 < 1
    other = (x - 60) ** 2 + (y - 90) ** 2 < 40**2
    truth = head | body
    rng = np.random.default_rng(0)
    image = np.where(head[..., None], [0.8, 0.6, 0.5], np.where(body[..., None], [0.2, 0.3, 0.6], [0.55, 0.7, 0.55]))
    image = np.clip(image + rng.normal(0, 0.03, image.shape), 0, 1)
    # A segmentation that is displaced by 8 pixels, coarse, and sees a second person.
    shifted = np.roll(truth, (8, -8), (0, 1)) | other
    coarse = np.asarray(Image.fromarray((shifted * 255).astype(np.uint8)).resize((50, 60)).resize((500, 600)))
    angles = np.linspace(0, 2 * np.pi, 478)
    face = np.stack([middle + 75 * np.cos(angles), 230 + 90 * np.sin(angles)], 1)
    mask = person_mask(torch.from_numpy(image).float(), as_tensor(coarse), torch.from_numpy(face).float()).numpy()

    def overlap(candidate: np.ndarray) -> float:
        return (candidate & truth).sum() / (candidate | truth).sum()

    assert overlap(coarse > 127) < 0.94
    assert overlap(mask > 0.5) > 0.995
    assert mask[other].max() == 0
    assert 0 <= mask.min() <= mask.max() <= 1


def test_hair_of_the_background_colour_stays_where_two_segmentations_agree() -> None:
    y, x = np.mgrid[:600, :500] + 0.5
    head = ((x - 250) / 110) ** 2 + ((y - 220) / 140) ** 2 < 1
    hair = head & ((y < 150) | (np.abs(x - 250) > 85))
    body = ((x - 250) / 220) ** 2 + ((y - 510) / 180) ** 2 < 1
    truth = head | body
    wood = np.array([0.5, 0.35, 0.2])
    colours = np.where(
        (head & ~hair)[..., None], [0.8, 0.6, 0.5], np.where((body & ~head)[..., None], [0.2, 0.3, 0.6], wood)
    )
    colours = np.clip(colours + np.random.default_rng(0).normal(0, 0.03, colours.shape), 0, 1)
    image = torch.from_numpy(colours).float()
    coarse = as_tensor(np.asarray(Image.fromarray((truth * 255).astype(np.uint8)).resize((50, 60)).resize((500, 600))))
    angles = np.linspace(0, 2 * np.pi, 478)
    face = torch.from_numpy(np.stack([250 + 75 * np.cos(angles), 230 + 90 * np.sin(angles)], 1)).float()
    unseen = coarse.clone()
    unseen[300:] = torch.nan  # beyond what the second one looked at

    def kept(second: torch.Tensor | None) -> float:
        return float((person_mask(image, coarse, face, second=second).numpy() > 0.5)[hair].mean())

    assert kept(None) < 0.5
    assert kept(unseen) > 0.7  # all but a rim
    assert kept(torch.zeros_like(coarse)) < 0.5  # where they disagree, the colours decide
    beyond = person_mask(image, coarse, face, second=unseen).numpy()[300:]
    assert ((beyond > 0.5) == truth[300:]).mean() > 0.98


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return capture_photos([path])


def test_a_captured_photo_has_a_camera_in_the_head_frame(scene: Scene) -> None:
    (view,) = scene.views
    assert view.name == "astronaut.png"
    assert scene.head_from_world.scale == pytest.approx(1 / UNIT_MM)
    # She faces the camera and tilts her head a little to her left.
    x, y, z = view.camera.centre.tolist()
    assert z > 500
    assert abs(x) < 0.2 * z
    assert abs(y) < 0.2 * z
    assert view.landmarks is not None
    away = (view.camera.project(FACE.positions) - view.landmarks[:468]).norm(dim=1)
    assert float((FACE.weights * away).sum() / FACE.weights.sum()) < 0.035 * 108  # 108 pixels: the height of her face


def test_the_mask_holds_hair_and_suit_but_no_background(scene: Scene) -> None:
    mask = scene.views[0].mask
    assert mask.shape == (512, 512)
    # Looked up in the photo, as (x, y).
    person = {
        "hair": [(200, 30), (225, 22), (160, 80), (290, 75), (170, 110), (285, 110)],
        "face": [(224, 130), (200, 150), (180, 125)],
        "suit": [(100, 300), (300, 280), (60, 420), (235, 270), (140, 230)],
    }
    background = {
        "flag": [(20, 60), (40, 150), (60, 220)],
        "shuttle": [(415, 100), (400, 200), (440, 240)],
        "backdrop": [(110, 60), (330, 130), (140, 20), (300, 20), (120, 150)],
        "table": [(480, 300), (400, 310)],
    }
    for place, pixels in person.items():
        assert all(float(mask[y, x]) > 0.95 for x, y in pixels), place
    for place, pixels in background.items():
        assert all(float(mask[y, x]) < 0.05 for x, y in pixels), place


def test_the_head_is_located_in_a_posed_photo(
    scene: Scene, found: dict[str, Detection], monkeypatch: pytest.MonkeyPatch
) -> None:
    (view,) = scene.views
    # A world in metres, turned and shifted against the head frame in millimetres.
    rotation = rotation_from_vector(torch.tensor([0.6, -1.1, 0.8]))
    world_from_mm = Similarity(rotation, torch.tensor([0.3, -1.2, 0.7]), torch.tensor(1e-3))
    camera = view.camera.transformed(world_from_mm)
    monkeypatch.setattr(capture, "detect", lambda images, with_masks: tuple(found["plain"] for _ in images))
    located = locate_head([View(view.name, view.image, view.mask, camera)], "m")
    in_head = located.head_from_world.apply(world_from_mm.apply(FACE.positions)) * UNIT_MM
    assert (in_head - FACE.positions).norm(dim=1).max() < 0.1
    landmarks = located.views[0].landmarks
    assert landmarks is not None
    assert view.landmarks is not None
    assert torch.equal(landmarks, view.landmarks)
    assert located.views[0].camera is camera
    # A face beside the mask is not the scene's person.
    with pytest.raises(InputError, match="no face found in any of the 1 views"):
        locate_head([View(view.name, view.image, torch.zeros_like(view.mask), camera)], "m")


def test_no_photos_are_refused() -> None:
    with pytest.raises(InputError, match=r"^no photos given: give the paths of one or more photos of a person$"):
        capture_photos([])


def test_a_given_mask_is_used_and_chooses_the_face(
    found: dict[str, Detection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    (face,) = found["plain"].faces
    other = face + torch.tensor([230.0, 0.0])
    both = Detection((other, face), found["plain"].person_mask)
    monkeypatch.setattr(capture, "detect", lambda images: tuple(both for _ in images))
    mask = np.zeros((512, 512), np.uint8)
    mask[:, :300] = 255
    Image.fromarray(mask).save(tmp_path / "astronaut.mask.png")
    (view,) = capture_photos([path], strict=True).views  # the other face lies outside the mask
    assert view.landmarks is not None
    assert torch.equal(view.landmarks, face)
    assert view.faces == 1
    assert torch.equal(view.mask, as_tensor(mask))
    assert view.mask_file == tmp_path / "astronaut.mask.png"
    Image.fromarray(np.roll(mask, 300, 1) * (np.arange(512) >= 480)[:, None]).save(tmp_path / "astronaut.mask.png")
    with pytest.raises(InputError) as refused:
        capture_photos([path])
    assert str(refused.value) == (
        f"the face in {path} lies outside its mask {tmp_path / 'astronaut.mask.png'}: paint that person white in it, "
        "and what is not person black"
    )
