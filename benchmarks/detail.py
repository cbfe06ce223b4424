"""Measure the detail recovered from shading: known wrinkles, ablations, and a real scan by NoW's protocol.

    python benchmarks/detail.py --out DIR --scan head.glb --landmarks landmarks.json

People of the packaged model get folds, lines and pores that it lacks (benchmarks/wrinkles.py) and are photographed.
"known": the coarse face is the true one. "fitted": it is fitted to landmarks with a detector's errors. The recovered
height over the coarse face is compared with the height that was added to the true one, at the hits of the same ray of
the photo: a fitted face is millimetres nearer or farther than the true one. Errors are medians after removal of
components wider than a centimetre, where the added height is more than a tenth of a millimetre; "folds", where it is
more than a quarter. Ratios are to the coarse face, which has no height.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from scipy.spatial import cKDTree
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from command import command
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh
from protome.evaluate.now import NowScore, evaluate_now
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.geometry.triangles import barycentric
from protome.morphable.face import NOW_LANDMARKS
from protome.morphable.fit import Sighting, fit_landmarks
from protome.morphable.linear import load_builtin
from protome.morphable.model import MorphableModel
from protome.render.cast import cast
from protome.scene import View
from protome.sider.fit import DETAIL_PRESETS
from protome.sider.outputs import Pictures, save_detail
from protome.sider.pipeline import RELIEF, CoarseFace, DetailedFace, add_detail, add_relief, recover_detail
from protome.util.device import choose_device
from protome.util.engines import Processes, Work
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from raster import Lighting, render
from real_scan import cameras_around, load_scan
from wrinkles import Wrinkled, photograph, wrinkled

WIDE_MM = 10.0
"""Errors wider than this are attributed to the coarse face and do not count."""
LEAST_MM = 0.1
"""Added geometry lower than this does not count."""
FOLD_MM = 0.25
"""Higher geometry is a fold or a line; lower is mostly pores."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    out: Path
    """Folder for pictures and numbers."""
    people: int = 3
    """Number of random people."""
    presets: tuple[str, ...] = (RELIEF, *DETAIL_PRESETS)
    """Presets to compare."""
    known: bool = True
    """Whether the true coarse faces are given."""
    fitted: bool = True
    """Whether coarse faces are also fitted to landmarks."""
    scan: Path | None = None
    """A real scan in metres."""
    real_landmarks: Path | None = None
    """JSON with its landmarks."""
    seed: int = 0
    jobs: int = 2
    """Processes, each with one thread, that share the people."""


@dataclass(frozen=True)
class HeightErrors:
    """Median errors of the height over the coarse face, mm, without components wider than `WIDE_MM`."""

    all: float
    folds: float

    @staticmethod
    def of(person: Wrinkled, visible: Bool[np.ndarray, "v"], height: Float[np.ndarray, "n"]) -> HeightErrors:
        """Compare heights with the added ones at the visible vertices of the truth."""
        points, added = person.truth.vertices[visible], person.height[visible]
        # The wide component is estimated from one visible vertex in eight (about one per square millimetre), the error
        # is measured at one in five.
        around, counts = points[::8], np.flatnonzero(np.abs(added) > LEAST_MM)[::5]
        reach, near = cKDTree(around).query(points[counts], 1500, distance_upper_bound=2 * WIDE_MM)
        weight = np.where(np.isfinite(reach), np.exp(-((reach / WIDE_MM) ** 2)), 0.0)

        def fine(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "k"]:
            nearby = values[::8][np.minimum(near, len(around) - 1)]
            return values[counts] - (nearby * weight).sum(1) / weight.sum(1)

        error, folded = np.abs(fine(height - added)), np.abs(fine(added)) > FOLD_MM
        return HeightErrors(float(np.median(error)), float(np.median(error[folded])))


