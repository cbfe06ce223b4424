"""Training of the encoder: photos of a population's heads are taken, and the latents are regressed on them.

Every training head is photographed in its own light by random cameras. The photos are measured as `Look`, and
`Encoder.of` learns to predict the head's latents and its place from these measurements.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from protome.capture.head import head_from_landmarks
from protome.capture.landmarks import choose_face, detect
from protome.encoder.encoder import KEPT, Encoder
from protome.encoder.features import MIDDLE_MM, SPAN_MM, PhotoFeatures, measure_photo
from protome.errors import InputError
from protome.geometry.camera import Camera, direction
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.population.build import TABLES, ExpressivePerson, Sources, outer_surface
from protome.population.character import Characters
from protome.population.compose import Composer
from protome.population.picture import photograph
from protome.population.store import Manifest, read_manifest
from protome.population.surface import OuterSurface
from protome.prior.prior import Prior
from protome.scene import View
from protome.units import UNIT_MM
from protome.util.engines import Engine, Processes, Work, in_order
from protome.util.files import check_output_file, check_output_folder, write_arrays, write_atomically
from protome.util.progress import progress

SIZE = 384
"""Pixels along each side of a photo."""
TURNED, TILTED = (16.0, 40.0), (7.0, 18.0)
"""Azimuth and elevation of the cameras, degrees: standard deviation and maximum."""
DISTANCE_MM = (450.0, 1600.0)
"""Nearest and farthest camera."""
OFF_MM = 12.0
"""Standard deviation, along each axis, of the point that a camera looks at."""
FOCAL_ERROR = 0.2
"""Standard deviation of the logarithm of the focal length's error. Few photos record theirs."""
TRIM = 0.33
"""Largest share of a photo that is cropped at each of its sides: up to the cheeks. Each side is cropped with
probability 1/2, and little more often than much."""
PHOTOS_EACH = 6
"""Photos of each head."""
SETTINGS = "photos.json"
"""File in the photos' folder that says which photos it holds."""


@dataclass(frozen=True)
class PhotoConfig:
    """Which photos are taken."""

    population: Path
    """Folder that `protome population build` wrote."""
    sources: Sources
    """What the population was built from."""
    folder: Path
    """Where the photos are kept."""
    each: int = PHOTOS_EACH
    """Photos of each head."""
    seed: int = 0
    """Number that cameras and measurements are drawn from."""
    expressions: int = 0
    """Heads of each person, the first of them neutral; 0: every head is a person of its own."""
    shown: int | None = None
    """Heads of each person that are photographed; none: all of them."""

    def heads(self, person: int) -> range:
        """Return the numbers of a person's heads."""
        each = max(self.expressions, 1)
        return range(person * each, (person + 1) * each)

    def chosen(self, person: int) -> list[int]:
        """Return those of a person's heads that are photographed: one person's neutral one, another one's smile."""
        heads = self.heads(person)
        count = min(self.shown or len(heads), len(heads))
        return [heads[(person + number) % len(heads)] for number in range(count)]

    def photographed(self, person: int) -> list[int]:
        """Return those of a person's heads whose photos are there."""
        return [head for head in self.heads(person) if self.path(head).is_file()]

    def path(self, head: int) -> Path:
        """Return the file with the photos of a training head."""
        return self.folder / f"{head:05d}.npz"

    def settings(self) -> dict[str, object]:
        """Return what the photos depend on."""
        return {
            "population seed": read_manifest(self.population).seed, "sources": self.sources.described(),
            "photos of each head": self.each, "seed": self.seed,
        } | ({"expressions": self.expressions} if self.expressions else {})  # fmt: skip


def draw_camera(rng: np.random.Generator) -> Camera:
    """Return a camera in front of a head (head frame, millimetres)."""
    across, up = (np.radians(np.clip(rng.normal(0, spread), -most, most)) for spread, most in (TURNED, TILTED))
    distance = float(np.exp(rng.uniform(*np.log(DISTANCE_MM))))
    target = torch.tensor(MIDDLE_MM, dtype=torch.float64) + torch.from_numpy(rng.normal(0, OFF_MM, 3))
    return Camera.look_at(target + distance * direction(across, up), target, SIZE * distance / SPAN_MM, SIZE, SIZE)


_composer: Composer
_characters: Characters | None
_seed: int


def _prepare(config: PhotoConfig) -> None:
    global _composer, _characters, _seed  # one composer per worker process: reading the sources takes seconds
    _composer = config.sources.composer(config.population / "makehuman.npz")
    _characters = Characters(_composer) if config.expressions else None
    _seed = read_manifest(config.population).seed


def _photograph(job: tuple[PhotoConfig, int]) -> None:
    """Take the photos of a person's heads."""
    config, number = job
    if _characters is None:
        surface = outer_surface(_composer, "train", number, _seed)[0]
        _keep(config, {number: (_photos(config, number, surface), np.zeros(0, np.float32))})
        return
    person = ExpressivePerson.of(_characters, "train", number, _seed)
    taken = {}
    for head in config.chosen(number):
        surface, weights, _ = person.surface(config.heads(number).index(head))
        taken[head] = _photos(config, head, surface), weights
    _keep(config, taken)


