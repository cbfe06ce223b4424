"""Latents of people whose descriptors predict them: a learned linear map of the descriptors, and a rest of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.training.latents import LatentTable


@dataclass(frozen=True)
class PrincipalScores:
    """A fixed map from descriptors to their leading principal components, scaled as `principal_start` scales them."""

    mean: Float[Tensor, "k"]
    basis: Float[Tensor, "k length"]

    @staticmethod
    def of(descriptors: Float[Tensor, "people k"], length: int) -> PrincipalScores:
        """Find the components of some people's descriptors; components that do not vary are zero."""
        mean = descriptors.mean(0).double()
        _, sizes, directions = torch.linalg.svd(descriptors.double() - mean, full_matrices=False)
        known = int((sizes > 1e-6 * sizes[:1].clamp_min(1e-12)).sum())
        known = min(known, length, len(descriptors) - 1)
        basis = directions.new_zeros(descriptors.shape[1], length)
        if known > 0:
            scale = (len(descriptors) - 1) ** 0.5 / (sizes[:known] * sizes[0]).sqrt()
            basis[:, :known] = directions[:known].T * scale
        return PrincipalScores(mean, basis)

    def __call__(self, descriptors: Float[Tensor, "people k"]) -> Float[Tensor, "people length"]:
        """Return the scores."""
        return ((descriptors.double() - self.mean) @ self.basis).float()


class PersonLatents:
    """z = A s + b + r: A and b are learned from everybody, the rest r from a person's own heads.

    A person is drawn some dozens of times in a run of thousands of people. That is too seldom to find their latent by
    itself; the map is drawn all the time. People can be added while a training runs: theirs start at A s + b.
    """

    def __init__(self, scores: PrincipalScores, total: int, seed: int, start: Float[Tensor, "length"] | None) -> None:
        """Prepare for `total` people; `start` is the mean latent of a prior that the training goes out from.

        Without it A starts as the identity; with it as zero, because its latents mean something else.
        """
        length = scores.basis.shape[1]
        generator = torch.Generator().manual_seed(seed)
        self.principal = scores
        self.table = LatentTable(0.01 * torch.randn(total, length, generator=generator))
        self.scores = torch.zeros(total, length)
        self.map = nn.Linear(length, length)
        self.known = 0
        """How many people have scores."""
        self.based = 0
        """How many people the components were found from."""
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(length) if start is None else torch.zeros(length, length))
            self.map.bias.copy_(torch.zeros(length) if start is None else start)

    def add(self, descriptors: Float[Tensor, "people k"]) -> None:
        """Take in the descriptors of everybody up to now, in the components that there are."""
        self.based = self.based or len(descriptors)
        self.scores[self.known : len(descriptors)] = self.principal(descriptors[self.known :]).to(self.scores)
        self.known = len(descriptors)

    def grow(self, descriptors: Float[Tensor, "people k"]) -> bool:
        """Take in the descriptors of everybody up to now; return whether they have new components.

        Those are found anew when there are twice as many people as they were found from: the first people may be all
        alike. The map is then the one that comes closest to the former one, and what it misses goes to the rests, so
        that nobody's latent changes.
        """
        if len(descriptors) < 2 * self.based:
            self.add(descriptors)
            return False
        before, known = self.all(), self.known
        self.principal, self.known, self.based = (
            PrincipalScores.of(descriptors, self.scores.shape[1]),
            0,
            len(descriptors),
        )
        self.add(descriptors)
        scores = nn.functional.pad(self.scores[:known].double(), (0, 1), value=1.0)
        wanted = (before - self.table.latents[:known]).double()
        moment = scores.T @ scores
        moment += 1e-6 * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)
        solved = torch.linalg.solve(moment, scores.T @ wanted).float()
        with torch.no_grad():
            self.map.weight.copy_(solved[:-1].T)
            self.map.bias.copy_(solved[-1])
            self.table.latents[:known] += before - self.all()[:known]
        return True

    def of(self, people: Int[Tensor, "s"], rest: Float[Tensor, "s c"]) -> Float[Tensor, "s c"]:
        """Return the latents of people whose rests are given."""
        return self.map(self.scores[people]) + rest

    def all(self) -> Float[Tensor, "people c"]:
        """Return the latents of everybody up to now, without gradients."""
        with torch.no_grad():
            return self.map(self.scores[: self.known]) + self.table.latents[: self.known]

    def to(self, device: torch.device) -> PersonLatents:
        """Move to a device, in place."""
        for name in ("latents", "first", "second", "visits"):
            setattr(self.table, name, getattr(self.table, name).to(device))
        self.scores, self.map = self.scores.to(device), self.map.to(device)
        return self

    def state(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint."""
        own = {"scores": self.scores, "known": torch.tensor(self.known), "based": torch.tensor(self.based)}
        own["mean"] = self.principal.mean
        return self.table.state() | own | {"basis": self.principal.basis} | self.map.state_dict()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        self.table.restore({name: state[name] for name in self.table.state()})
        self.scores.copy_(state["scores"])
        self.known, self.based = int(state["known"]), int(state["based"])
        self.principal = PrincipalScores(state["mean"].cpu(), state["basis"].cpu())
        self.map.load_state_dict({name: state[name] for name in ("weight", "bias")})
