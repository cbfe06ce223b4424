"""What a fitted head leaves unexplained of each photo: landmarks beside their places, and another outline."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.encoder.observed import observed_landmarks
from protome.errors import ProtomeWarning
from protome.fit.rays import pixel_table
from protome.fit.reconstruct import FitResult
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.landmarks import landmark_places
from protome.prior.prior import FittedHead
from protome.scene import Scene, View
from protome.units import UNIT_MM

SIZE = 160
"""Pixels of the longer side of the windows in which outlines are compared."""
MOST_MM, LEAST_IOU = 8.0, 0.8
"""Limits of good fits, far beyond what is left of photos that show a person's head as it is:
`python benchmarks/checks.py --results DIR` prints both of a folder of results, beside these limits."""


@dataclass(frozen=True)
class PhotoResidual:
    """What one photo shows otherwise than the fitted head."""

    landmarks_mm: float | None
    """Weighted mean distance, at the head, of the photo's landmarks from their places on the head; None without any."""
    outline_iou: float | None
    """Intersection over union of the head's silhouette and the photo's mask, as far as the fit models the person; None
    where the mask is empty."""

    def facts(self) -> dict[str, float | None]:
        """Return what result.json says of it."""
        return {
            "landmarks_mm": None if self.landmarks_mm is None else round(self.landmarks_mm, 2),
            "outline_iou": None if self.outline_iou is None else round(self.outline_iou, 4),
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is beyond the limits of good fits, in words."""
        found = []
        if self.landmarks_mm is not None and self.landmarks_mm > MOST_MM:
            found.append(f"landmarks {self.landmarks_mm:.1f} mm beside the head's, good fits below {MOST_MM:g}")
        if self.outline_iou is not None and self.outline_iou < LEAST_IOU:
            found.append(f"outlines overlap by {self.outline_iou:.2f}, in good fits by {LEAST_IOU:g} and more")
        return tuple(found)


def checked_residuals(
    fit: FitResult, views: Sequence[View], cameras: Sequence[Camera], mesh: Mesh
) -> tuple[PhotoResidual, ...]:
    """Return the residual of each photo of a fit, and warn of those beyond the limits of good fits.

    `cameras` are the photos' after the fit, posed in the head frame, and `mesh` is the surface, inner units.
    """
    placed = tuple(replace(view, camera=camera) for view, camera in zip(views, cameras, strict=True))
    scene = Scene(placed, Similarity.identity())
    heads = [fit.head]
    if fit.expressions is not None:
        heads = [replace(fit.head, latents=replace(fit.head.latents, z_expression=own)) for own in fit.expressions]
    residuals = photo_residuals(scene, heads, mesh)
    warn_of_residuals(scene, residuals)
    return residuals


def photo_residuals(scene: Scene, heads: Sequence[FittedHead], mesh: Mesh) -> tuple[PhotoResidual, ...]:
    """Return the residual of each photo of a scene in the head frame, inner units.

    `heads` are one for all photos or one for each, on the processor; `mesh` is the head's surface, for the silhouettes.
    """
    each = heads if len(heads) > 1 else list(heads) * len(scene.views)
    outlines = _outlines(scene, mesh, heads[0].bounds)
    return tuple(
        PhotoResidual(_landmarks_mm(view, head), outline)
        for view, head, outline in zip(scene.views, each, outlines, strict=True)
    )


def warn_of_residuals(scene: Scene, residuals: Sequence[PhotoResidual]) -> None:
    """Warn of photos that the head does not explain, one `ProtomeWarning` for each."""
    for view, own in zip(scene.views, residuals, strict=True):
        if own.remarks:
            warnings.warn(
                f"the head does not fit {view.name} ({'; '.join(own.remarks)}): check that it shows the same person, "
                "uncovered, and that its camera is its own",
                ProtomeWarning,
                stacklevel=2,
            )


@torch.no_grad()
def _landmarks_mm(view: View, head: FittedHead) -> float | None:
    seen = observed_landmarks(view, head.field.centre.detach().cpu().double(), mesh=True)
    known = landmark_places()
    used = torch.isfinite(known).all(1) & (seen.precision > 0)
    if not used.any():
        return None
    condition = head.latents.condition(head.field)
    places = head.field.placed((known[used] / UNIT_MM).float(), condition).double()
    camera = view.camera.to(torch.float64)
    depths = camera.to_camera(places)[:, 2]
    off = (camera.project(places) - seen.pixels[used]).norm(dim=1) * depths / camera.focal * UNIT_MM
    weights = seen.precision[used]
    return float((weights * off).sum() / weights.sum())


def _outlines(scene: Scene, mesh: Mesh, bounds: Float[Tensor, "2 3"]) -> list[float | None]:
    table = pixel_table(scene, bounds, SIZE)
    counts = table.decided & (table.weight > 0)
    caster = RayMeshIntersector(Mesh(mesh.vertices, mesh.faces).to_trimesh())
    hit = torch.from_numpy(
        caster.intersects_any(table.rays.origins.double().numpy(), table.rays.directions.double().numpy())
    )
    return [
        intersection_over_union((table.mask > 0.5)[own], hit[own])
        for number in range(len(scene.views)) for own in [counts & (table.view == number)]
    ]  # fmt: skip


def intersection_over_union(first: Bool[Tensor, "n"], second: Bool[Tensor, "n"]) -> float | None:
    """Return the overlap of two sets of pixels; None where the first is empty."""
    if not first.any():
        return None
    return float((first & second).sum() / (first | second).sum())