def height_along_rays(face: DetailedFace, view: View, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return the height of the detailed face over the coarse one where the photo's rays to some points hit that."""
    base = face.displaced.base
    mesh = Trimesh(base.vertices, base.faces, process=False)
    eye = view.camera.centre.double().numpy()
    ahead = (points - eye) / np.linalg.norm(points - eye, axis=1, keepdims=True)
    spots, ray, triangle = RayMeshIntersector(mesh).intersects_location(
        np.broadcast_to(eye, points.shape), ahead, multiple_hits=False
    )
    weights = barycentric(mesh.triangles[triangle], spots)
    height = np.zeros(len(points))
    height[ray] = (face.displaced.displacement[base.faces[triangle]] * weights).sum(1)
    return height


def landmarks_of(person: Wrinkled, view: View, model: MorphableModel, seed: int, noisy: bool) -> View:
    """Return the view with MediaPipe's landmarks at their true positions, or with a detector's noise."""
    assert model.dense is not None
    points = model.dense.on(model.with_shape(person.identity).vertices, model.faces)
    if noisy:
        generator = torch.Generator().manual_seed(seed)
        # Neighbours' errors are correlated: a third of the stated deviation is each landmark's own.
        points = points + torch.randn(points.shape, generator=generator) * model.dense.deviations[:, None] / 3
    pixels = torch.zeros(478, 2)
    pixels[:468] = view.camera.project(points)
    pixels[468:] = pixels[4]
    return View(view.name, view.image, view.mask, view.camera, pixels)


def visible_skin(person: Wrinkled, view: View) -> Bool[np.ndarray, "v"]:
    """Return which vertices of the truth are on the face's skin and in the photo."""
    hits = cast(person.truth, view.camera)
    visible = np.zeros(len(person.truth.vertices), bool)
    visible[person.truth.faces[hits.faces.numpy()].reshape(-1)] = True
    eyes = cKDTree(person.landmarks[36:48]).query(person.base.vertices)[0] < 6
    mouth = cKDTree(person.landmarks[60:68]).query(person.base.vertices)[0] < 4
    brows = cKDTree(person.landmarks[17:27]).query(person.base.vertices)[0] < 5
    inside = np.linalg.norm(person.base.vertices - person.landmarks[30], axis=1) < 85
    return visible & inside & ~eyes & ~mouth & ~brows


def coarse_of(model: MorphableModel, person: Wrinkled, view: View, fitted: bool) -> CoarseFace:
    """Return a person's coarse face in the frame of the photo's camera."""
    if not fitted:
        return CoarseFace.of(model, person.plain, person.landmarks)
    assert view.landmarks is not None
    found = fit_landmarks(model, [Sighting(view.landmarks, view.camera, True, view.name)])
    posed = found.head()
    landmarks = posed.landmarks(found.cameras[0].centre).double().numpy()
    # Into the true frame, where the camera is the photo's own: only the shape differs.
    back = view.camera.T_world_camera @ torch.linalg.inv(found.cameras[0].T_world_camera)
    place = Similarity(back[:3, :3].double(), back[:3, 3].double(), torch.ones((), dtype=torch.float64))
    return CoarseFace.of(model, posed.mesh().transformed(place), place.apply(torch.from_numpy(landmarks)).numpy())


@dataclass(frozen=True)
class DetailErrors:
    """The errors of one preset for one person."""

    person: int
    kind: str
    """Whether the coarse face was known or fitted."""
    preset: str
    before: HeightErrors
    after: HeightErrors
    seconds: dict[str, float]

    @property
    def ratios(self) -> tuple[float, float]:
        """Errors over those of the coarse face: all, folds."""
        return self.after.all / self.before.all, self.after.folds / self.before.folds

    def row(self) -> str:
        """Return a line of the table."""
        named = f"{self.person:<8}{self.kind:<12}{self.preset:<17}"
        everything = f"{self.before.all:>8.3f}{self.after.all:>8.3f}{self.ratios[0]:>7.2f}"
        return named + everything + f"{self.before.folds:>10.3f}{self.after.folds:>8.3f}{self.ratios[1]:>7.2f}"


def measure_person(job: tuple[Options, int]) -> list[DetailErrors]:
    """Recover one person's wrinkles from the known coarse face and from a fitted one; write a sheet of each."""
    options, number = job
    model = load_builtin()
    person = wrinkled(model, number)
    plain = photograph(person, number)
    skin = visible_skin(person, plain)
    found = []
    for kind in ["known"] * options.known + ["fitted"] * options.fitted:
        view = landmarks_of(person, plain, model, number, kind == "fitted")
        coarse = coarse_of(model, person, view, kind == "fitted")
        for preset in options.presets:
            if preset == RELIEF:
                face = add_relief(view, coarse)
            else:
                face = add_detail(view, coarse, DETAIL_PRESETS[preset], seed=options.seed, quiet=True)
            height = height_along_rays(face, plain, person.truth.vertices[skin])
            before, after = HeightErrors.of(person, skin, np.zeros_like(height)), HeightErrors.of(person, skin, height)
            found.append(DetailErrors(number, kind, preset, before, after, face.seconds))
            _write(options.out / f"person{number}_{kind}_{preset}.png", Pictures.of(face).sheet())
    return found


def measure_people(options: Options) -> None:
    """Print the table of recovered wrinkles and write a sheet for each person."""
    title = f"{'person':<8}{'coarse face':<12}{'preset':<17}"
    print(title + f"{'coarse':>8}{'detail':>8}{'ratio':>7}{'folds':>10}{'detail':>8}{'ratio':>7}")
    people = range(options.seed, options.seed + options.people)
    results: list[DetailErrors] = []
    with progress("people", options.people) as step:
        for _, found in Processes(options.jobs).run(Work(measure_person), [(options, number) for number in people]):
            results += found
            step(1)
            print("\n".join(one.row() for one in found), flush=True)
    for kind, preset in dict.fromkeys((one.kind, one.preset) for one in results):
        alike = [one.ratios for one in results if (one.kind, one.preset) == (kind, preset)]
        both = [statistics.median(column) for column in zip(*alike, strict=True)]
        print(f"{'median':<8}{kind:<12}{preset:<17}{both[0]:>23.2f}{both[1]:>25.2f}")
    for key in results[0].seconds if results else ():
        print(f"seconds on one thread, {key}: {statistics.fmean(one.seconds[key] for one in results):.1f}")


def measure_scan(options: Options) -> None:
    """Print the NoW distances of a real scan's photo."""
    if options.scan is None or options.real_landmarks is None:
        return
    scan = load_scan(options.scan, options.real_landmarks)
    picture = render(scan.subject, cameras_around(1, 640)[0], Lighting(), seed=options.seed)
    _write(options.out / "real.png", picture.image)
    truth = MarkedMesh(scan.truth, {name: scan.landmarks[name] for name in NOW_NAMES}, options.scan)
    model = load_builtin()
    mean = model.template.double().numpy()
    points = model.landmarks.on(model.template, model.faces).double().numpy()[list(NOW_LANDMARKS)]
    print(f"{'real scan, NoW':<20}{'median':>8}{'mean':>8}{'std':>8}")
    _row("mean face", evaluate_now(_marked(Mesh(mean, model.faces.numpy()), points), truth))
    for preset in options.presets:
        face = recover_detail(options.out / "real.png", preset=preset, seed=options.seed, quiet=True)
        if preset == options.presets[0]:
            coarse = _marked(face.displaced.base, face.coarse.landmarks[list(NOW_LANDMARKS)])
            _row("coarse fit", evaluate_now(coarse, truth))
            save_detail(face, options.out / "real")
            print("seconds: " + ", ".join(f"{key} {value:.1f}" for key, value in face.seconds.items()))
        _row(preset, evaluate_now(_marked(face.mesh, face.now_landmarks()), truth))
        _write(options.out / f"real_{preset}.png", Pictures.of(face).sheet())


def _marked(mesh: Mesh, points: Float[np.ndarray, "7 3"]) -> MarkedMesh:
    return MarkedMesh(Mesh(mesh.vertices, mesh.faces), dict(zip(NOW_NAMES, points, strict=True)), Path("prediction"))


def _row(name: str, score: NowScore) -> None:
    distances = score.distances
    print(f"{name:<20}{np.median(distances):>8.3f}{distances.mean():>8.3f}{distances.std():>8.3f}", flush=True)


def _write(path: Path, image: Float[np.ndarray, "h w 3"]) -> None:
    pixels = Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))
    write_atomically(path, lambda part: pixels.save(part, "PNG"))


def run(options: Options) -> None:
    """Print all tables."""
    check_output_folder(options.out)
    choose_device("cpu")
    measure_people(options)
    measure_scan(options)


def main() -> int:
    """Measure with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