def _photos(config: PhotoConfig, head: int, surface: OuterSurface) -> list[View]:
    views = []
    for number in range(config.each):
        camera = draw_camera(np.random.default_rng([config.seed, head, number]))
        photo = photograph(surface, camera.transformed(Similarity.scaling(1 / UNIT_MM, torch.float64)), over=1)
        image, mask = (torch.from_numpy(array).float() for array in (photo.image, photo.mask))
        views.append(View(f"photo {number} of head {head}", image, mask, camera))
    return views


def _keep(config: PhotoConfig, taken: dict[int, tuple[list[View], Float[np.ndarray, "e"]]]) -> None:
    """Write those photos of heads that show a face; `taken` has the photos and the expression of each head."""
    every = [view for views, _ in taken.values() for view in views]
    detected = iter(detect([view.image for view in every], with_masks=False))  # at once: a detector starts in seconds
    for head, (views, expression) in taken.items():
        pairs = [(view, next(detected)) for view in views]
        seen = [replace(view, landmarks=choose_face(found, view.name)) for view, found in pairs if found.faces]
        kept = {
            "image": np.array([np.rint(255 * view.image.numpy()) for view in seen], np.uint8),
            "mask": np.array([np.rint(255 * view.mask.numpy()) for view in seen], np.uint8),
            "landmarks": np.array([view.landmarks.numpy() for view in seen if view.landmarks is not None]),
            "K": np.array([view.camera.K.numpy() for view in seen]),
            "T_head_camera": np.array([view.camera.T_world_camera.numpy() for view in seen]),
            "expression": expression,
        }
        write_arrays(config.path(head), kept)


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
    """Return one training example, or None where the landmarks fit no camera.

    The photo is cropped at random and its focal length is changed at random. The second value is the true place of the
    head relative to the one that its landmarks give: rotation vector and shift (inner unit).
    """
    left, top, right, bottom = (int(SIZE * TRIM * cut) for cut in rng.random(4) ** 2 * (rng.random(4) < 0.5))
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


def _measure(job: tuple[PhotoConfig, int]) -> dict[str, np.ndarray]:
    config, head = job
    with np.load(config.path(head)) as stored:
        expression = stored["expression"] if "expression" in stored.files else np.zeros(0, np.float32)
    views = enumerate(photos_of(config.path(head)))
    found = [example(view, np.random.default_rng([config.seed + 1, head, number])) for number, view in views]
    pairs = [pair for pair in found if pair is not None]
    # Arrays, because tensors keep a file open each on their way between processes.
    measured = {key: np.array([getattr(features, key).numpy() for features, _ in pairs]) for key in KEPT}
    places = np.array([place.numpy() for _, place in pairs])
    return measured | {"place": places, "expression": np.tile(expression, (len(pairs), 1))}


def train_encoder(
    population: Path,
    out: Path,
    *,
    latents: Path,
    valid: Path,
    ict: Path | None = None,
    makehuman: Path | None = None,
    targets: Path | None = None,
    tables: Path = TABLES,
    prior: Path | None = None,
    photos: Path | None = None,
    each: int = PHOTOS_EACH,
    most: int | None = None,
    heads: int | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    quiet: bool = False,
) -> Encoder:
    """Photograph the heads of a population, train an encoder on the photos, write it to `out` and print how good it is.

    `latents` is the file that training left beside the prior; `prior` is that prior (none: the shipped one). The
    sources are those that the population was built from. `photos` is the folder in which photos are kept (none: beside
    `out`); photos that are there already are not taken again, so that a stopped run continues. At most `most` people
    are photographed (none: all), each with `heads` of the expressions that the population has of them (none: all).

    Raises:
        InputError: a file is missing, or the population, its sources, the latents, the prior and the folder of photos
            do not belong together.
    """
    if each < 1:
        raise InputError(f"{each} photos of each head teach nothing: give 1 or more")
    if most is not None and most < 2:
        raise InputError(f"photos of {most} people teach nothing: give 2 or more, or leave it out")
    if heads is not None and heads < 1:
        raise InputError(f"photos of {heads} heads of each person teach nothing: give 1 or more, or leave it out")
    check_output_file(out)
    sources = Sources(valid, ict, makehuman, targets, tables)
    sources.check()
    manifest = read_manifest(population)
    folder = photos or out.with_suffix(".photos")
    config = PhotoConfig(population, sources, folder, each, seed, manifest.expressions, heads)
    if manifest.sources != sources.described():
        raise InputError(f"{population} was built from other sources: give those, {_given(manifest)}")
    learned = Prior.load(prior)
    if learned.expression_names != manifest.units:
        raise InputError(f"{population} has other expressions than the prior: give the one that it was trained on")
    shape, appearance = _read_latents(latents, learned, manifest)
    count, used = min(len(shape), most or len(shape)), engine or Processes()
    _take_photos(config, count, used, quiet=quiet)
    measured = _measure_photos(config, count, used, quiet=quiet)
    people = measured.people
    if len(people.unique()) < 2:
        raise InputError(f"{config.folder} shows the faces of fewer than two people: build a larger population")
    coefficients = [learned.shape.coefficients(shape)[people], learned.appearance.coefficients(appearance)[people]]
    if learned.expression is not None:
        coefficients.append(learned.expression.coefficients(measured.expressions))
    with progress("regression", 1, quiet=quiet) as step:
        encoder = Encoder.of(measured.features, coefficients, measured.places, people, learned, seed)
        step(1)
    encoder.save(out)
    print(_report(encoder, coefficients, len(measured.features), len(people.unique())))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return encoder


