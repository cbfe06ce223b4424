"""Smooth fields on meshes: values known at some vertices, extended over all of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu


def laplacian(faces: Int[np.ndarray, "f 3"], count: int) -> csr_matrix:
    """Return the normalised graph Laplacian: a vertex minus the mean of its neighbours."""
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = coo_matrix((np.ones(len(both)), both.T), shape=(count, count)).tocsr()
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1.0)
    return (diags((np.asarray(adjacency.sum(1)).ravel() > 0).astype(float)) - diags(1.0 / degree) @ adjacency).tocsr()


def smooth_extension(
    smoothness: csr_matrix, weights: Float[np.ndarray, "v"], values: Float[np.ndarray, "v k"], stiffness: float
) -> Float[np.ndarray, "v k"]:
    """Return the smoothest values that stay close to the given ones where their weights are positive."""
    system = diags(weights + 1e-9) + stiffness * (smoothness.T @ smoothness)
    return splu(system.tocsc()).solve(weights[:, None] * values)
