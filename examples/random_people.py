"""Draw people that never lived from the prior, and write their meshes."""

import torch

from protome import Prior
from protome.meshing.extract import coloured, extract_mesh
from protome.units import UNIT_MM

prior = Prior.load()
for seed in (1, 2):
    field = prior.bind(prior.sample(torch.Generator().manual_seed(seed)))
    mesh = coloured(extract_mesh(field, prior.bounds, 32), field, prior.bounds)
    mesh.scaled(UNIT_MM).save(f"person_{seed}.ply")
