"""The same numbers on a graphics card as on the processor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from heads import draw_person, photograph, some_world
from protome.fit.reconstruct import FitConfig, fit_head
from protome.meshing.extract import extract_mesh

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_fit_on_the_graphics_card_follows_the_one_on_the_processor() -> None:
    person = draw_person(seed=5, resolution=96)
    scene = photograph(person, (0.0, 50.0, -50.0), 96, some_world())
    config = FitConfig(size=96, rays=256, latent_steps=20, network_steps=10, colour_steps=10, consistency=0.3)
    here = fit_head(scene, person.prior, config, shared_frame=True, seed=1, quiet=True)
    there = fit_head(scene, person.prior.to("cuda"), replace(config), shared_frame=True, seed=1, quiet=True)
    for name, curve in here.curves.items():
        # Rounding differs, and thirty steps let it grow a little.
        assert there.curves[name] == pytest.approx(curve, rel=0.1, abs=5e-3), name
    mesh = extract_mesh(there.bind(), there.bounds, 96)
    assert person.face_error_mm(mesh) == pytest.approx(
        person.face_error_mm(extract_mesh(here.to("cpu").bind(), here.bounds, 96)), abs=0.3
    )
