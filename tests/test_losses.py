"""Loss terms, schedules, placements and the pixel table: hand-made numbers with the answer worked out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from protome import losses
from protome.fit.placement import Placement
from protome.fit.rays import PixelTable, head_window, pixel_table
from protome.fit.schedule import mask_sharpness, passed, rate_factor
from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.scene import Scene, View


def _close(value: Tensor, truth: float) -> None:
    torch.testing.assert_close(value, torch.tensor(truth), rtol=1e-5, atol=2e-6)


# Loss terms


def test_distance_is_the_mean_absolute_difference() -> None:
    sdf = torch.tensor([[-0.1, 0.3]])
    _close(losses.distance(sdf), 0.2)
    _close(losses.distance(sdf, torch.tensor([[0.1, 0.6]])), 0.25)


def test_eikonal_is_the_mean_squared_distance_from_unit_length() -> None:
    gradient = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.eikonal(gradient)
    _close(loss, (4**2 + 0 + 1) / 3)
    loss.backward()
    # d/dg of (|g| - 1)^2 / 3 is 2 (|g| - 1) g / |g| / 3; at a vanishing gradient it has to be finite.
    torch.testing.assert_close(gradient.grad, torch.tensor([[1.6, 32 / 15, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_normal_is_one_minus_the_cosine_at_any_length() -> None:
    truth = torch.tensor([[0.0, 0.0, 1.0]]).expand(4, 3)
    slant = math.radians(60)
    gradient = torch.tensor([[0, 0, 2.0], [0, 0, -0.3], [5.0, 0, 0], [3 * math.sin(slant), 0, 3 * math.cos(slant)]])
    _close(losses.normal(gradient, truth), (0 + 2 + 1 + 0.5) / 4)


def test_deformation_penalises_large_and_biased_displacements() -> None:
    balanced = torch.tensor([[0.3, 0.4, 0.0], [-0.3, -0.4, 0.0]])
    shifted = torch.tensor([[0.3, 0.4, 0.0], [0.3, 0.4, 0.0]])
    _close(losses.deformation(balanced[None]), 0.5)
    _close(losses.deformation(shifted[None]), 0.5 + 0.5)
    # The mean is taken within each scene: opposite shifts of two scenes do not cancel.
    _close(losses.deformation(torch.stack([shifted, -shifted])), 1.0)
    _close(losses.deformation(torch.stack([balanced, shifted])), 0.75)


def test_landmark_adds_over_landmarks_and_averages_over_pairs() -> None:
    first = torch.zeros(2, 3)
    second = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    third = torch.tensor([[3.0, 4.0, 2.0], [0.0, 0.0, 1.0]])
    pairs = [5 + 1, math.sqrt(29) + 1, 2 + 0]
    _close(losses.landmark(torch.stack([first, second])), 6.0)
    _close(losses.landmark(torch.stack([first, second, third])), sum(pairs) / 3)


def test_landmark_of_a_single_scene_is_nothing() -> None:
    assert float(losses.landmark(torch.rand(1, 6, 3))) == 0.0


def test_registration_averages_registered_points_of_each_scene_and_then_scenes() -> None:
    reference = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0], [9.0, 9.0, 9.0]]]).repeat(3, 1, 1)
    template = torch.zeros(3, 3, 3)
    registered = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    _close(losses.registration(reference, template, registered), ((5 + 1) / 2 + 5 + 0) / 3)
    # At its place a point pulls nowhere, and a point without a place never does.
    moving = reference.clone().requires_grad_(True)
    losses.registration(moving, reference * registered[..., None], registered).backward()
    assert moving.grad is not None
    assert float(moving.grad.abs().max()) == 0


def test_colour_adds_channels_and_averages_points() -> None:
    predicted = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    _close(losses.colour(predicted, torch.tensor([[0.2, 0.0, 0.3], [0.5, 0.5, 0.0]])), (0.3 + 0.5) / 2)


def test_embedding_is_the_mean_squared_length() -> None:
    _close(losses.embedding(torch.tensor([[3.0, 4.0], [1.0, 0.0]])), (25 + 1) / 2)


def test_photometric_divides_by_the_rays_of_the_whole_batch() -> None:
    predicted = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    _close(losses.photometric(predicted, torch.tensor([[0.2, 0.0, 0.3], [0.5, 0.5, 0.0]]), 10), 0.8 / 10)
    _close(losses.photometric(torch.zeros(0, 3), torch.zeros(0, 3), 10), 0.0)


def test_silhouette_is_the_cross_entropy_of_a_soft_mask() -> None:
    beta, lowest = 50.0, torch.tensor([0.0, 0.1, 0.1, -0.02])
    mask = torch.tensor([1.0, 1.0, 0.0, 0.25])

    def entropy(inside: float, wanted: float) -> float:
        return -wanted * math.log(inside) - (1 - wanted) * math.log(1 - inside)

    chances = [1 / (1 + math.exp(beta * value)) for value in lowest.tolist()]
    truth = sum(entropy(p, m) for p, m in zip(chances, mask.tolist(), strict=True)) / (beta * 8)
    _close(losses.silhouette(lowest, mask, beta, 8), truth)
    _close(losses.silhouette(lowest[:2], mask[:2] > 0.5, beta, 1), (math.log(2) + math.log1p(math.exp(5))) / beta)
    # A person's ray that misses by far is pulled in at a constant rate, whatever beta.
    far = torch.tensor([0.9], requires_grad=True)
    losses.silhouette(far, torch.ones(1), 1600.0, 1).backward()
    assert far.grad is not None
    _close(far.grad[0], 1.0)


# Schedules


def test_mask_sharpness_doubles_and_the_rate_halves_at_idrs_epochs() -> None:
    epochs = {0: (1, 1), 249: (1, 1), 250: (2, 1), 500: (4, 1), 750: (8, 1), 1000: (16, 0.5), 1250: (32, 0.5),
              1499: (32, 0.5), 1500: (32, 0.25), 2000: (32, 0.25)}  # fmt: skip
    for epoch, (sharper, slower) in epochs.items():
        assert mask_sharpness(epoch / 2000) == 50.0 * sharper, epoch
        assert rate_factor(epoch / 2000) == slower, epoch
    assert mask_sharpness(0.3, start=10.0) == 40.0
    assert [passed(done, (0.2, 0.4)) for done in (0.1, 0.2, 0.3, 0.9)] == [0, 1, 1, 2]


# Placements

PIVOT = torch.tensor([0.1, -0.2, -0.4])


def _placement(frames: int) -> Placement:
    placement = Placement(frames, PIVOT)
    with torch.no_grad():
        placement.rotation.normal_(std=0.5)
        placement.shift.normal_(std=0.2)
    return placement


def _rays(count: int) -> Rays:
    return Rays(torch.randn(count, 3), torch.nn.functional.normalize(torch.randn(count, 3), dim=1))


def test_placement_starts_as_the_identity() -> None:
    placement, rays, points = Placement(2, PIVOT), _rays(5), torch.randn(4, 3)
    moved = placement.move(rays, torch.tensor([0, 1, 0, 1, 1]))
    torch.testing.assert_close(moved.origins, rays.origins)
    torch.testing.assert_close(moved.directions, rays.directions)
    torch.testing.assert_close(placement.frame(1).apply(points), points)


def test_the_head_does_not_move_along_the_held_direction() -> None:
    ahead = torch.nn.functional.normalize(torch.tensor([0.2, -0.1, -1.0]), dim=0)
    placement = Placement(1, PIVOT, ahead)
    with torch.no_grad():
        placement.shift.copy_(torch.tensor([[0.3, 0.1, -0.7]]))
    moved = placement.frame(0).apply(PIVOT) - PIVOT
    torch.testing.assert_close(moved @ ahead, torch.zeros(()), atol=1e-6, rtol=0)
    across = placement.shift[0].detach() - (placement.shift[0].detach() @ ahead) * ahead
    torch.testing.assert_close(moved, across)
    rays = _rays(3)
    seen = placement.move(rays, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(seen.origins - rays.origins, across.expand(3, 3))


@pytest.mark.parametrize("frames", [1, 3])
def test_points_of_a_moved_ray_are_the_moved_points(frames: int) -> None:
    placement, rays = _placement(frames), _rays(9)
    view, depth = torch.arange(9) % 3, torch.rand(9) + 0.5
    moved = placement.move(rays, view)
    torch.testing.assert_close(moved.directions.norm(dim=1), torch.ones(9))
    for ray in range(9):
        frame = placement.frame(int(view[ray]) if frames > 1 else 0)
        torch.testing.assert_close(moved.at(depth)[ray], frame.apply(rays.at(depth)[ray]))


def test_a_moved_ray_hits_the_moved_sphere_at_the_same_depth() -> None:
    placement, centre = _placement(1), torch.tensor([0.0, 0.1, -0.3])
    origins = centre + torch.tensor([[0.0, 0.0, 2.0], [1.5, 0.2, 0.1]])
    rays = Rays(origins, torch.nn.functional.normalize(centre + 0.05 - origins, dim=1))

    def depth(own: Rays, middle: Tensor, radius: Tensor) -> Tensor:
        b = ((own.origins - middle) * own.directions).sum(1)
        return -b - (b**2 - (own.origins - middle).square().sum(1) + radius**2).sqrt()

    frame, moved = placement.frame(0), placement.move(rays, torch.zeros(2, dtype=torch.long))
    before = rays.at(depth(rays, centre, torch.tensor(0.5)))
    after = moved.at(depth(moved, frame.apply(centre), torch.tensor(0.5)))
    torch.testing.assert_close(after, frame.apply(before))


def test_placement_turns_about_its_pivot_and_keeps_sizes() -> None:
    placement = _placement(1)
    with torch.no_grad():
        placement.shift.zero_()
    frame, offset = placement.frame(0), torch.tensor([[0.3, -0.1, 0.2]])
    torch.testing.assert_close(frame.apply(PIVOT), PIVOT)
    stretch = (frame.apply(PIVOT + offset) - PIVOT).norm() / offset.norm()
    torch.testing.assert_close(stretch, torch.ones(()))


# Pixels

BOUNDS = torch.tensor([[-1.3, -1.35, -1.3], [1.3, 1.0, 0.5]])
HEAD_FROM_WORLD = Similarity(
    rotation_from_vector(torch.tensor([0.2, 0.5, -0.1])), torch.tensor([0.3, -0.2, 0.1]), torch.tensor(0.02)
)


def _view(head_camera: Camera, head_from_world: Similarity = HEAD_FROM_WORLD) -> View:
    """A view whose red and green are a pixel's coordinates, all of it on the person."""
    camera = head_camera.transformed(head_from_world.inverse())
    x, y = camera.pixels().reshape(camera.height, camera.width, 2).unbind(-1)
    image = torch.stack([x / camera.width, y / camera.height, torch.zeros_like(x)], -1)
    return View("a.png", image, torch.ones(camera.height, camera.width), camera)


