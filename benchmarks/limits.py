"""The prior's representation error for a given head: latents fitted to its surface, weights frozen, no photos."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from protome.evaluate.metrics import FACE_RADIUS_MM
from protome.face import LANDMARK_NAMES
from protome.geometry.align import Surface, icp
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.geometry.transforms import Similarity, procrustes
from protome.meshing.extract import zero_level
from protome.population.store import Population
from protome.prior.inversion import Inversion, ShapeSamples, fit_scan, invert_samples
from protome.prior.prior import HeadLatents, Prior, interpolate
from protome.training.train import EYE_MM, MOUTH_MM, around
from protome.units import UNIT_MM
from protome.util.device import choose_device
from real_scan import MARGIN_MM, Scan, above

RIM_MM = 20.0
"""Height above the modelled volume's floor at which the truth begins: below, heads are cut off arbitrarily."""
FACE_POINTS, HEAD_POINTS = 6000, 10_000
NEIGHBOURS = 12
"""Neighbours of a point from which the local density of points is estimated."""


@dataclass(frozen=True)
class Truth:
    """A head to be fitted; its own frame, millimetres."""

    face: Float[np.ndarray, "n 3"]
    head: Float[np.ndarray, "m 3"]
    floor: float
    """Height at which predictions are cut: below, the truth has no surface."""
    parts: dict[str, Float[np.ndarray, "_ 3"]] = field(default_factory=dict)
    """Parts of the face that are measured in its pose: the lips, and the lids with the eyes."""


@dataclass(frozen=True)
class Distances:
    """Mean distances from the truth's points to a surface after rigid alignment, mm."""

    face_mm: float
    head_mm: float
    parts_mm: dict[str, float]
    """Of the truth's parts."""


def parts_of(
    points: Float[np.ndarray, "n 3"], template: Float[np.ndarray, "n 3"], skin: Bool[np.ndarray, "n"]
) -> dict[str, Float[np.ndarray, "_ 3"]]:
    """Return the points of the lips and of the lids, found by their places on the template, millimetres."""
    place = torch.from_numpy(template)
    found = {name: points[skin & around(place, of).numpy()] for name, of in (("lips", MOUTH_MM), ("lids", EYE_MM))}
    return {name: chosen for name, chosen in found.items() if len(chosen)}


def truth_of(
    points: Float[np.ndarray, "n 3"], skin: Bool[np.ndarray, "n"], nose_tip: Float[np.ndarray, "3"], floor: float
) -> Truth:
    """Return the surface points to compare, in millimetres: those well above the cut at `floor`.

    Of the face only the skin counts: a lock of hair across it is centimetres from every mean head, which would hide
    errors of the face.
    """
    kept = points[:, 1] > floor + RIM_MM
    near = np.linalg.norm(points - nose_tip, axis=1) <= FACE_RADIUS_MM
    return Truth(_some(points[kept & near & skin], FACE_POINTS), evenly(points[kept], HEAD_POINTS), floor)


def evenly(points: Float[np.ndarray, "n 3"], count: int) -> Float[np.ndarray, "k 3"]:
    """Resample points with replacement so that each part of the surface is weighted by its area.

    A population's heads have half of their points in the face, which would outweigh large errors in the hair. The area
    of a point is proportional to the square of the distance to its neighbours.
    """
    reach = cKDTree(points).query(points, NEIGHBOURS + 1)[0][:, -1]
    return points[np.random.default_rng(0).choice(len(points), count, p=reach**2 / (reach**2).sum())]


def _some(points: Float[np.ndarray, "n 3"], count: int) -> Float[np.ndarray, "k 3"]:
    return np.random.default_rng(0).permutation(points)[:count]


def distances(mesh: Mesh, truth: Truth, start: Similarity) -> Distances:
    """Return the distances of a head in millimetres, initially moved by `start`, from the truth."""
    surface = Surface(above(mesh.transformed(start), truth.floor))

    def away(points: Float[np.ndarray, "n 3"], pose: Similarity) -> float:
        return float(surface.closest(pose.apply(torch.from_numpy(points)).numpy()).distances.mean())

    face, head = (icp(points, surface).target_from_source for points in (truth.face, truth.head))
    parts = {name: away(points, face) for name, points in truth.parts.items()}
    return Distances(away(truth.face, face), away(truth.head, head), parts)


