"""The encoder: features with known values, the regression on synthetic people, and the shipped file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from heads import draw_person, photograph, small_prior
from protome.capture.posed import locate_head
from protome.encoder.encoder import Encoder, LatentEstimate
from protome.encoder.features import CELLS, EYE_RIMS, MIDDLE_MM, SPAN_MM, PhotoFeatures, measure_photo
from protome.errors import InputError
from protome.fit.config import FitConfig, Schedule, Weights
from protome.fit.methods import method
from protome.fit.reconstruct import fit_head, new_fit
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import CameraEstimate, Scene, View
from protome.training.encoder import draw_camera, example
from protome.units import UNIT_MM

INNER = Similarity.scaling(1 / UNIT_MM)
"""The inner head frame from the head frame in millimetres."""


def mean_face() -> Tensor:
    """The mean face's 468 landmarks and ten points where its irises are, millimetres."""
    face = load_face_landmarks().positions
    return torch.cat([face, *(face[list(rim)].mean(0).expand(5, 3) for rim in EYE_RIMS)])


def camera(across: float, up: float, roll: float = 0.0, distance: float = 900.0, size: int = 300) -> Camera:
    """A camera that looks at the middle of a head; degrees and millimetres."""
    across, up, roll = (math.radians(angle) for angle in (across, up, roll))
    away = torch.tensor([math.sin(across) * math.cos(up), math.sin(up), math.cos(across) * math.cos(up)]).double()
    middle = torch.tensor(MIDDLE_MM).double()
    upright = Camera.look_at(middle + distance * away, middle, 1.3 * size * distance / SPAN_MM, size, size)
    turn = torch.eye(4).double()
    turn[:3, :3] = rotation_from_vector(torch.tensor([0.0, 0.0, roll]).double())
    return replace(upright, T_world_camera=upright.T_world_camera @ turn)


def view_of(points: Tensor, by: Camera, image: Tensor | None = None) -> View:
    """A view of these points as landmarks."""
    image = torch.zeros(by.height, by.width, 3) if image is None else image
    return View("made up", image, image[..., 0], by, by.project(points.double()).float())


def test_the_mean_face_has_no_offsets() -> None:
    features = measure_photo(view_of(mean_face(), camera(20, -8)), INNER)
    assert float(features.landmarks.abs().max()) < 1e-3


def test_landmarks_are_measured_in_millimetres_beside_the_mean_face() -> None:
    by = camera(25, 5)
    right, down = by.T_world_camera[:3, 0].float(), by.T_world_camera[:3, 1].float()
    moved = mean_face()
    moved[4] += 3.0 * right
    moved[152] -= 7.0 * down
    found = measure_photo(view_of(moved, by), INNER).landmarks
    assert found[4].tolist() == pytest.approx([3.0, 0.0], abs=1e-3)
    assert found[152].tolist() == pytest.approx([0.0, -7.0], abs=1e-3)
    assert float(found[[0, 1, 473]].abs().max()) < 1e-3


def test_a_turned_and_scaled_world_changes_nothing() -> None:
    by, world = (
        camera(-15, 10),
        Similarity(rotation_from_vector(torch.tensor([0.4, -1.0, 0.2])), torch.ones(3), 3.0 * torch.ones(())),
    )
    view = view_of(
        mean_face() + 2 * torch.randn(478, 3, generator=torch.Generator().manual_seed(0)), by, torch.rand(300, 300, 3)
    )
    moved = replace(view, camera=by.transformed(world.to(torch.float64)))
    one, two = measure_photo(view, INNER), measure_photo(moved, INNER.compose(world.inverse()))
    for key in vars(one):
        assert torch.allclose(getattr(one, key), getattr(two, key), atol=2e-3), key


@pytest.mark.parametrize(
    ("across", "up", "roll"), [(30.0, 0.0, 0.0), (0.0, 12.0, 0.0), (-20.0, -9.0, 0.0), (0.0, 0.0, 15.0)]
)
def test_features_hold_the_cameras_pose(across: float, up: float, roll: float) -> None:
    by = camera(across, up, roll)
    pose = measure_photo(view_of(mean_face(), by), INNER).pose
    assert torch.rad2deg(pose[:2]).tolist() == pytest.approx([across, up], abs=1e-3)
    assert abs(float(torch.rad2deg(pose[2]))) == pytest.approx(roll, abs=1e-3)
    assert float(pose[3]) == pytest.approx(1000 / float(by.centre.norm()), rel=1e-6)


