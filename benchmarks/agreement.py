"""How far right and wrong cameras see a face beside its landmarks, and how alike the faces of one and two people are.

    python benchmarks/agreement.py SCENE ... [--views 16] [--trials 12]

SCENE are folders of posed photos of one person each, with right cameras. The first table has the largest distances, by
the degrees that a camera looks past the face's front, of two to eight of these photos: `RIGHT_MM` of
`protome.capture.agreement` lies above them. The second one counts what is said of sets of three and six photos that are
changed: two neighbouring cameras exchanged, cameras moved, pictures resampled without their intrinsics. The third one
has distances of face descriptors, of one person's photos and of different people's (`OTHER_PERSON` of
`protome.capture.people`), where the face recognition network is installed.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from tyro.conf import Positional, arg

from command import command
from protome.capture.agreement import RIGHT_MM, TURNED, check_agreement
from protome.capture.head import HeadPlacement
from protome.capture.landmarks import Detection, detect
from protome.capture.order import checked_placement
from protome.capture.people import OTHER_PERSON, faces_of, is_installed
from protome.capture.resampling import warn_of_resampling
from protome.errors import InputError, ProtomeWarning
from protome.geometry.transforms import rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.scene import View
from protome.scenes.scene_folder import read_scene

BANDS = ((0, 35), (35, 45), (45, 55), (55, 70))
"""Degrees past the front."""
FACE = load_face_landmarks()


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    scenes: Positional[Annotated[tuple[Path, ...], arg(metavar="SCENE ...")]]
    """Folders of posed photos, one person each."""
    views: int = 16
    """How many photos of each, spread over all."""
    trials: int = 12
    """How many sets of photos of each kind and scene."""
    seed: int = 0
    """The random seed of the sets."""


def run(options: Options) -> None:
    """Print three tables."""
    scenes = [_faces(path, options.views) for path in options.scenes]
    chance = random.Random(options.seed)
    print("largest distance, mm  | " + " | ".join(f"{low} to {high} degrees" for low, high in BANDS))
    for count in (2, 3, 5, 8):
        found = [_distances(_some(views, count, chance)) for views in scenes for _ in range(options.trials)]
        turned, off = (np.concatenate([each[k] for each in found]) for k in range(2))
        most = [off[(turned >= low) & (turned < high)] for low, high in BANDS]
        print(f"{count} right cameras       | " + " | ".join(f"{m.max():.1f}" if len(m) else "" for m in most))
    limits = [float(np.interp(high, TURNED, RIGHT_MM)) for _, high in BANDS]
    print("limit at the far end  | " + " | ".join(f"{limit:.1f}" for limit in limits), flush=True)
    changes: dict[str, Callable[[list[View]], list[View]]] = {
        "none": list,
        "neighbours exchanged": _exchanged,
        "turned by 0.25 degrees": lambda views: _turned(views, 0.25, chance),
        "turned by 1 degree": lambda views: _turned(views, 1.0, chance),
        "resampled to 0.8": lambda views: _resampled(views, 0.8),
        "resampled to 1.15": lambda views: _resampled(views, 1.15),
    }
    print("\nchange, of 3 and 6 photos: what is said")
    for name, change in changes.items():
        said = Counter(
            _said(change(_some(views, count, chance))) for views in scenes for count in (3, 6)
            for _ in range(options.trials)
        )  # fmt: skip
        print(f"{name}: " + ", ".join(f"{what} {number}" for what, number in sorted(said.items())), flush=True)
    if is_installed():
        _compare_people(scenes)


def _faces(path: Path, count: int) -> list[View]:
    """Return views of a scene with the landmarks that are detected in them; those without a face are left out."""
    views = read_scene(path)
    chosen = [views[k] for k in np.unique(np.linspace(0, len(views) - 1, min(count, len(views))).round().astype(int))]
    seen = detect([view.image for view in chosen], with_masks=False)
    return [
        View(view.name, view.image, torch.ones(view.image.shape[:2]), view.camera, each.faces[0])
        for view, each in zip(chosen, seen, strict=True) if each.faces
    ]  # fmt: skip


def _some(views: list[View], count: int, chance: random.Random) -> list[View]:
    return chance.sample(views, min(count, len(views)))


def _placed(views: Sequence[View]) -> HeadPlacement | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtomeWarning)
        try:
            return checked_placement(views, None, FACE)
        except InputError:
            return None


def _distances(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each camera looks past the front, degrees, and how far the face is beside, millimetres."""
    placed = _placed(views)
    if placed is None:
        return np.zeros(0), np.zeros(0)
    pairs = [(t, o) for t, o in zip(placed.turned, placed.off_mm, strict=True) if t is not None and o is not None]
    return np.array([t for t, _ in pairs]), np.array([o for _, o in pairs])


