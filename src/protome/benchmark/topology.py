"""The template on held-out heads: is the same vertex at the same place of skin on everybody's head?

A held-out head of a population knows for points of its skin where these lie on the common template. The prior's latents
are fitted to the head's samples, without photos; the template is laid onto the fitted head; and each point of the
template is compared with the place of the same point on the true head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from protome.face import LANDMARK_NAMES
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.meshing.extract import zero_level
from protome.population.store import EXPRESSIVE, Population, SampleBatch, read_manifest
from protome.prior.inversion import InversionConfig, ShapeSamples, invert_samples
from protome.prior.prior import FittedHead, Prior
from protome.topology.fitted import TemplateHead
from protome.topology.pull import CORE_MM, pulled_back
from protome.topology.template import Part, Template
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.progress import progress

SPLITS = ("holdout_valid", "holdout_ict", EXPRESSIVE)
POINTS = 500
"""Points of skin that are compared on each head."""
OFF_MM = 1.0
"""Places on the template farther from its skin, such as on eyeballs, are left out."""
FACE_MM = np.array([[-55.0, -110.0, -40.0], [55.0, 45.0, 60.0]])
"""The face, on the template."""
LOWEST_MM = -125.0
"""Below this height is cloth."""
RESOLUTION = 220
IBUG = {"right_eye": 39, "left_eye": 42, "nose_tip": 30, "nose_base": 33, "right_lips": 48, "left_lips": 54}
"""Landmarks that the template has as vertices, in iBUG's numbers."""
PULL = 5e-4
"""Weight of the prior in the fits. With the default of fits to samples the latents leave the population, and skin
slides along itself: the surface is hardly closer, and corresponding points are farther off."""
GOALS = {"landmarks": 2.0, "points": 2.0, "distance": 0.2}


@dataclass(frozen=True)
class Measured:
    """The template on one held-out head."""

    name: str
    landmarks_mm: float
    """Mean distance of landmarks from their true places."""
    face_mm: float
    """The same for points of the face's skin."""
    points_mm: float
    """The same for points of all skin, bare scalps too, which have nothing to find a point by."""
    pulled_mm: float
    """The same for these points by the fitted deformation alone: what the template does not add to."""
    flipped: int
    """Triangles of the face that look inwards."""
    distance_mm: float
    """Mean distance of the face's vertices and of the middles of its triangles from the fitted surface."""


def measure(name: str, batch: SampleBatch, prior: Prior, template: Template) -> Measured:
    """Fit the prior to one head's samples, lay the template onto it, and compare."""
    samples = ShapeSamples(batch.points[0], batch.space[0], batch.distances[0])
    found = invert_samples(prior, samples, InversionConfig(placement="none", pull=PULL))
    head = FittedHead(prior.field, found.latents, prior.bounds)
    return compared(name, batch, head, template)


def compared(name: str, batch: SampleBatch, head: FittedHead, template: Template) -> Measured:
    """Lay the template onto a head that was fitted to samples, and compare it with them."""
    field = head.bind()
    surface = zero_level(field.sdf, head.bounds, RESOLUTION).largest_component().scaled(UNIT_MM)
    made = TemplateHead.of(head, surface, template)
    skin = template.triangles[template.triangle_part == Part.SKIN]
    place = batch.template[0].double().numpy() * UNIT_MM
    foot = Surface(Mesh(template.vertices, skin)).closest(np.nan_to_num(place, nan=1e3))
    weights = barycentric(template.vertices[skin[foot.faces]], foot.points)
    known = batch.registered[0].numpy() & (foot.distances < OFF_MM) & (foot.points[:, 1] > LOWEST_MM)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(known))[:POINTS]
    here = (made.vertices[skin[foot.faces[chosen]]] * weights[chosen][..., None]).sum(1)
    away = np.linalg.norm(here - batch.points[0, chosen].double().numpy() * UNIT_MM, axis=1)
    pulled = pulled_back(head, place[chosen]).vertices - batch.points[0, chosen].double().numpy() * UNIT_MM
    middle = ((place[chosen] > FACE_MM[0]) & (place[chosen] < FACE_MM[1])).all(1)
    true = batch.landmarks[0].double().numpy() * UNIT_MM
    own = made.vertices[template.ibug68[[IBUG[key] for key in LANDMARK_NAMES]]]
    face = skin[_face(template)[skin].all(1)]
    return Measured(
        name, float(np.linalg.norm(own - true, axis=1).mean()), float(away[middle].mean()), float(away.mean()),
        float(np.linalg.norm(pulled, axis=1).mean()),
        flipped(made.vertices, face, head), _distance(made.vertices, face, head),
    )  # fmt: skip


def _face(template: Template) -> Bool[np.ndarray, "v"]:
    """Return which vertices are open skin of the face."""
    inside = (template.vertices > CORE_MM[0] * [1.3, 1.0, 1.0]) & (template.vertices < CORE_MM[1] * [1.3, 1.0, 1.0])
    return inside.all(1) & (template.trust > 0.99)


def flipped(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray, head: FittedHead) -> int:
    """Return how many triangles look against the gradient of a head's field."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    with torch.no_grad():
        at = head.bind().surface(torch.from_numpy(corners.mean(1) / UNIT_MM).float())
    return int(((normals * at.gradient.double().numpy()).sum(1) <= 0).sum())


def _distance(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray, head: FittedHead) -> float:
    points = np.concatenate([vertices[np.unique(faces)], vertices[faces].mean(1)])
    with torch.no_grad():
        at = head.bind().surface(torch.from_numpy(points / UNIT_MM).float())
    return float((at.sdf.abs() / at.gradient.norm(dim=1).clamp_min(0.1)).mean()) * UNIT_MM


def benchmark_topology(
    population: Path, *, heads: int = 3, prior: Path | None = None, quiet: bool = False
) -> Sequence[Measured]:
    """Measure some held-out heads of each split of a population, and print a table.

    Raises:
        InputError: the folder is no population, or the prior's file is none.
    """
    choose_device("cpu")
    loaded, template = Prior.load(prior), Template.load()
    manifest = read_manifest(population)
    splits = [split for split in SPLITS if manifest.heads.get(split)]
    rows = []
    with progress("laying the template onto held-out heads", heads * len(splits), quiet=quiet) as step:
        for split in splits:
            people = Population(population, split)
            for number in range(min(heads, len(people))):
                rows.append(measure(f"{split} {number}", people.samples(number), loaded, template))
                step(1)
    print(table(rows))
    return rows


def table(rows: Sequence[Measured]) -> str:
    """Return the table of some heads with their mean."""
    lines = [f"{'head':<22}{'landmarks':>10}{'face':>7}{'skin':>7}{'pulled':>8}{'flipped':>9}{'to surface':>12}   mm"]
    for row in rows:
        lines.append(
            f"{row.name:<22}{row.landmarks_mm:>10.2f}{row.face_mm:>7.2f}{row.points_mm:>7.2f}{row.pulled_mm:>8.2f}"
            f"{row.flipped:>9}{row.distance_mm:>12.3f}"
        )
    kinds = ("landmarks_mm", "face_mm", "points_mm", "distance_mm")
    means = [float(np.mean([getattr(row, kind) for row in rows])) for kind in kinds]
    turned = sum(row.flipped for row in rows)
    lines.append(
        f"means: landmarks {means[0]:.2f} <= {GOALS['landmarks']:g}, face {means[1]:.2f} and skin {means[2]:.2f} <= "
        f"{GOALS['points']:g}, to the surface {means[3]:.3f} <= {GOALS['distance']:g}, flipped {turned}"
    )
    return "\n".join(lines)