def test_cells_show_what_lies_in_them() -> None:
    """An image whose colours are its own coordinates: each cell's colour gives the place that it shows."""
    by = camera(15, 5, size=400)
    pixels = by.pixels().reshape(400, 400, 2).float() / 400
    view = view_of(mean_face(), by, torch.cat([pixels, pixels[..., :1]], 2))
    features = measure_photo(replace(view, mask=torch.ones(400, 400)), INNER)
    steps = ((torch.arange(CELLS) + 0.5) / CELLS - 0.5) * SPAN_MM
    axes = by.T_world_camera[:3, :3].float()
    for row, column in ((24, 24), (10, 30), (40, 15)):
        point = torch.tensor(MIDDLE_MM) + steps[column] * axes[:, 0] + steps[row] * axes[:, 1]
        wanted = by.project(point.double()[None])[0] / 400
        assert features.colours[row, column, :2].tolist() == pytest.approx(wanted.tolist(), abs=2e-3)
        assert float(features.outline[row, column]) == 1
    behind = measure_photo(replace(view, mask=(pixels[..., 0] > 0.5).float()), INNER)
    assert behind.outline[24, 10] == 0
    assert behind.colours[24, 10].tolist() == [0, 0, 0]
    assert torch.allclose(behind.colours[24, 40], features.colours[24, 40])


def synthetic_people(count: int, each: int) -> tuple[list[PhotoFeatures], tuple[Tensor, Tensor], Tensor, Tensor]:
    """People whose landmarks are linear in their first two coefficients.

    The third is a quadratic function of the first; all others are independent of the features.
    """
    draw = torch.Generator().manual_seed(0)
    shape, appearance = (torch.randn(count, 6, generator=draw) for _ in range(2))
    directions = torch.randn(2, 478, 2, generator=draw)
    shape[:, 2] = (shape[:, 0].square() - 1) / 2**0.5
    people = torch.arange(count).repeat_interleave(each)
    features, blank = [], torch.zeros(CELLS, CELLS)
    for person in people.tolist():
        landmarks = torch.einsum("k,kij->ij", shape[person, :2], directions)
        landmarks = landmarks + 0.05 * torch.randn(478, 2, generator=draw)
        pose = torch.randn(4, generator=draw)
        features.append(PhotoFeatures(landmarks, blank, blank[..., None].expand(-1, -1, 3), pose))
    places = 0.1 * torch.randn(len(people), 6, generator=draw)
    places[:, 0] = 0.05 * shape[people, 1]
    return features, (shape[people], appearance[people]), places, people


@pytest.fixture(scope="module")
def trained() -> tuple[Encoder, Prior]:
    prior = small_prior()
    return Encoder.of(*synthetic_people(300, 2), prior), prior


def test_only_what_depends_on_the_features_is_predicted(trained: tuple[Encoder, Prior]) -> None:
    encoder, _ = trained
    spread = encoder.shape_spread.square().sum(0)
    assert float(spread[:2].max()) < 0.2
    assert float(spread[2]) < 0.8
    assert float(spread[3:].min()) > 0.8
    assert float(encoder.appearance_spread.square().sum(0).min()) > 0.8
    features, (shape, appearance), places, _ = synthetic_people(300, 2)
    predicted = encoder.predicted(features)
    for truth, found in (
        (shape[:, 0], predicted[:, 0]),
        (shape[:, 1], predicted[:, 1]),
        (places[:, 0], predicted[:, 12]),
    ):
        assert float((truth - found).square().mean() / truth.var()) < 0.2
    # Noise is not overfitted.
    assert float((appearance - predicted[:, 6:12]).square().mean()) > 0.7


def test_an_outlier_photo_gives_the_mean_head(trained: tuple[Encoder, Prior]) -> None:
    encoder, _ = trained
    features, (shape, _), *_ = synthetic_people(300, 2)
    strange = replace(features[0], landmarks=features[0].landmarks + 500.0)
    assert torch.allclose(encoder.predicted([strange])[0, :6], shape.mean(0), atol=1e-3)


