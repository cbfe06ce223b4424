"""Make the encoder: photograph the heads of a population, and learn what a photo tells of them.

    python benchmarks/encoder.py --population DIR --valid DIR --ict DIR --makehuman DIR \
        --latents build/prior.latents.safetensors --photos DIR --out encoder.safetensors

The sources are those that the population was built from, the latents those that `protome train` leaves beside the
prior. Photos that are there already are kept, so that a run that was stopped goes on. What is printed at the end, the
share of the variance that photos foretell, is of people left out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from command import command
from protome.capture.head import head_from_landmarks
from protome.capture.landmarks import choose_face, detect, load_face_landmarks
from protome.encoder.encoder import KEPT, Encoder
from protome.encoder.features import MIDDLE_MM, SPAN_MM, PhotoFeatures, measure_photo
from protome.errors import InputError
from protome.geometry.camera import Camera, direction
from protome.geometry.transforms import Similarity
from protome.population.build import Sources, outer_surface
from protome.population.compose import Composer
from protome.population.picture import photograph
from protome.population.store import read_manifest
from protome.prior.prior import Prior
from protome.scene import View
from protome.units import UNIT_MM
from protome.util.files import check_output_file, check_output_folder, write_arrays
from protome.util.progress import progress
from protome.util.workers import workers

SIZE = 384
"""Pixels along each side of a photo."""
TURNED, TILTED = (16.0, 40.0), (7.0, 18.0)
"""Degrees by which cameras stand aside and above or below: standard deviation and most."""
DISTANCE_MM = (450.0, 1600.0)
OFF_MM = 12.0
"""How far off the middle they look."""
FOCAL_ERROR = 0.2
"""How far the focal lengths that looks assume are off, as few photos record theirs (standard deviation of the log)."""
TRIM = 0.2
"""Share of a photo that is at most cut off at each of its sides, with even odds: people are framed in many ways."""


@dataclass(frozen=True)
class Options:
    """Which heads, and where from."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    latents: Path
    """The training heads' latents."""
    photos: Path
    """Folder for the photos."""
    out: Path
    """The encoder's file."""
    prior: Path | None = None
    """The prior of these latents; by default the one that ships."""
    ict: Path | None = None
    makehuman: Path | None = None
    targets: Path | None = None
    each: int = 6
    """Photos of each head."""
    jobs: int = 2
    """Processes, each with one thread."""

    def sources(self) -> Sources:
        """Return where the heads come from."""
        return Sources(self.valid, self.ict, self.makehuman, self.targets)


def draw_camera(rng: np.random.Generator) -> Camera:
    """Return a camera in front of a head (head frame, millimetres)."""
    across, up = (np.radians(np.clip(rng.normal(0, spread), -most, most)) for spread, most in (TURNED, TILTED))
    distance = float(np.exp(rng.uniform(*np.log(DISTANCE_MM))))
    target = torch.tensor(MIDDLE_MM, dtype=torch.float64) + torch.from_numpy(rng.normal(0, OFF_MM, 3))
    return Camera.look_at(target + distance * direction(across, up), target, SIZE * distance / SPAN_MM, SIZE, SIZE)


_composer: Composer
_seed: int


def _prepare(options: Options) -> None:
    global _composer, _seed  # one composer per worker process: reading the sources takes seconds
    _composer = options.sources().composer(options.population / "makehuman.npz")
    _seed = read_manifest(options.population).seed


def photo_file(options: Options, head: int) -> Path:
    """Return where the photos of a training head lie."""
    return options.photos / f"{head:05d}.npz"


def _photograph(job: tuple[Options, int]) -> None:
    options, head = job
    surface, _ = outer_surface(_composer, "train", head, _seed)
    views = []
    for number in range(options.each):
        camera = draw_camera(np.random.default_rng([_seed, head, number]))
        photo = photograph(surface, camera.transformed(Similarity.scaling(1 / UNIT_MM, torch.float64)), over=1)
        image, mask = (torch.from_numpy(array).float() for array in (photo.image, photo.mask))
        views.append(View(f"photo {number} of head {head}", image, mask, camera))
    pairs = zip(views, detect([view.image for view in views], with_masks=False), strict=True)
    seen = [replace(view, landmarks=choose_face(found, view.name)) for view, found in pairs if found.faces]
    kept = {
        "image": np.array([np.rint(255 * view.image.numpy()) for view in seen], np.uint8),
        "mask": np.array([np.rint(255 * view.mask.numpy()) for view in seen], np.uint8),
        "landmarks": np.array([view.landmarks.numpy() for view in seen if view.landmarks is not None]),
        "K": np.array([view.camera.K.numpy() for view in seen]),
        "T_head_camera": np.array([view.camera.T_world_camera.numpy() for view in seen]),
    }
    write_arrays(photo_file(options, head), kept)


