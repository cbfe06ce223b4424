"""The scaling benchmark and that of points per second: what they photograph, count and print."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

import points
import scaling
from protome.field.mlp import Mlp
from protome.geometry.mesh import Mesh


def _ball() -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    return Mesh(np.array(ball.vertices) + np.array([0.0, -0.15, -0.3]), np.array(ball.faces), np.full((10242, 3), 0.25))


def test_photos_show_the_subject_as_large_as_it_is_from_every_side() -> None:
    scene = scaling.photographed(_ball(), 8, 100)
    # The outline of a ball of radius r at distance d is a cone of slope r / sqrt(d^2 - r^2).
    away = 4.5 * np.hypot(1, 0.05)
    radius = 2.6 * 100 * 0.5 / np.sqrt(away**2 - 0.5**2)
    for view in scene.views:
        assert float(view.mask.sum()) == pytest.approx(np.pi * radius**2, rel=0.02)
        torch.testing.assert_close(view.image[view.mask > 0.5], torch.tensor(0.25).expand(int(view.mask.sum()), 3))
    centres = torch.stack([view.camera.centre for view in scene.views])
    turns = torch.sort(torch.atan2(centres[:, 0], centres[:, 2] + 0.3)).values
    assert float((turns[1:] - turns[:-1]).min()) > 0.3  # no two cameras at one place
    assert len(scaling.photographed(_ball(), 1, 32).views) == 1


def test_a_row_has_time_memory_and_mesh_size(tmp_path: Path) -> None:
    case = scaling.Case("resolution", 0, 0, 48)
    cost = scaling.measure(case, _ball(), tmp_path / "head", "cpu")
    assert cost.mesh > 0
    assert cost.peak_mb > 100
    assert cost.vertices == len(Mesh.load(tmp_path / "head" / "head.ply").vertices)


def test_ratios_are_to_the_first_row_of_a_series() -> None:
    options = scaling.Options(Path("out"), views=(1, 3), sizes=(256, 512), resolutions=(128,))
    cases = scaling.cases(options)
    assert [case.name for case in cases] == [
        "views_1_256_288", "views_3_256_288", "size_3_256_288", "size_3_512_288", "resolution_0_0_128",
    ]  # fmt: skip
    costs = {case: scaling.Cost(1.0, 10.0 * (number + 1), 5.0, 4.0, 500.0, 1000) for number, case in enumerate(cases)}
    rows = [line.split() for line in scaling.table(costs).splitlines()[1:]]
    assert [row[:2] for row in rows] == [["views", "1"], ["views", "3"], ["size", "256"], ["size", "512"],
                                         ["resolution", "128"]]  # fmt: skip
    assert [float(row[6]) for row in rows] == [1.0, 1.5, 1.0, 1.25, 1.0]
    assert float(rows[4][5]) == 5.0  # only meshing counts there


def test_the_fastest_of_several_calls_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(points, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    calls: list[int] = []
    assert points.fastest(lambda: calls.append(1), 3) == 2.0
    assert len(calls) == 3


def test_products_are_counted_once_each() -> None:
    network = Mlp(7, 3, 16, 4, condition=5)
    assert points.shapes(network) == [(7, 16), (16, 16), (16, 16), (16, 16), (7, 16), (16, 3)]
