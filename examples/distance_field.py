"""Ask a fitted head for its signed distance: which points of a grid are inside, and how much space that is."""

import torch

from protome.prior.prior import load_head
from protome.units import UNIT_MM

field, bounds = load_head("build/me/field.safetensors")
axes = [torch.linspace(float(low), float(high), 24) for low, high in bounds.T]
points = torch.cartesian_prod(*axes)
with torch.no_grad():
    inside = field.sdf(points) < 0
cell = float(torch.tensor([axis[1] - axis[0] for axis in axes]).prod()) * UNIT_MM**3
print(f"head and shoulders have about {int(inside.sum()) * cell / 1e6:.1f} litres")