def test_an_estimate_places_the_head_and_narrows_the_prior(trained: tuple[Encoder, Prior]) -> None:
    encoder, prior = trained
    view = view_of(mean_face(), camera(10, 0))
    scene = Scene((view,), INNER)
    estimate = encoder.estimate(scene, prior)
    assert estimate is not None
    predicted = encoder.predicted([measure_photo(view, INNER)])[0]
    assert torch.allclose(estimate.shape.mean, prior.shape.latent(predicted[:6]))
    wanted = prior.shape.axes.T @ (encoder.shape_spread.T @ encoder.shape_spread) @ prior.shape.axes
    assert torch.allclose(estimate.shape.axes.T @ estimate.shape.axes, wanted, atol=1e-6)
    rotation, shift = rotation_from_vector(predicted[12:15]), predicted[15:]
    point = torch.tensor([[0.2, -0.1, 0.3]])
    moved = estimate.placed(scene).head_from_world.apply(UNIT_MM * point)
    assert torch.allclose(moved, point @ rotation.T + shift, atol=1e-6)


def test_photos_with_frames_of_their_own_are_each_placed(trained: tuple[Encoder, Prior]) -> None:
    encoder, prior = trained
    draw = torch.Generator().manual_seed(1)
    views = [view_of(mean_face() + 3 * torch.randn(478, 3, generator=draw), camera(angle, 0)) for angle in (-30, 0, 25)]
    views.append(replace(views[0], landmarks=None))
    scene = Scene(tuple(views), INNER)
    estimate = encoder.estimate(scene, prior)
    assert estimate is not None
    predicted = encoder.predicted([measure_photo(view, INNER) for view in views[:3]])
    assert torch.allclose(estimate.shape.mean, prior.shape.latent(predicted[:, :6].mean(0)), atol=1e-6)
    placed = estimate.placed(scene)
    assert placed.head_from_world is scene.head_from_world
    point = torch.tensor([[10.0, -20.0, 15.0]])
    for number in range(3):
        # A camera's image of the moved head is the moved camera's image of the head.
        rotation, shift = rotation_from_vector(predicted[number, 12:15]), predicted[number, 15:] * UNIT_MM
        where = (point - shift) @ rotation
        wanted = views[number].camera.project(where.double())
        assert torch.allclose(placed.views[number].camera.project(point).double(), wanted, atol=0.02)
    assert torch.allclose(placed.views[3].camera.T_world_camera, views[3].camera.T_world_camera.float())


def test_a_scene_without_a_face_gives_no_estimate(trained: tuple[Encoder, Prior]) -> None:
    encoder, prior = trained
    scene = Scene((replace(view_of(mean_face(), camera(0, 0)), landmarks=None),), INNER)
    assert encoder.estimate(scene, prior) is None


def test_an_encoder_serves_its_own_prior_alone(trained: tuple[Encoder, Prior]) -> None:
    encoder, prior = trained
    assert encoder.belongs_to(prior)
    other = small_prior(seed=1)
    assert not encoder.belongs_to(other)
    with pytest.raises(ValueError, match="another prior"):
        encoder.estimate(Scene((view_of(mean_face(), camera(0, 0)),), INNER), other)


def test_a_saved_encoder_predicts_the_same(trained: tuple[Encoder, Prior], tmp_path: Path) -> None:
    encoder, prior = trained
    encoder.save(tmp_path / "own.safetensors")
    again = Encoder.load(tmp_path / "own.safetensors")
    features = synthetic_people(300, 2)[0][:20]
    assert torch.allclose(encoder.predicted(features), again.predicted(features), atol=0.02)
    assert again.belongs_to(prior)


def test_files_that_are_no_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Encoder.load(tmp_path / "none.safetensors")
    small_prior().save(tmp_path / "prior.safetensors")
    with pytest.raises(InputError, match="of another kind"):
        Encoder.load(tmp_path / "prior.safetensors")
    (tmp_path / "text.safetensors").write_text("no encoder")
    with pytest.raises(InputError, match="cannot be read"):
        Encoder.load(tmp_path / "text.safetensors")


def test_the_shipped_encoder_is_closer_than_the_mean_head() -> None:
    """On rendered people of the prior, with detected landmarks."""
    encoder, prior = Encoder.load(), Prior.load()
    assert encoder.belongs_to(prior)
    people = [draw_person(seed, 96, 0.8, prior=Prior.load()) for seed in range(4)]
    errors = []
    for person in people:
        # The head's pose comes from its landmarks and is not given.
        scene = locate_head(photograph(person, (10.0,), 320, Similarity.scaling(UNIT_MM)).views, "mm")
        estimate = encoder.estimate(scene, prior)
        assert isinstance(estimate, LatentEstimate)
        points = torch.from_numpy(person.mesh.vertices).float()
        rows = [
            prior.field.bind(latents, prior.appearance.mean).sdf(points)
            for latents in (estimate.shape.mean, prior.shape.mean)
        ]
        errors.append([float(row.abs().mean()) for row in rows])
    estimated, mean = torch.tensor(errors).mean(0).tolist()
    assert estimated < 0.85 * mean