def photos_of(path: Path) -> list[View]:
    """Return the photos of a head that show its face; the world is the head frame in millimetres."""
    with np.load(path) as stored:
        kept = {key: torch.from_numpy(stored[key]) for key in stored.files}
    views = []
    for number, mask in enumerate(kept["mask"]):
        camera = Camera(kept["K"][number], kept["T_head_camera"][number], mask.shape[1], mask.shape[0])
        image = kept["image"][number].float() / 255
        views.append(View(f"{path.name} {number}", image, mask.float() / 255, camera, kept["landmarks"][number]))
    return views


def example(view: View, rng: np.random.Generator) -> tuple[PhotoFeatures, Float[Tensor, "6"]] | None:
    """Return what is measured in a trimmed photo of somewhat wrong focal length, and where its head is against where
    the landmarks place it: rotation vector and shift (inner unit); None where they make no face."""
    left, top, right, bottom = (int(SIZE * TRIM * cut) for cut in rng.random(4) * (rng.random(4) < 0.5))
    view = view.cropped(left, top, SIZE - left - right, SIZE - top - bottom)
    K = view.camera.K.clone()
    K[[0, 1], [0, 1]] *= float(np.exp(rng.normal(0, FOCAL_ERROR)))
    taken, face = replace(view, camera=replace(view.camera, K=K)), load_face_landmarks()
    # Where a wrong camera should have the head is where it sees the mean face as the right one does.
    pixels = view.camera.project(face.positions.double()).float()
    assert view.landmarks is not None
    pixels = torch.cat([pixels, view.landmarks[len(pixels) :]])  # irises lie on no face and place none
    try:
        placed = head_from_landmarks([taken], "mm", face).head_from_world.to(torch.float64)
        true = head_from_landmarks([replace(taken, landmarks=pixels)], "mm", face).head_from_world.to(torch.float64)
    except InputError:
        return None
    off = true.compose(placed.inverse())
    turn = torch.from_numpy(Rotation.from_matrix(off.rotation.numpy()).as_rotvec())
    return measure_photo(taken, placed), torch.cat([turn, off.translation])


def _measure(job: tuple[Options, int]) -> dict[str, np.ndarray]:
    options, head = job
    views = enumerate(photos_of(photo_file(options, head)))
    found = [example(view, np.random.default_rng([1, head, number])) for number, view in views]
    pairs = [pair for pair in found if pair is not None]
    # Arrays, because tensors keep a file open each on their way between processes.
    measured = {key: np.array([getattr(features, key).numpy() for features, _ in pairs]) for key in KEPT}
    return measured | {"place": np.array([place.numpy() for _, place in pairs])}


def run(options: Options) -> None:
    """Take the photos that are not there yet, and learn from all of them."""
    check_output_folder(options.photos)
    check_output_file(options.out)
    options.sources().check()
    prior = Prior.load(options.prior)
    if not options.latents.is_file():
        raise InputError(f"{options.latents} does not exist: `protome train` leaves it beside the prior")
    latents = load_file(options.latents)
    heads = range(len(latents["shape"]))
    if not torch.allclose(latents["shape"].mean(0), prior.shape.mean, atol=1e-4):
        raise InputError(f"{options.latents} belongs to another prior: give the file that lies beside it")
    todo = [head for head in heads if not photo_file(options, head).is_file()]
    with workers(options.jobs, _prepare, options) as pool, progress("photographing heads", len(heads)) as step:
        step(len(heads) - len(todo))
        for _ in pool.map(_photograph, [(options, head) for head in todo]):
            step(1)
    features: list[PhotoFeatures] = []
    places: list[Tensor] = []
    people: list[int] = []
    with workers(options.jobs) as pool, progress("measuring photos", len(heads)) as step:
        for head, found in zip(heads, pool.map(_measure, [(options, head) for head in heads]), strict=True):
            rows = {key: torch.from_numpy(values) for key, values in found.items()}
            places += list(rows.pop("place"))
            people += [head] * len(rows["pose"])
            features += [PhotoFeatures(*(rows[key][number] for key in KEPT)) for number in range(len(rows["pose"]))]
            step(1)
    known = torch.tensor(people)
    coefficients = (
        prior.shape.coefficients(latents["shape"])[known],
        prior.appearance.coefficients(latents["appearance"])[known],
    )
    encoder = Encoder.of(features, coefficients, torch.stack(places), known, prior)
    encoder.save(options.out)
    for name, spread, own in zip(
        ("shape", "appearance"), (encoder.shape_spread, encoder.appearance_spread), coefficients, strict=True
    ):
        told = 1 - spread.square().sum(0) / own.var(0)
        print(f"{name}: foretold {told[:10].mean():.2f} of axes 1-10, {told[10:40].mean():.2f} of 11-40")
    size = options.out.stat().st_size / 1e6
    print(f"{len(features)} photos of {len(known.unique())} people: {options.out}, {size:.1f} MB")


def main() -> int:
    """Make the encoder of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
