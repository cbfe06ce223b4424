"""MediaPipe in a process of its own, run by `detection_process`: it reads the paths IN and OUT from stdin, a line each.

Why a process: MediaPipe's first run fails once denormals are flushed to zero, which the rest of the package does for
speed, and its libraries write to stderr. This file therefore imports neither torch nor any module of this package.

IN holds `image_0`, `image_1`, ... (h, w, 3) uint8 RGB and `with_masks` (bool). OUT holds, for each image, `faces_i`
(k, 478, 2) float32 in pixels (pixel centres at +0.5), the largest face first, and `mask_i` (h, w) uint8 (255 = person).
Exit code 3: MediaPipe cannot be imported, or it is a version without `solutions`; the last line on stderr says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

try:
    import mediapipe

    if not hasattr(mediapipe, "solutions"):
        raise ImportError(f"version {getattr(mediapipe, '__version__', 'unknown')} has no `solutions`")
except Exception as error:  # a broken installation fails in many ways, not only with ImportError
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(3)

LANDMARKS = 478
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263
MESH_SIDE = 384
"""Pixels of the square crop the face mesh sees (its network takes 192)."""
CROP_FACTORS = (2.0, 2.3, 2.6, 3.0)
"""Crop sides in units of the face's size; the landmarks of all crops are averaged, which halves their jitter."""
MOST_SPREAD = 0.03
"""Largest mean disagreement of those crops, in units of the face's size, on a real face."""
UPRIGHT_SPREAD = 0.015
"""Disagreement up to which a face is certainly upright: faces that lie on their side reach 0.025."""
SURE = 0.75
"""Score that a face detector must give a face seen large in its own crop."""
SAME = 0.5
"""Overlap of a possible face with one that was found from which it is the same."""
LEAST_SIDE = 16.0
"""Pixels of the smallest face: enlarged twelve times, the pixels of anything smaller make a face by chance."""
TILE_SIDE = 512
"""Pixels of the square windows in which small faces are searched."""
SEGMENTATION_SIDE = 256
"""Pixels of the square image that the selfie segmentation takes."""
SHOULDERS_FACTOR = 4.0
"""Side of the head-and-shoulders window in units of the face's size."""


class Models:
    """The MediaPipe graphs, built once."""

    def __init__(self) -> None:
        solutions = mediapipe.solutions
        self.detectors = [
            solutions.face_detection.FaceDetection(model_selection=distance, min_detection_confidence=0.5)
            for distance in (0, 1)
        ]
        self.sure_detectors = [
            solutions.face_detection.FaceDetection(model_selection=distance, min_detection_confidence=SURE)
            for distance in (0, 1)
        ]
        self.mesh = solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=4)
        self.segmentation = solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)


def window(
    image: np.ndarray, left: float, top: float, width: float, height: float, size: tuple[int, int]
) -> np.ndarray:
    """Return the image window resampled to `size` (columns, rows); black outside the image."""
    scale = np.array([size[0] / width, size[1] / height])
    if scale.max() < 0.5:
        # warpAffine does not average, so a strong reduction aliases: reduce the image by areas first.
        factor = float(scale.max()) * 1.5
        columns, rows = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        ratio_x, ratio_y = columns / image.shape[1], rows / image.shape[0]
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        left, top, scale = left * ratio_x, top * ratio_y, scale / [ratio_x, ratio_y]
    # Pixel centres lie at +0.5 on both sides of the map; OpenCV counts them from 0.
    offset = -scale * [left, top] + 0.5 * scale - 0.5
    matrix = np.array([[scale[0], 0.0, offset[0]], [0.0, scale[1], offset[1]]])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)


