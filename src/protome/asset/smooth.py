"""Smoothing of values on a surface."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import SuperLU, splu

from protome.geometry.mesh import Mesh

_HELD = 1e-7
"""How much free values are held where they are, beside the weights of edges."""


@dataclass(frozen=True)
class Smoother:
    """Smoothing of values on the vertices of a mesh over a length (one implicit step of the heat equation)."""

    solver: SuperLU
    mass: Float[np.ndarray, "v"]

    @staticmethod
    def of(mesh: Mesh, length: float) -> Smoother:
        """Return the smoothing over a standard deviation in the mesh's unit."""
        mass = np.maximum(igl.massmatrix(mesh.vertices, mesh.faces).diagonal(), 1e-9)
        stiffness = -igl.cotmatrix(mesh.vertices, mesh.faces)
        return Smoother(factors(csc_array(diags_array(mass) + length**2 / 2 * stiffness)), mass)

    def __call__(self, values: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "v c"]:
        """Return smoothed values of each column."""
        return self.solver.solve(self.mass[:, None] * values)


def spanned(mesh: Mesh, values: Float[np.ndarray, "v c"], free: Bool[np.ndarray, "v"]) -> Float[np.ndarray, "v c"]:
    """Return the values with those at free vertices as smooth as possible from the others on (a harmonic function)."""
    if not free.any() or free.all():
        return values
    stiffness = csc_array(-igl.cotmatrix(mesh.vertices, mesh.faces))
    mass = np.maximum(igl.massmatrix(mesh.vertices, mesh.faces).diagonal()[free], 1e-9)
    inner = stiffness[free]
    # A piece that nothing fixed borders would be undetermined without the mass.
    found = factors(csc_array(inner[:, free] + diags_array(_HELD * mass))).solve(
        _HELD * mass[:, None] * values[free] - inner[:, ~free] @ values[~free]
    )
    spread = values.copy()
    spread[free] = found
    return spread


def factors(system: csc_array) -> SuperLU:
    """Return the factors of a sparse symmetric positive definite matrix, with an ordering for such."""
    return splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
