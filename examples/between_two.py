"""Go from one head to another: shape and appearance by fractions of their own."""

import torch

from protome import Prior
from protome.meshing.extract import extract_mesh
from protome.prior.morph import morph
from protome.prior.prior import FittedHead
from protome.units import UNIT_MM

prior = Prior.load()
people = [prior.sample(torch.Generator().manual_seed(seed)) for seed in (3, 12)]
first, second = (FittedHead(prior.field, latents, prior.bounds) for latents in people)
for step in range(3):
    head = morph(first, second, shape=step / 2, appearance=0.0)
    mesh = extract_mesh(head.bind(), head.bounds, 32).scaled(UNIT_MM)
    print(f"{step / 2:.0%}: {mesh.bounds[1, 1] - mesh.bounds[0, 1]:.0f} mm high")