def _said(views: Sequence[View]) -> str:
    """Return in a word or two what is said of views."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ProtomeWarning)
        warn_of_resampling([view.camera for view in views])
        try:
            check_agreement(views, checked_placement(views, None, FACE), None, FACE)
        except InputError as error:
            return "refused as exchanged" if "exchanged" in str(error) else "refused otherwise"
    words = " ".join(str(each.message) for each in said)
    causes = {"resampled": "warned of resampling", "may be exchanged": "warned of an exchange"}
    named = [cause for part, cause in causes.items() if part in words]
    return "nothing" if not said else named[0] if named else "warned otherwise"


def _exchanged(views: list[View]) -> list[View]:
    """Exchange the two cameras that look most alike."""
    axes = np.stack([view.camera.T_world_camera[:3, 2].double().numpy() for view in views])
    first, second = np.unravel_index((axes @ axes.T - 2 * np.eye(len(views))).argmax(), (len(views),) * 2)
    changed = list(views)
    changed[first] = replace(views[first], camera=views[second].camera)
    changed[second] = replace(views[second], camera=views[first].camera)
    return changed


def _turned(views: list[View], degrees: float, chance: random.Random) -> list[View]:
    """Turn each camera about a random axis, by a normal angle of this standard deviation about each coordinate axis."""
    changed = []
    for view in views:
        pose = view.camera.T_world_camera.clone()
        angles = torch.tensor([chance.gauss(0, np.radians(degrees)) for _ in range(3)])
        pose[:3, :3] = pose[:3, :3] @ rotation_from_vector(angles).to(pose)
        changed.append(replace(view, camera=replace(view.camera, T_world_camera=pose)))
    return changed


def _resampled(views: list[View], factor: float) -> list[View]:
    """Return the views of pictures of another size, whose intrinsics are still those of the original one."""
    changed = []
    for view in views:
        assert view.landmarks is not None
        width, height = (round(factor * side) for side in (view.camera.width, view.camera.height))
        camera = replace(view.camera, width=width, height=height)
        changed.append(replace(view, landmarks=factor * view.landmarks, camera=camera))
    return changed


def _compare_people(scenes: Sequence[Sequence[View]]) -> None:
    """Print how far faces from the front are from the nearest other of the same person, and of different people."""
    people = []
    for views in scenes:
        seen = [Detection(() if view.landmarks is None else (view.landmarks,), view.mask) for view in views]
        people.append([face.descriptor for face in faces_of([view.image for view in views], seen) if face.frontal])
    same = [
        min(float(np.linalg.norm(face - other)) for other in faces if other is not face)
        for faces in people for face in faces if len(faces) > 1
    ]  # fmt: skip
    others = [
        min(float(np.linalg.norm(face - other)) for other in second)
        for k, first in enumerate(people) for face in first for j, second in enumerate(people) if j != k and second
    ]  # fmt: skip
    print("\nfaces | nearest of the same person, at most | nearest of another, at least | limit")
    print(f"{sum(map(len, people))} | {max(same):.2f} | {min(others, default=float('nan')):.2f} | {OTHER_PERSON:g}")


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