def _front(width: int, height: int, focal: float, eye: tuple[float, float, float] = (0.0, 0.0, 6.0)) -> Camera:
    return Camera.look_at(torch.tensor(eye), torch.tensor([0.0, 0.0, -0.4]), focal, width, height)


def test_head_window_is_the_part_that_shows_the_volume() -> None:
    head_camera = _front(400, 300, 330.0, (0.4, 0.5, 6.0))
    view = _view(head_camera)
    window = head_window(view.transformed(HEAD_FROM_WORLD), BOUNDS, 64)
    assert max(window.mask.shape) == 64
    assert window.image.shape == (*window.mask.shape, 3) == (window.camera.height, window.camera.width, 3)
    # The corners of the volume, drawn in by 8 % because a head does not fill them, just fit.
    corners = torch.cartesian_prod(*BOUNDS.T) * 0.92
    spot = window.camera.project(corners)
    whole = head_camera.project(corners)
    size = torch.tensor([window.camera.width, window.camera.height])
    pixel = 64 / (whole.amax(0) - whole.amin(0)).max()
    assert bool((spot > -1e-2).all())
    assert bool((spot < size + 1e-2).all())
    assert bool((spot.amin(0) < pixel + 1e-2).all())
    assert bool((spot.amax(0) > size - pixel - 1e-2).all())


