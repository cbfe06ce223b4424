"""The template's skin pulled back through a head's deformation, as far as that maps skin to skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from protome.field.field import CHUNK
from protome.geometry.neighbours import tree_of
from protome.geometry.transforms import procrustes
from protome.prior.prior import FittedHead
from protome.units import UNIT_MM

ROUNDS = 60
"""Of the fixed-point iteration."""
DONE_MM, STRAYED_MM = 0.01, 0.3
"""Remaining errors below which a vertex is done, and above which it has no place on the head."""
CORE_MM = np.array([[-48.0, -105.0, -22.0], [48.0, 42.0, 60.0]])
"""The part of the template's face that hair hardly ever covers."""
MOUTH_MM = np.array([[-34.0, -82.0, -30.0], [34.0, -50.0, 25.0]])
"""Around the lips of the template."""
BUST_MM = -150.0
"""Below this height the template lies on the outer surface, whatever covers the shoulders."""
STEP_MM, GROWTHS = 20.0, 16
"""How far from sure skin more of it is looked for in each round, and the most rounds."""
TOLERANCE_MM, SLOPE = 3.0, 0.1
"""Departure from what is expected by the sure skin nearby up to which a place is skin: at it, and per distance."""
STRETCH = (0.5, 1.7)
"""Ratios of the lengths of edges on the head and on the template within which they are skin."""
NEIGHBOURS, WIDTH_MM, RIDGE_MM = 120, 4.0, 4.0
"""How many sure vertices move one inside, the least width of their weights, and the regularisation of their slope."""
FADE_MM = 60.0
"""Distance over which what is expected goes over to the motion of the head as a whole."""


@dataclass(frozen=True)
class Pulled:
    """Places of points of the reference on a head, head frame, millimetres."""

    vertices: Float[np.ndarray, "n 3"]
    known: Bool[np.ndarray, "n"]
    """Where there is such a place."""


def pulled_back(head: FittedHead, points_mm: Float[np.ndarray, "n 3"]) -> Pulled:
    """Return the points that a head's deformation takes to given places of the reference, in millimetres.

    x + delta(x) = reference is solved by x <- reference - delta(x), which converges because displacements vary slowly.
    """
    field, latents = head.field, head.latents
    reference = torch.from_numpy(points_mm / UNIT_MM).to(head.bounds)
    condition = field.shape_condition(latents.z_shape[None], latents.expression_row)
    points, left = reference.clone(), torch.arange(len(reference), device=reference.device)
    error = torch.full((len(reference),), torch.inf).to(reference)
    with torch.no_grad():
        folded = field.shape_network.fold(condition)
        for number in range(ROUNDS):
            if not len(left):
                break
            moved = torch.cat([field.displacement(part[None], folded)[0] for part in points[left].split(CHUNK)])
            step = reference[left] - moved - points[left]
            error[left] = step.norm(dim=1)
            # Halved steps at the end also settle where the map turns fast.
            points[left] += step if number < ROUNDS // 3 else 0.5 * step
            left = left[error[left] > DONE_MM / UNIT_MM]
    known = error.double().cpu().numpy() * UNIT_MM < STRAYED_MM
    return Pulled(points.double().cpu().numpy() * UNIT_MM, known)


def sure_skin(
    template: Float[np.ndarray, "v 3"], rest: Float[np.ndarray, "v 3"], moves: Float[np.ndarray, "v 3"],
    candidates: Bool[np.ndarray, "v"], faces: Int[np.ndarray, "f 3"],
) -> Bool[np.ndarray, "v"]:  # fmt: skip
    """Return which of the candidates a head's deformation takes to skin: not those that lie on hair.

    The prior has no correspondences for hair; skin below it is taken to the hair's surface, further away than the skin
    around lets expect. Lips that are open may be taken to the tongue. What is sure grows outwards from the middle of
    the face without the mouth. `rest` is the template with the head's
    expression, `template` without it.
    """
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    bust = candidates & (template[:, 1] < BUST_MM)
    edges = edges[candidates[edges].all(1) & ~bust[edges].any(1)]
    core, mouth = ((template > low).all(1) & (template < high).all(1) for low, high in (CORE_MM, MOUTH_MM))
    sure = bust | candidates & core & ~mouth
    before, after = (np.linalg.norm(at[edges[:, 0]] - at[edges[:, 1]], axis=1) for at in (rest, rest + moves))
    ratio = after / np.maximum(before, 1e-9)
    candidates = candidates.copy()
    candidates[edges[(ratio < STRETCH[0]) | (ratio > STRETCH[1])]] = False
    sure &= candidates
    for _ in range(GROWTHS):
        open_ = np.flatnonzero(candidates & ~sure)
        distance = tree_of(rest[sure]).query(rest[open_])[0] if len(open_) else np.zeros(0)
        near, distance = open_[distance < STEP_MM], distance[distance < STEP_MM]
        if not len(near):
            break
        away = np.linalg.norm(moves[near] - expected(rest, sure, moves, near), axis=1)
        accepted = near[away < TOLERANCE_MM + SLOPE * distance]
        if not len(accepted):
            break
        sure[accepted] = True
    return sure


def expected(
    rest: Float[np.ndarray, "v 3"], sure: Bool[np.ndarray, "v"], moves: Float[np.ndarray, "v 3"],
    where: Int[np.ndarray, "i"],
) -> Float[np.ndarray, "i 3"]:  # fmt: skip
    """Return the moves of vertices by those of sure ones nearby, as a smooth function of space.

    So both lips move alike where they touch, though they are far apart along the surface. Far from sure vertices the
    moves are those of the head as a whole, a similarity.
    """
    known = np.flatnonzero(sure)
    whole = procrustes(
        torch.from_numpy(rest[known]), torch.from_numpy(rest[known] + moves[known]), torch.ones(len(known)).double()
    )
    common = whole.apply_numpy(rest) - rest
    distance, near = tree_of(rest[known]).query(rest[where], k=min(NEIGHBOURS, len(known)))
    width = np.maximum(distance[:, :8].mean(1, keepdims=True), WIDTH_MM)
    shares = np.exp(-0.5 * ((distance - distance[:, :1]) / width) ** 2)
    shares /= shares.sum(1, keepdims=True)
    # A locally linear fit, so that stretching goes on into the inside.
    places, values = rest[known][near], (moves - common)[known][near]
    middle = (places * shares[..., None]).sum(1)
    average = (values * shares[..., None]).sum(1)
    arms, others = places - middle[:, None], values - average[:, None]
    spread = np.einsum("nk,nki,nkj->nij", shares, arms, arms) + RIDGE_MM**2 * np.eye(3)
    slope = np.linalg.solve(spread, np.einsum("nk,nki,nkj->nij", shares, arms, others))
    # A slope that is known over millimetres says nothing about centimetres.
    arm = rest[where] - middle
    length = np.linalg.norm(arm, axis=1, keepdims=True)
    arm = arm * np.minimum(1, 3 * width / np.maximum(length, 1e-9))
    fade = np.exp(-((distance[:, :1] / FADE_MM) ** 2))
    return common[where] + fade * (average + np.einsum("ni,nij->nj", arm, slope))