def candidates(models: Models, image: np.ndarray, parts: int) -> np.ndarray:
    """Return squares (centre x, centre y, side) around possible faces, through windows of 1/parts of the image."""
    if parts == 1:
        return squares(models.detectors, image)
    height, width = image.shape[:2]
    side = max(height, width) / parts
    found = [np.empty((0, 3))]
    for top in np.arange(0, max(height - side / 2, 1), side / 2):
        for left in np.arange(0, max(width - side / 2, 1), side / 2):
            tile = window(image, left, top, side, side, (TILE_SIDE, TILE_SIDE))
            found.append(squares(models.detectors[:1], tile) * side / TILE_SIDE + [left, top, 0.0])
    return np.concatenate(found)


def squares(detectors: list, image: np.ndarray) -> np.ndarray:
    """Return the detectors' boxes as (n, 3): centre and side in pixels."""
    height, width = image.shape[:2]
    rows = []
    for detector in detectors:
        for detection in detector.process(image).detections or []:
            box = detection.location_data.relative_bounding_box
            side = max(box.width * width, box.height * height)
            rows.append([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height, side])
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def square_of(face: np.ndarray) -> np.ndarray:
    """Return centre and side of the square around a face's landmarks."""
    low, high = face.min(0), face.max(0)
    return np.array([*(low + high) / 2, (high - low).max()])


def mesh_in(models: Models, image: np.ndarray, square: np.ndarray, factor: float) -> np.ndarray | None:
    """Return the (478, 2) pixel landmarks of the face nearest the middle of a crop, or None."""
    side = square[2] * factor
    corner = square[:2] - side / 2
    crop = window(image, corner[0], corner[1], side, side, (MESH_SIDE, MESH_SIDE))
    found = models.mesh.process(crop).multi_face_landmarks
    if not found:
        return None
    faces = np.array([[(point.x, point.y) for point in face.landmark] for face in found], dtype=np.float64)
    nearest = np.linalg.norm(faces.mean(1) - 0.5, axis=1).argmin()
    return corner + faces[nearest] * side