def _given(manifest: Manifest) -> str:
    """Name the options that were given when the population was built."""
    return ", ".join(f"--{name}" for name, given in manifest.sources.items() if given)


def _read_latents(path: Path, prior: Prior, manifest: Manifest) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        raise InputError(f"{path} does not exist: `protome train` leaves it beside the prior")
    try:
        found = load_file(path)
        shape, appearance = found["shape"], found["appearance"]
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} holds no latents: `protome train` leaves them beside the prior") from error
    if shape.shape[1:] != prior.shape.mean.shape or not torch.allclose(shape.mean(0), prior.shape.mean, atol=1e-4):
        raise InputError(f"{path} belongs to another prior: give the file that lies beside it")
    people = manifest.heads["train"] // max(manifest.expressions, 1)
    if len(shape) > people:  # fewer are the first ones, of a training that did not wait for the whole population
        raise InputError(
            f"{path} has the latents of {len(shape)} people, and the population {people}: give the population that the "
            "prior was trained on"
        )
    return shape, appearance


def _take_photos(config: PhotoConfig, people: int, engine: Engine, *, quiet: bool) -> None:
    """Take the photos that are not there yet."""
    check_output_folder(config.folder)
    settings, path = config.settings(), config.folder / SETTINGS
    if any(config.folder.glob("*.npz")) and (not path.is_file() or json.loads(path.read_text()) != settings):
        raise InputError(f"{config.folder} holds photos of other settings: give the same ones, or another folder")
    write_atomically(path, lambda part: part.write_text(json.dumps(settings, indent=1) + "\n"))
    todo = [who for who in range(people) if len(config.photographed(who)) < len(config.chosen(who))]
    before, work = people - len(todo), Work(_photograph, _prepare, (config,))
    with progress("photographing people", people, before=before, quiet=quiet) as step:
        for _ in engine.run(work, [(config, who) for who in todo]):
            step(1)


@dataclass(frozen=True)
class _Measured:
    """Measurements of n photos."""

    features: list[PhotoFeatures]
    places: Float[Tensor, "n 6"]
    people: Int[Tensor, "n"]
    """Number of each photo's person."""
    expressions: Float[Tensor, "n e"]
    """Coefficients of each photo's expression; none where people have one expression."""


def _measure_photos(config: PhotoConfig, people: int, engine: Engine, *, quiet: bool) -> _Measured:
    features: list[PhotoFeatures] = []
    places, expressions, whose = [torch.zeros(0, 6).double()], [], []
    heads = [head for who in range(people) for head in config.photographed(who)]
    with progress("measuring photos", len(heads), quiet=quiet) as step:
        measured = in_order(engine, Work(_measure), [(config, head) for head in heads], step)
    for head, found in zip(heads, measured, strict=True):
        rows = {key: torch.from_numpy(values) for key, values in found.items()}
        places.append(rows.pop("place").reshape(-1, 6))
        expressions.append(rows.pop("expression"))
        whose += [head // len(config.heads(0))] * len(rows["pose"])
        features += [PhotoFeatures(*(rows[key][number] for key in KEPT)) for number in range(len(rows["pose"]))]
    return _Measured(features, torch.cat(places), torch.tensor(whose, dtype=torch.long), torch.cat(expressions))


def _report(encoder: Encoder, coefficients: Sequence[Float[Tensor, "n _"]], photos: int, people: int) -> str:
    """Return the shares of the latents' variance that the encoder explains of people left out of the training."""
    lines = [f"{photos} photos of {people} people. Explained variance of people left out:"]
    names = ("shape", "appearance", "expression")
    spreads = (encoder.shape_spread, encoder.appearance_spread, encoder.expression_spread)
    for name, spread, own in zip(names, spreads, coefficients, strict=False):
        assert spread is not None
        explained = 1 - spread.square().sum(0) / own.var(0)
        shares = [
            f"axes {first + 1} to {min(last, len(explained))}: {float(explained[first:last].mean()):.2f}"
            for first, last in ((0, 10), (10, 40))
            if first < len(explained)
        ]
        lines.append(f"{name}, {', '.join(shares)}")
    return "\n".join(lines)