class Limits:
    """The prior with its mean head, measured against given heads; opened once in each process."""

    def __init__(self, prior: Path | None, resolution: int) -> None:
        torch.set_num_threads(1)
        choose_device("cpu")
        self.resolution = resolution
        self.prior = Prior.load(prior)
        self.mean = self.mesh(self.prior.mean())

    def mesh(self, latents: HeadLatents) -> Mesh:
        """Return a head of the prior in millimetres."""
        whole = zero_level(self.prior.bind(latents).sdf, self.prior.bounds, self.resolution)
        return whole.largest_component().scaled(UNIT_MM)

    def head(self, heads: Population, number: int) -> dict[str, object]:
        """Fit and measure a held-out head of a population."""
        given = heads.samples(number)
        samples = ShapeSamples(given.points[0], given.space[0], given.distances[0])
        nose = given.landmarks[0, LANDMARK_NAMES.index("nose_tip")].double().numpy() * UNIT_MM
        points, skin = given.points[0].double().numpy() * UNIT_MM, given.registered[0].numpy()
        truth = truth_of(points, skin, nose, float(self.prior.bounds[0, 1]) * UNIT_MM)
        if len(heads.expressions[number]):
            parts = parts_of(points, given.template[0].double().numpy() * UNIT_MM, skin)
            truth = replace(truth, parts=parts)
        began = time.perf_counter()
        fit = invert_samples(self.prior, samples)
        took = time.perf_counter() - began
        identity = Similarity.identity(torch.float64)
        return self._result(heads.names[number], truth, fit, identity, identity, took)

    def scan(self, scan: Scan) -> dict[str, object]:
        """Fit and measure a scan."""
        samples = sample_surface(scan.truth, 40_000)
        outwards = Surface(scan.truth).face_normals()[samples.faces]
        landmarks = np.stack([scan.landmarks[name] for name in LANDMARK_NAMES])
        points, normals, six = (
            torch.from_numpy(array).float() for array in (samples.points / UNIT_MM, outwards, landmarks / UNIT_MM)
        )
        began = time.perf_counter()
        fit = fit_scan(self.prior, points, normals, six)
        took = time.perf_counter() - began
        truth = Truth(
            _some(samples.points[np.linalg.norm(samples.points - scan.landmarks["nose_tip"], axis=1) <= FACE_RADIUS_MM],
                  FACE_POINTS),
            _some(samples.points, HEAD_POINTS), scan.floor - MARGIN_MM,
        )  # fmt: skip
        start = procrustes(six.double(), self.prior.landmarks.double(), with_scale=False)
        return self._result("real_scan", truth, fit, _in_mm(fit.head_from_samples), _in_mm(start), took)

    def _result(
        self, name: str, truth: Truth, fit: Inversion, head_from_truth: Similarity, mean_from_truth: Similarity,
        seconds: float,
    ) -> dict[str, object]:  # fmt: skip
        head = distances(self.mesh(fit.latents), truth, head_from_truth.inverse())
        mean = distances(self.mean, truth, mean_from_truth.inverse())
        return {
            "name": name,
            **{key: value for key, value in asdict(head).items() if key != "parts_mm"},
            **{f"mean_{key}": value for key, value in asdict(mean).items() if key != "parts_mm"},
            **{f"{part}_mm": value for part, value in head.parts_mm.items()},
            "face_ratio": head.face_mm / mean.face_mm,
            "head_ratio": head.head_mm / mean.head_mm,
            "deviations": float(fit.coefficients.square().mean().sqrt()),
            "fit_seconds": seconds,
        }

    def midpoint(self, pair: int) -> dict[str, object]:
        """Count the pieces of the zero level halfway between two random people.

        Loose pieces float beside the head; hollows lie inside it, as between closed lips, and are invisible.
        """
        first, second = (self.prior.sample(torch.Generator().manual_seed(2 * pair + side)) for side in (0, 1))
        latents = interpolate(first, second, 0.5, 0.5)
        whole = zero_level(self.prior.bind(latents).sdf, self.prior.bounds, self.resolution)
        return pieces_of(whole)


def pieces_of(whole: Mesh) -> dict[str, object]:
    """Count the pieces of a head's zero level (inner unit) and measure the loose ones."""
    head, *others = sorted(
        whole.to_trimesh().split(only_watertight=False), key=lambda part: len(part.faces), reverse=True
    )
    # A hollow's surface has the opposite orientation.
    loose = [part for part in others if part.volume * head.volume > 0]
    return {
        "pieces": 1 + len(others),
        "closed": sum(bool(part.is_watertight) for part in (head, *others)),
        "loose_faces": [len(part.faces) for part in loose],
        "loose_mm": [float(part.extents.max()) * UNIT_MM for part in loose],
        "hollows": len(others) - len(loose),
    }


def _in_mm(inner: Similarity) -> Similarity:
    return Similarity(inner.rotation, inner.translation * UNIT_MM, inner.scale).to(torch.float64)