def confirmed(models: Models, image: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the landmarks of the face near a candidate square and their spread over crops; None if it is no face.

    The crops that the landmarks are averaged over also tell faces from chance patterns: on a face they agree to 1 % of
    its size (2.5 % in profile or on its side), elsewhere they differ several times more or show nothing.
    """
    first = next(
        (mesh for factor in (2.0, 1.5, 3.0) if (mesh := mesh_in(models, image, square, factor)) is not None), None
    )
    if first is None:
        return None
    centred = square_of(first)
    if centred[2] < LEAST_SIDE:
        return None
    features = [mesh for factor in CROP_FACTORS if (mesh := mesh_in(models, image, centred, factor)) is not None]
    if len(features) < len(CROP_FACTORS):
        return None
    face = np.mean(features, axis=0)
    spread = float(np.linalg.norm(np.std(features, axis=0), axis=1).mean() / centred[2])
    if spread > MOST_SPREAD:
        return None
    side = 3.5 * centred[2]
    corner = centred[:2] - side / 2
    crop = window(image, corner[0], corner[1], side, side, (MESH_SIDE, MESH_SIDE))
    sure = squares(models.sure_detectors, crop) * side / MESH_SIDE + [*corner, 0.0]
    return (face, spread) if any(overlap(box, centred) > 0.3 for box in sure) else None


def faces_in(models: Models, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return all faces (k, 478, 2) of an image in pixels, the largest first, and the spread of the largest."""
    faces: list[tuple[np.ndarray, float]] = []
    # Both detectors miss faces below about a tenth of the image: look again through ever smaller windows.
    for parts in (1, 2, 4):
        for square in candidates(models, image, parts):
            # Both detectors find most faces, and a face takes a third of a second.
            if any(overlap(square, square_of(other)) > SAME for other, _ in faces):
                continue
            found = confirmed(models, image, square)
            if found and all(overlap(square_of(found[0]), square_of(other)) < 0.3 for other, _ in faces):
                faces.append(found)
        if faces:
            break
    faces.sort(key=lambda found: -square_of(found[0])[2])
    landmarks = np.array([face for face, _ in faces], dtype=np.float32).reshape(-1, LANDMARKS, 2)
    return landmarks, faces[0][1] if faces else np.inf


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return intersection over union of two squares."""
    low = np.maximum(first[:2] - first[2] / 2, second[:2] - second[2] / 2)
    high = np.minimum(first[:2] + first[2] / 2, second[:2] + second[2] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / (first[2] ** 2 + second[2] ** 2 - shared)


def person_in(models: Models, image: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the probability (h, w) of a person: the whole image, and sharper around head and shoulders."""
    height, width = image.shape[:2]
    person = segment(models, image, 0, 0, width, height)
    if not len(faces):
        return person
    x, y, side = square_of(faces[0])
    side = SHOULDERS_FACTOR * side
    # A head stands above its face's centre by less than shoulders stand below it.
    left, top = int(max(0, x - side / 2)), int(max(0, y - 0.42 * side))
    right, bottom = int(min(width, x + side / 2)), int(min(height, y + 0.58 * side))
    if (right - left) * (bottom - top) > 0.8 * width * height:
        return person
    local = segment(models, image, left, top, right - left, bottom - top)
    # Fade the window's own answer out towards those of its borders that lie inside the image.
    columns, rows = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    fade = 0.12 * side
    across = np.minimum(1 if left == 0 else (columns - left) / fade, 1 if right == width else (right - columns) / fade)
    down = np.minimum(1 if top == 0 else (rows - top) / fade, 1 if bottom == height else (bottom - rows) / fade)
    weight = np.clip(np.broadcast_to(down, rows.shape), 0, 1)[:, None] * np.clip(
        np.broadcast_to(across, columns.shape), 0, 1
    )
    inner = person[top:bottom, left:right]
    person[top:bottom, left:right] = weight * local + (1 - weight) * inner
    return person


def segment(models: Models, image: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Return the person probability (height, width) of one window of the image."""
    crop = window(image, left, top, width, height, (SEGMENTATION_SIDE, SEGMENTATION_SIDE))
    small = models.segmentation.process(crop).segmentation_mask
    return cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def quarter_turns(face: np.ndarray) -> int:
    """Return how many counter-clockwise quarter turns of the image bring a face upright."""
    across = face[LEFT_EYE_CORNER] - face[RIGHT_EYE_CORNER]
    return round(np.degrees(np.arctan2(across[1], across[0])) / 90) % 4


def look_at(models: Models, image: np.ndarray, with_mask: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return faces and person mask of one photo, which may lie on its side."""
    height, width = image.shape[:2]
    quarter, upright, faces, least = 0, image, np.empty((0, LANDMARKS, 2), np.float32), np.inf
    for turned in (0, 1, 3, 2):
        candidate = np.ascontiguousarray(np.rot90(image, turned))
        found, spread = faces_in(models, candidate)
        # A face on its side is sometimes found, but with landmarks that vary: the upright pass has the least spread.
        if len(found) and quarter_turns(found[0]) == 0 and spread < least:
            quarter, upright, faces, least = turned, candidate, found, spread
            if spread < UPRIGHT_SPREAD:
                break
    person = person_in(models, upright, faces) if with_mask else np.zeros(upright.shape[:2], np.float32)
    x, y = faces[..., 0], faces[..., 1]
    # np.rot90 turns counter-clockwise: after one turn the image's x runs along the photo's y.
    photo_x, photo_y = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarter]
    return np.stack([photo_x, photo_y], -1), np.rot90(person, -quarter)


def main() -> None:
    """Look at all images of IN and write OUT; without a line there is nothing to do."""
    models = Models()
    source, target = (Path(sys.stdin.readline().rstrip("\n")) for _ in range(2))
    if not source.name:
        return
    results: dict[str, np.ndarray] = {}
    with np.load(source) as stored:
        with_masks = bool(stored["with_masks"])
        for index in range(len(stored.files) - 1):
            faces, person = look_at(models, stored[f"image_{index}"], with_masks)
            results[f"faces_{index}"] = faces.astype(np.float32)
            results[f"mask_{index}"] = np.rint(255 * np.clip(person, 0, 1)).astype(np.uint8)
    np.savez(target, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