def test_head_window_keeps_the_geometry() -> None:
    view = _view(_front(400, 300, 330.0, (0.4, 0.5, 6.0)))
    view = replace(view, landmarks=torch.tensor([[200.0, 150.0]]).expand(478, 2)).transformed(HEAD_FROM_WORLD)
    window = head_window(view, BOUNDS, 64)
    assert window.landmarks is not None
    # A pixel of the window has the photo's colour at the projection of the same point in space.
    distant = window.camera.rays().at(torch.full((window.mask.numel(),), 5.0))
    spot = view.camera.project(distant) / torch.tensor([400.0, 300.0])
    shown = window.image.reshape(-1, 3)[:, :2]
    assert float((shown - spot).abs().max()) < 1.0 / 300
    # A landmark is the projection of the same ray.
    point = view.camera.rays(torch.tensor([[200.0, 150.0]])).at(torch.tensor([5.0]))
    torch.testing.assert_close(window.camera.project(point)[0], window.landmarks[0], atol=1e-3, rtol=0)


def test_head_window_stays_inside_the_photo() -> None:
    close = _view(_front(200, 160, 300.0, (0.0, 0.0, 3.0)))
    window = head_window(close.transformed(HEAD_FROM_WORLD), BOUNDS, 1000)
    assert window.mask.shape == (160, 200)
    inside = _view(_front(200, 160, 300.0, (0.0, 0.3, 0.2)))
    assert head_window(inside.transformed(HEAD_FROM_WORLD), BOUNDS, 50).mask.shape == (40, 50)


def _scene(*views: View) -> Scene:
    return Scene(views, HEAD_FROM_WORLD).in_head_frame()