def test_only_photos_whose_cameras_do_not_fix_the_scale_get_an_estimate() -> None:
    views = tuple(view_of(mean_face(), camera(angle, 0)) for angle in (-20, 15))
    prior, one, two = Prior.load(), Scene(views[:1], INNER), Scene(views, INNER)
    ours = method("sira++")
    assert ours.estimate(one, prior) is not None
    assert ours.estimate(replace(one, posed=False), prior) is not None
    assert ours.estimate(replace(two, posed=False), prior) is not None
    assert ours.estimate(two, prior) is None
    assert method("sira").estimate(one, prior) is None
    # Cameras that were found from the photos know each other, but show less of the head than given ones.
    found = CameraEstimate((0.1, 0.1), (0.02, 0.02))
    together = ours.estimate(replace(two, estimate=found), prior)
    assert together is not None
    assert all(torch.equal(own.matrix(), torch.eye(4).double()) for own in together.corrections)
    many = Scene(views * 3, INNER, estimate=CameraEstimate((0.1,) * 6, (0.02,) * 6))
    assert ours.estimate(many, prior) is None


def test_a_fit_starts_at_the_estimate_and_is_regularised_to_it() -> None:
    person = draw_person(2, 64, 0.7, prior=Prior.load())
    scene = photograph(person, (5.0,), 64, Similarity.identity())
    spread = 0.3 * torch.eye(len(person.prior.shape.axes))
    wanted = torch.zeros(len(spread))
    wanted[0] = 1.5
    predicted = LatentStatistics(person.prior.shape.latent(wanted), spread @ person.prior.shape.axes)
    estimate = LatentEstimate(predicted, person.prior.appearance, (Similarity.identity(torch.float64),))
    config = FitConfig(size=64, rays=64, schedule=Schedule({1: 3}, {1: 0}, colours=0))
    found = {
        weight: fit_head(
            scene, person.prior, replace(config, weights=Weights(estimated={1: weight})), estimate=estimate, quiet=True
        )
        for weight in (0.1, 1000.0)
    }
    coefficients = {
        weight: person.prior.shape.coefficients(fit.head.latents.z_shape[None])[0] for weight, fit in found.items()
    }
    # Three steps of 0.05 standard deviations of the estimate, each of which is 0.3 of the prior's.
    assert float((coefficients[0.1] - wanted).abs().max()) <= 3 * 0.05 * 0.3 + 1e-3
    free, held = ((coefficients[weight] - wanted).norm() for weight in (0.1, 1000.0))
    assert float(held) < 0.8 * float(free)


def test_regularisation_to_an_estimate_is_stronger_than_to_the_mean_and_weaker_with_more_photos() -> None:
    person = draw_person(2, 64, 0.7, prior=Prior.load())
    one, three = (photograph(person, azimuths, 64, Similarity.identity()) for azimuths in ((5.0,), (0.0, 40.0, -40.0)))
    estimate = LatentEstimate(person.prior.shape, person.prior.appearance, ())
    config = FitConfig(size=64, weights=Weights(latents=0.01, estimated={1: 0.1, 2: 0.02}, together=0.002))
    weights = [
        new_fit(scene, person.prior, config, estimate=start).latent_weight
        for scene, start in ((one, None), (one, estimate), (replace(three, posed=False), estimate), (three, estimate))
    ]
    assert weights == [0.01, 0.1, 0.02, 0.002]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_face_lies_where_training_photos_place_it(seed: int) -> None:
    """Cropped, and with a wrong focal length: the mean face's pose correction is zero."""
    by = draw_camera(np.random.default_rng(seed))
    found = example(view_of(mean_face(), by), np.random.default_rng(seed))
    assert found is not None
    features, place = found
    assert float(place.abs().max()) < 1e-4
    assert float(features.landmarks.norm(dim=1).mean()) < 2.5


def test_a_turned_face_has_its_rotation_as_correction() -> None:
    """Landmarks of a head turned by 10 degrees, labelled as straight: its frame is off by as much."""
    by, turn = camera(0, 0, size=384), rotation_from_vector(torch.tensor([0.0, math.radians(10), 0.0]))
    random = np.random.default_rng(3)
    found = example(view_of(mean_face() @ turn.T, by), random)
    assert found is not None
    assert torch.rad2deg(found[1][:3]).tolist() == pytest.approx([0, 10, 0], abs=0.3)
