"""A synthetic person for tests: a head drawn from the shipped prior, and photos of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from protome.evaluate.metrics import compare
from protome.face import NOSE_TIP
from protome.field.field import Field
from protome.field.head import HeadField, HeadFieldConfig
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.meshing.extract import extract_mesh
from protome.preview import coloured_view
from protome.prior.prior import HeadLatents, LatentStatistics, Prior
from protome.render.cast import cast
from protome.scene import Scene, View
from protome.training.train import started_from
from protome.units import UNIT_MM


@dataclass(frozen=True)
class Person:
    """A head that is known exactly."""

    prior: Prior
    latents: HeadLatents
    field: Field
    mesh: Mesh
    """Head frame, inner units."""

    def face(self) -> np.ndarray:
        """The mesh's vertices in front of the ears and above the chin, inner units."""
        low, high = np.array([-60, -85, -35]) / UNIT_MM, np.array([60, 50, 200]) / UNIT_MM
        inside = ((self.mesh.vertices > low) & (self.mesh.vertices < high)).all(1)
        return self.mesh.vertices[inside & (self.mesh.normals[:, 2] > 0.2)]  # type: ignore[index]

    def face_error_mm(self, other: Mesh) -> float:
        """Mean distance from the true face to the vertices of a dense head mesh in the same frame and unit."""
        return float(cKDTree(other.vertices).query(self.face())[0].mean()) * UNIT_MM

    def aligned_face_error_mm(self, other: Mesh) -> float:
        """Mean distance of the true face (95 mm around the nose) from a head, aligned rigidly as in the benchmark."""
        nose = self.prior.landmarks_of(self.prior.field, self.latents)[NOSE_TIP].double().numpy() * UNIT_MM
        found = compare(other.scaled(UNIT_MM), self.mesh.scaled(UNIT_MM), nose_tip=nose, samples=3000)
        return found.face.to_prediction.mean


PRIOR = Path(__file__).parent / "prior.safetensors"
"""A prior of 1,200 people without expressions, so that the tests' people stay the same when another prior ships."""


def draw_person(seed: int, resolution: int = 128, temperature: float = 1.0, prior: Prior | None = None) -> Person:
    """Return a random person of a prior; without one, of the tests' own."""
    prior = prior or Prior.load(PRIOR)
    latents = prior.sample(torch.Generator().manual_seed(seed), temperature)
    field = prior.bind(latents)
    return Person(prior, latents, field, extract_mesh(field, prior.bounds, resolution))


def small_prior(seed: int = 0) -> Prior:
    """Return an untrained prior that is quick to ask: lumpy balls in all colours, displaced by centimetres."""
    torch.manual_seed(seed)
    config = HeadFieldConfig(
        latent=6, feature=4, deformation_width=24, deformation_depth=3, deformation_frequencies=1, reference_width=32,
        reference_depth=3, reference_frequencies=2, renderer_width=16, renderer_depth=2, renderer_frequencies=2,
        view_frequencies=1, centre=(0.0, -0.2, -0.4), radius=0.5,
    )  # fmt: skip
    field = HeadField(config).requires_grad_(False)
    field.shape_network.last.weight.normal_(std=0.05)
    field.renderer.last.weight.normal_()
    generator = torch.Generator().manual_seed(seed)
    shape, appearance = (LatentStatistics.of(0.2 * torch.randn(20, 6, generator=generator)) for _ in range(2))
    landmarks = torch.tensor(
        [
            [-0.1, -0.1, 0.05],
            [0.1, -0.1, 0.05],
            [0.0, -0.2, 0.1],
            [0.0, -0.25, 0.1],
            [-0.1, -0.4, 0.0],
            [0.1, -0.4, 0.0],
        ]
    )
    bounds = torch.tensor([[-0.9, -1.1, -1.2], [0.9, 0.6, 0.4]])
    return Prior(field, shape, appearance, landmarks, bounds, torch.zeros(6, 6))


def photograph(person: Person, azimuths: tuple[float, ...], size: int, world_from_head: Similarity) -> Scene:
    """Return photos from around the head, posed in a world frame; the scene knows where the head is."""
    views = []
    for number, azimuth in enumerate(azimuths):
        angle = torch.deg2rad(torch.tensor(azimuth))
        target = torch.tensor([0.0, -0.15, -0.3])
        centre = target + 4.5 * torch.stack([torch.sin(angle), torch.tensor(0.05), torch.cos(angle)])
        camera = Camera.look_at(centre, target, 2.6 * size, size, size)
        image = torch.from_numpy(coloured_view(person.mesh, person.field, camera)[0]).float()
        mask = torch.zeros(size * size)
        mask[cast(person.mesh, camera).pixel] = 1.0
        posed = camera.transformed(world_from_head)
        views.append(View(f"{number:03d}.png", image, mask.reshape(size, size), posed))
    return Scene(tuple(views), world_from_head.inverse())


def some_world() -> Similarity:
    """Return a world frame that is turned, moved and scaled against the head's inner frame."""
    return Similarity(
        rotation_from_vector(torch.tensor([0.4, -1.1, 0.7])), torch.tensor([3.0, -2.0, 1.0]), torch.tensor(2.5)
    )


NAMES = ("jawOpen", "mouthSmile_L")
STRENGTH = 2.5
"""Standard deviations of the shape that a coefficient of 1 stands for."""


def without_expressions(prior: Prior) -> Prior:
    """Return a prior's neutral heads as a prior that has no expressions."""
    field = HeadField(replace(prior.field.config, expression=()))
    own, known = field.state_dict(), prior.field.state_dict()
    field.load_state_dict({name: known[name][tuple(map(slice, value.shape))] for name, value in own.items()})
    return replace(prior, field=field.requires_grad_(False), expression=None, people=None)


def with_expressions(prior: Prior, kept: int = 40) -> Prior:
    """Return a prior whose first two axes of shape have become expressions, and whose people differ along `kept` more.

    So people without an expression, and what an expression does to them, are known exactly.
    """
    plain = without_expressions(prior)
    latent = plain.field.config.latent
    field = HeadField(replace(plain.field.config, expression=NAMES, expression_width=2))
    field = started_from(plain.field, field).requires_grad_(False)
    moves = STRENGTH * prior.shape.axes[:2]
    assert field.deformation is not None
    assert field.expression is not None
    field.expression.weight.copy_(torch.eye(2))
    for layer in (field.deformation.condition, field.deformation.steering):
        assert layer is not None
        layer.weight[:, latent:] = layer.weight[:, :latent] @ moves.T
    shape = LatentStatistics(prior.shape.mean, prior.shape.axes[2 : 2 + kept])
    expression = LatentStatistics(torch.zeros(2), 0.4 * torch.eye(2))
    cross = torch.zeros(kept, len(prior.appearance.axes))
    return replace(prior, field=field, shape=shape, expression=expression, cross_covariance=cross, people=None)
