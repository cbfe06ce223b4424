"""The same numbers on a graphics card as on the processor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from heads import draw_person, photograph, some_world
from protome.fit.config import FitConfig, Patches, Schedule
from protome.fit.reconstruct import fit_head
from protome.fit.tracing import HeadTracer, TracingConfig
from protome.geometry.camera import Camera
from protome.meshing.extract import extract_mesh

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_fit_on_the_graphics_card_follows_the_one_on_the_processor() -> None:
    person = draw_person(seed=5, resolution=96)
    scene = photograph(person, (0.0, 50.0, -50.0), 96, some_world())
    schedule = Schedule({1: 20}, {1: 10}, colours=10)
    config = FitConfig(size=96, rays=256, schedule=schedule, patches=Patches(weight=0.3))
    here = fit_head(scene, person.prior, config, seed=1, quiet=True)
    there = fit_head(scene, person.prior.to("cuda"), replace(config), seed=1, quiet=True)
    for name, curve in here.curves.items():
        # Rounding differs, and thirty steps let it grow a little.
        assert there.curves[name] == pytest.approx(curve, rel=0.1, abs=5e-3), name
    mesh = extract_mesh(there.head.bind(), there.head.bounds, 96)
    assert person.face_error_mm(mesh) == pytest.approx(
        person.face_error_mm(extract_mesh(here.to("cpu").head.bind(), here.head.bounds, 96)), abs=0.3
    )


def test_half_precision_traces_the_same_head_on_a_graphics_card() -> None:
    prior = draw_person(seed=5, resolution=64).prior.to("cuda")
    field, modes = prior.bind(prior.mean()), set()
    rays = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 60.0, 64, 64).rays().to(torch.device("cuda"))

    def watched(points: torch.Tensor) -> torch.Tensor:
        modes.add((torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")))
        return field.sdf(points)

    generator = torch.Generator()
    full = HeadTracer(TracingConfig("parallel"), prior.bounds, generator)(field.sdf, rays)
    for name in ("parallel", "idr", "sphere", "grid"):
        modes.clear()
        half = HeadTracer(TracingConfig(name, half=True), prior.bounds, generator)(watched, rays)
        assert modes == {(True, torch.float16)}
        assert not torch.is_autocast_enabled("cuda")
        assert float((half.hit == full.hit).float().mean()) > 0.98, name
        # The hit point's Newton step makes up for what half precision is off by.
        both = half.hit & full.hit
        assert both.sum() > 200
        assert float((half.depth - full.depth)[both].abs().median()) < 5e-3, name
