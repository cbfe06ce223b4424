"""The field of SIDER: one face in one photo, a signed distance with a feature, and a renderer that reads both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from protome.field.encoding import Encoding
from protome.field.field import Field, SurfacePoints
from protome.field.mlp import Mlp, initialise_small, initialise_sphere

RADIUS = 0.5
"""Half the extent of the space that is normalised for the networks, inner units: that of a face."""


@dataclass(frozen=True)
class DetailFieldConfig:
    """Network sizes for a fit in minutes on two processor cores. The paper's: width 512, depth 8 and 4, feature 256."""

    width: int = 128
    depth: int = 4
    frequencies: int = 9
    """Of the encoded point in the distance network; the shortest wavelength is 2.5 mm."""
    coarse_frequencies: int = 5
    """Those of them that the coarse face uses; the higher ones are unmasked during the second stage."""
    features: int = 16
    """Length of the feature (gamma)."""
    renderer_width: int = 96
    renderer_depth: int = 3
    shade_width: int = 32
    shade_depth: int = 2
    renderer_frequencies: int = 4
    """Of the encoded point in the renderer: fewer, so that fine structure in a photo is explained by the shape."""
    view_frequencies: int = 1
    feature: bool = True
    """Whether the feature is an input of the renderer."""
    normal: bool = True
    """Whether the normal is an input of the renderer."""


class PaintedShade(nn.Module):
    """g = exp(paint(PE(x), PE(v), gamma) + shade(n)): an albedo and one function of shading for the whole face.

    A network with point and normal as joint inputs can learn a different shading at each point. A photo shows one
    normal there, so a wrong slope would fit as well as a darker albedo.
    """

    def __init__(self, config: DetailFieldConfig, inputs: int) -> None:
        super().__init__()
        self.paint = Mlp(inputs, 3, config.renderer_width, config.renderer_depth)
        self.shade = Mlp(3, 1, config.shade_width, config.shade_depth) if config.normal else None
        for part in filter(None, (self.paint, self.shade)):
            initialise_small(part, 0.03)
        nn.init.constant_(self.paint.last.bias, math.log(0.5))  # type: ignore[arg-type]

    def forward(self, normals: Float[Tensor, "n 3"], inputs: Float[Tensor, "n i"]) -> Float[Tensor, "n 3"]:
        """Return non-negative RGB."""
        paint: Tensor = self.paint(inputs[None])[0]
        return torch.exp(paint if self.shade is None else paint + self.shade(normals[None])[0])


class DetailField(nn.Module):
    """f(x) = (distance, gamma) and g(PE(x), n, PE(v), gamma) = RGB (SIDER, equations 1 and 2).

    The inputs of both networks are relative to `centre`, in units of `RADIUS`.
    """

    def __init__(self, config: DetailFieldConfig, centre: Float[Tensor, "3"]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", centre.clone())
        self.centre: Tensor
        self.around = Encoding(config.frequencies)
        self.spot, self.facing = Encoding(config.renderer_frequencies), Encoding(config.view_frequencies)
        self.geometry = Mlp(self.around.width, 1 + config.features, config.width, config.depth)
        initialise_sphere(self.geometry, 0.8)
        inputs = self.spot.width + self.facing.width + config.features * config.feature
        self.renderer = PaintedShade(config, inputs)
        self._initialise_frequencies()

    def _initialise_frequencies(self) -> None:
        """Initialise the coarse face's frequencies, higher ones smaller; from zero they would converge slowly."""
        count, known = self.config.frequencies, torch.arange(self.config.frequencies)
        share = torch.where(known < self.config.coarse_frequencies, 0.5 ** (known + 1.0), 0.0)
        with torch.no_grad():
            waves = self.geometry.first.weight[:, 3:]
            waves.normal_(0.0, (0.5 / len(waves)) ** 0.5).view(len(waves), -1, count).mul_(share)

    def unmask_frequencies(self, share: float) -> None:
        """Unmask a share of the higher frequencies: none beyond the coarse face's (0), or all (1)."""
        coarse, count = self.config.coarse_frequencies, self.config.frequencies
        self.around = Encoding(count, coarse + share * (count - coarse))

    def _local(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "1 n 3"]:
        return ((points - self.centre) / RADIUS)[None]

    def sdf(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Return signed distances, inner units."""
        return RADIUS * self.geometry(self.around(self._local(points)).value)[0, :, 0]

    def surface(self, points: Float[Tensor, "n 3"]) -> SurfacePoints:
        """Return distances with their analytic gradient, and the features; differentiable once more."""
        encoded = self.around(self._local(points))
        tape = self.geometry.forward_with_tape(encoded.value)
        first = torch.zeros_like(tape.value)
        first[..., 0] = 1
        # Distances and points are both in units of RADIUS inside, so the gradient needs no factor.
        gradient = self.around.vjp(encoded, self.geometry.vjp(tape, first))
        return SurfacePoints(RADIUS * tape.value[0, :, 0], gradient[0], tape.value[0, :, 1:])

    def colour(
        self,
        points: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        views: Float[Tensor, "n 3"],
        features: Float[Tensor, "n k"],
    ) -> Float[Tensor, "n 3"]:
        """Return non-negative RGB; inputs that the configuration switches off have no influence."""
        inputs = [self.spot(self._local(points)[0]).value, self.facing(views).value]
        colours: Tensor = self.renderer(normals, torch.cat(inputs + [features] * self.config.feature, -1))
        return colours

    def bind(self) -> Field:
        """Return the field's functions for rendering and meshing."""
        return Field(self.sdf, self.surface, self.colour)