def test_pixels_carry_rays_of_the_head_frame_and_their_colours() -> None:
    camera = _front(400, 300, 330.0)
    table = pixel_table(_scene(_view(camera), _view(_front(300, 300, 250.0, (5.0, 0.0, 3.0)))), BOUNDS, 48)
    first = table[table.view == 0]
    torch.testing.assert_close(first.rays.origins, camera.centre.expand(len(first), 3), atol=1e-4, rtol=0)
    spot = camera.project(first.rays.at(torch.full((len(first),), 5.0))) / torch.tensor([400.0, 300.0])
    assert float((spot - first.colour[:, :2]).abs().max()) < 1.0 / 300
    assert set(table.view.tolist()) == {0, 1}
    for view in (0, 1):
        _close(table.weight[table.view == view].sum(), 1.0)


def test_a_view_of_a_quarter_of_the_weight_is_drawn_a_quarter_as_often() -> None:
    good, poor = _view(_front(400, 300, 330.0)), replace(_view(_front(300, 300, 250.0)), weight=0.25)
    table = pixel_table(_scene(good, poor), BOUNDS, 48)
    drawn = table.draw(20000, torch.Generator().manual_seed(0)).view
    assert float((drawn == 1).float().mean()) == pytest.approx(0.2, abs=0.01)
    # Good photos are drawn as they were without weights, and methods that weigh nothing do not weigh views either.
    alone = pixel_table(_scene(good), BOUNDS, 48)
    assert torch.equal(table.weight[table.view == 0], alone.weight)
    plain = pixel_table(_scene(good, poor), BOUNDS, 48, weighed=False)
    for view in (0, 1):
        _close(plain.weight[plain.view == view].sum(), 1.0)


def test_the_mask_loss_ignores_misses_below_and_beside_the_modelled_volume() -> None:
    camera = _front(200, 200, 140.0)
    person = _view(camera)
    half = replace(person, mask=(person.image[..., 0] < 0.5).float())
    table = pixel_table(_scene(half), BOUNDS, 200)
    direction = table.rays.directions
    depth = (0.5 - table.rays.origins[:, 2]) / direction[:, 2]
    low = table.rays.at(depth)[:, 1]  # where a ray enters the volume by its front
    person_here = table.mask > 0.5
    # The camera is level with the eyes, so a ray that goes in less than 7 cm (0.35) above the floor only sinks.
    bottom = person_here & (low < -1.0) & (low > -1.35)
    middle = person_here & (low > -0.95) & (low < 0.8) & (table.rays.at(depth)[:, 0].abs() < 1.0)
    assert int(bottom.sum()) > 100
    assert int(middle.sum()) > 1000
    assert not bool(table.decided[bottom].any())
    assert bool(table.decided[middle].all())
    assert bool(table.decided[~person_here].all())


def _table(weight: Tensor) -> PixelTable:
    count = len(weight)
    index = torch.arange(count)
    unit = torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3)
    no = torch.zeros(count, dtype=torch.bool)
    return PixelTable(Rays(unit, unit), index, unit, torch.ones(count), torch.ones(count, dtype=torch.bool), weight, no)


def test_draws_follow_the_weights_and_the_seed() -> None:
    table = _table(torch.tensor([0.0, 1.0, 2.0, 5.0]))
    drawn = table.draw(40_000, torch.Generator().manual_seed(3))
    counts = torch.bincount(drawn.view, minlength=4)
    # Four standard deviations of a binomial count of 40,000 are below 400.
    torch.testing.assert_close(counts.double(), torch.tensor([0.0, 5e3, 1e4, 2.5e4]).double(), atol=400, rtol=0)
    assert int(counts[0]) == 0
    again, other = (table.draw(50, torch.Generator().manual_seed(seed)).view for seed in (3, 4))
    assert torch.equal(again, table.draw(50, torch.Generator().manual_seed(3)).view)
    assert not torch.equal(again, other)


def test_weights_prefer_the_person_and_the_face() -> None:
    plain = _view(_front(100, 100, 70.0))
    y, x = torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij")
    mask = ((x >= 40) & (x < 60) & (y >= 40) & (y < 60)).float()
    # A volume that fills the photo keeps every pixel.
    bounds = torch.tensor([[-9.0, -9.0, -9.0], [9.0, 9.0, 5.0]])
    weight = pixel_table(_scene(replace(plain, mask=mask)), bounds, 100).weight.reshape(100, 100)
    _close(weight[50, 50] / weight[5, 5], 10.0)
    _close(weight[50, 50] / weight[50, 62], 1.0)
    corners = torch.tensor([[45.0, 45.0], [54.0, 54.0]]).repeat(239, 1)
    seen = pixel_table(_scene(replace(plain, mask=mask, landmarks=corners)), bounds, 100).weight.reshape(100, 100)
    face = seen[45:55, 45:55].sum()
    # Without a face, its 100 pixels count 100, the rest of the person and around it 28^2 - 100, far ones a tenth.
    rest = (28**2 - 100) + 0.1 * (100**2 - 28**2)
    _close(face / (seen.sum() - face), min(rest / 100, 8.0) * 100 / rest)
