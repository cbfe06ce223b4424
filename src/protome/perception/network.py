"""The network: dense landmarks with uncertainties, their visibility, and the parts of a square around a face.

Landmarks are regressed with a variance each (Wood et al., 3D face reconstruction with dense landmarks, ECCV 2022):
first all of them from the deepest features, then each is moved by what the finer features show at its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from protome.perception.parts import PARTS

SIZE = 192
"""Pixels of a side of the input and of the parts."""
SIDE = SIZE // 32
"""Of the deepest features."""
LANDMARKS = 800
CHANNELS = (24, 48, 96, 128, 192)
"""Of the encoder's stages, each at half the resolution of the one before."""
BOTTLENECK, HIDDEN = 48, 256
FINE, EMBEDDING, REFINE = 32, 24, 64
REACH = 2.5 / 96
"""Distance from a landmark of the four further places that its correction is read from, in half sides of the square."""
LEAST_LOG_SIGMA, MOST_LOG_SIGMA = -7.0, 1.0


@dataclass(frozen=True)
class Perceived:
    """What the network says of squares; coordinates run from -1 to 1 over the square."""

    coarse: Float[Tensor, "b l 2"]
    """Landmarks before they are corrected."""
    landmarks: Float[Tensor, "b l 2"]
    log_sigma: Float[Tensor, "b l"]
    """Logarithm of the landmarks' standard deviation along each axis."""
    visible: Float[Tensor, "b l"]
    """Logits."""
    parts: Float[Tensor, "b p s s"]
    """Logits."""


def _block(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """Two convolutions whose sum with the input goes on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _block(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.second(self.first(features)))


class PerceptionNet(nn.Module):
    """A small convolutional encoder and decoder with a head for landmarks and one for parts."""

    def __init__(self, landmarks: int = LANDMARKS, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        self.stages = nn.ModuleList([
            _block(3, c1, 2), nn.Sequential(_block(c1, c2, 2), _block(c2, c2)),
            nn.Sequential(_block(c2, c3, 2), _Residual(c3)), nn.Sequential(_block(c3, c4, 2), _Residual(c4)),
            nn.Sequential(_block(c4, c5, 2), _Residual(c5)),
        ])  # fmt: skip
        self.deep, self.middle = _block(c5 + c4, c3), _block(c3 + c3, 64)
        self.fine, self.narrow = _block(64 + c2, FINE), _block(FINE, 16, kernel=1)
        self.border = _block(16 + c1, 24)
        self.parts = nn.Conv2d(24, 4 * len(PARTS), 1)
        self.squeeze = _block(c5, BOTTLENECK, kernel=1)
        self.regress = nn.Sequential(
            nn.Flatten(), nn.Linear(BOTTLENECK * SIDE**2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * landmarks)
        )
        self.embedding = nn.Parameter(0.1 * torch.randn(landmarks, EMBEDDING))
        self.correct = nn.Sequential(
            nn.Linear(5 * FINE + EMBEDDING, REFINE),
            nn.ReLU(),
            nn.Linear(REFINE, REFINE),
            nn.ReLU(),
            nn.Linear(REFINE, 4),
        )
        last = self.correct[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        # At first the landmarks stay where the regression puts them, uncertain by a tenth of the half side.
        last.bias.data = torch.tensor([0.0, 0.0, -2.3, 0.0])

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Perceived:
        """Return what squares show; colours in [0, 1].

        They have `SIZE` pixels a side, or another multiple of 32 while the network learns.
        """
        features, held = (pictures - 0.5) / 0.25, []
        for stage in self.stages:
            features = stage(features)
            held.append(features)
        deepest = self.squeeze(held[4])
        if deepest.shape[-1] != SIDE:
            deepest = functional.interpolate(deepest, (SIDE, SIDE), mode="bilinear", align_corners=False)
        coarse = self.regress(deepest).float().unflatten(1, (-1, 2))
        up = self.deep(torch.cat([_doubled(held[4]), held[3]], 1))
        up = self.middle(torch.cat([_doubled(up), held[2]], 1))
        fine = self.fine(torch.cat([_doubled(up), held[1]], 1))
        border = self.border(torch.cat([_doubled(self.narrow(fine)), held[0]], 1))
        parts = functional.pixel_shuffle(self.parts(border), 2).float()
        moves = self._corrections(fine, coarse.detach())
        return Perceived(
            coarse, coarse.detach() + 0.1 * moves[..., :2], moves[..., 2].clamp(LEAST_LOG_SIGMA, MOST_LOG_SIGMA),
            moves[..., 3], parts,
        )  # fmt: skip

    def _corrections(self, fine: Float[Tensor, "b c h w"], places: Float[Tensor, "b l 2"]) -> Float[Tensor, "b l 4"]:
        offsets = REACH * torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], device=places.device)
        grid = (places[:, :, None] + offsets).clamp(-1.5, 1.5)
        seen = functional.grid_sample(fine.float(), grid, align_corners=False)
        seen = seen.permute(0, 2, 3, 1).flatten(2)
        return self.correct(torch.cat([seen, self.embedding.expand(len(places), -1, -1)], 2)).float()


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")
