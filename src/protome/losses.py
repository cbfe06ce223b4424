"""One pure function per loss term; the weights are those of the training and fitting loops."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def distance(sdf: Float[Tensor, "*b"], truth: Float[Tensor, "*b"] | float = 0.0) -> Float[Tensor, ""]:
    """Mean |f(x) - s(x)|; with s = 0 on surface points this is L_surf of the prior's training."""
    return (sdf - truth).abs().mean()


def eikonal(gradient: Float[Tensor, "*b 3"]) -> Float[Tensor, ""]:
    """Mean (|grad f| - 1)^2 (L_eik)."""
    # The small constant keeps the square root's derivative finite at a vanishing gradient.
    return (((gradient.square().sum(-1) + 1e-12).sqrt() - 1) ** 2).mean()


def normal(gradient: Float[Tensor, "*b 3"], normals: Float[Tensor, "*b 3"]) -> Float[Tensor, ""]:
    """Mean 1 - cos of the angle between the field's normal and the known one."""
    return (1 - torch.nn.functional.cosine_similarity(gradient, normals, dim=-1)).mean()


def deformation(displacement: Float[Tensor, "s n 3"]) -> Float[Tensor, ""]:
    """Small and zero-mean displacements, averaged over scenes (L_def)."""
    size = (displacement.square().sum(-1) + 1e-12).sqrt().mean()
    return size + displacement.mean(1).norm(dim=-1).mean()


def landmark(reference: Float[Tensor, "s l 3"]) -> Float[Tensor, ""]:
    """Distance between corresponding landmarks in reference space: sum over l, mean over pairs of scenes (L_lm)."""
    count = len(reference)
    first, second = torch.triu_indices(count, count, 1, device=reference.device)
    gap = reference[first] - reference[second]
    return (gap.square().sum(-1) + 1e-12).sqrt().sum() / max(len(gap), 1)


def registration(
    reference: Float[Tensor, "s n 3"], template: Float[Tensor, "s n 3"], registered: Bool[Tensor, "s n"]
) -> Float[Tensor, ""]:
    """Mean distance of registered points of skin from their place on the template, averaged over scenes.

    It extends L_lm from six landmarks to all the skin; scenes without a registered point count as zero.
    """
    gap = ((reference - template).square().sum(-1) + 1e-12).sqrt() * registered
    return (gap.sum(1) / registered.sum(1).clamp_min(1)).mean()


def colour(predicted: Float[Tensor, "*b 3"], truth: Float[Tensor, "*b 3"]) -> Float[Tensor, ""]:
    """Mean L1 distance of colours (L_col)."""
    return (predicted - truth).abs().sum(-1).mean()


def embedding(latents: Float[Tensor, "s c"]) -> Float[Tensor, ""]:
    """Mean squared length of latents (L_emb)."""
    return latents.square().sum(-1).mean()


def photometric(predicted: Float[Tensor, "k 3"], truth: Float[Tensor, "k 3"], rays: int) -> Float[Tensor, ""]:
    """Sum of L1 colour differences over the rays that hit the person, per ray of the batch (L_rgb)."""
    return (predicted - truth).abs().sum() / rays


def silhouette(
    lowest_sdf: Float[Tensor, "k"], mask: Float[Tensor, "k"] | Bool[Tensor, "k"], beta: float, rays: int
) -> Float[Tensor, ""]:
    """Cross entropy between the mask and sigmoid(-beta * min_t f) on the other rays, over beta (L_mask)."""
    logits = -beta * lowest_sdf
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, mask.to(logits), reduction="sum") / (
        beta * rays
    )


def consistency(correlation: Float[Tensor, "n s"], valid: Bool[Tensor, "n s"], patches: int) -> Float[Tensor, ""]:
    """Sum of 1 - the mean correlation with the better half of the valid photos, per patch, as in Geo-Neus.

    In the other half the patch may be occluded, which is not tested.
    """
    count = valid.sum(1)
    ranked = torch.where(valid, correlation, -2.0).sort(1, descending=True).values
    kept = torch.arange(valid.shape[1], device=valid.device) < ((count + 1) // 2)[:, None]
    missing = torch.where(kept, 1 - ranked, 0.0).sum(1) / kept.sum(1).clamp_min(1)
    return missing.sum() / patches
