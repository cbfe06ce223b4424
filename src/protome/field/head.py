"""`HeadField`: a deformation into one reference head, its signed distance, and a renderer (the SA-SM)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from protome.field.activation import Activation
from protome.field.encoding import Encoding
from protome.field.field import Field, SurfacePoints
from protome.field.grid import SdfGrid
from protome.field.mlp import Folded, Mlp, initialise_small, initialise_sphere
from protome.util.device import seeded

_DISPLACED = 0.3
"""How far beyond the modelled volume points may be displaced to, inner units."""


@dataclass(frozen=True)
class HeadFieldConfig:
    """Sizes and options of the three networks."""

    latent: int = 192
    """Length of the shape latent and of the appearance latent."""
    expression: tuple[str, ...] = ()
    """Names of the coefficients of expression, which are zero on a neutral head; the published model has none."""
    expression_width: int = 32
    """How many numbers a learned linear map without offset makes of the coefficients."""
    feature: int = 32
    """Length of the geometry feature that the renderer gets."""
    deformed: bool = True
    """False leaves the deformation out: the shape latent enters the signed distance itself, as in H3D-Net."""
    steered: bool = True
    """The displacement's output layer depends linearly on the shape latent, as in a linear face model."""
    activation: Activation = "squareplus"
    """Of every hidden layer; the paper's is SoftPlus, which costs a processor as much as the product before it."""
    weight_norm: bool = False
    """Length and direction of each row of a layer's weights are learned apart, in all networks, as in IDR."""
    deformation_width: int = 192
    deformation_depth: int = 5
    deformation_frequencies: int = 5
    reference_width: int = 128
    reference_depth: int = 5
    reference_frequencies: int = 7
    renderer_width: int = 128
    renderer_depth: int = 4
    renderer_frequencies: int = 6
    view_frequencies: int = 2
    centre: tuple[float, float, float] = (0.0, -0.2, -0.4)
    """Centre of the sphere that the reference starts as, inner units: the middle of a head."""
    radius: float = 0.6
    """Its radius."""


Latents = Float[Tensor, "s c"] | Folded
"""One latent for each scene (of the shape: of a neutral head, or with its expression, as `shape_condition` joins them),
or the network's weights with the latents already in them."""


@dataclass(frozen=True)
class HeadValues:
    """Field values of s scenes at n points each, without spatial derivatives."""

    sdf: Float[Tensor, "s n"]
    displacement: Float[Tensor, "s n 3"]
    reference: Float[Tensor, "s n 3"]
    """Where the points land in the reference head."""
    feature: Float[Tensor, "s n k"]


@dataclass(frozen=True)
class HeadPoints(HeadValues):
    """The same with the spatial gradient of the signed distance, which doubles the cost."""

    gradient: Float[Tensor, "s n 3"]


class HeadField(nn.Module):
    """f_sdf(x) = f_ref(x + delta(x, z_shape)), colour r(x_ref, n, v, gamma, z_appearance) (SIRA++, section 3)."""

    centre: Tensor

    def __init__(self, config: HeadFieldConfig) -> None:
        super().__init__()
        self.config = config
        self.alpha: float | None = None
        """Progress of the reference's encoding mask; None once training is over."""
        self._baked: tuple[object, SdfGrid] | None = None
        c = config
        condition = c.latent + (c.expression_width if c.expression else 0)
        colour = Encoding(c.renderer_frequencies).width + 3 + Encoding(c.view_frequencies).width + c.feature
        inner, width, depth = Encoding(c.reference_frequencies).width, c.reference_width, c.reference_depth
        self.deformation: Mlp | None = None
        if c.deformed:
            self.deformation = Mlp(
                Encoding(c.deformation_frequencies).width, 3 + c.feature, c.deformation_width, c.deformation_depth,
                condition, steered=3 if c.steered else 0, activation=c.activation,
                weight_norm=c.weight_norm,
            )  # fmt: skip
            initialise_small(self.deformation)
            self.reference = Mlp(inner, 1, width, depth, activation=c.activation, weight_norm=c.weight_norm)
        else:
            self.reference = Mlp(
                inner, 1 + c.feature, width, depth, condition, activation=c.activation,
                weight_norm=c.weight_norm,
            )  # fmt: skip
        self.renderer = Mlp(
            colour, 3, c.renderer_width, c.renderer_depth, c.latent, activation=c.activation,
            weight_norm=c.weight_norm,
        )  # fmt: skip
        self.register_buffer("centre", torch.tensor(c.centre))
        initialise_small(self.renderer)
        initialise_sphere(self.reference, c.radius)
        self.expression: nn.Linear | None = None
        if c.expression:
            self.expression = nn.Linear(len(c.expression), c.expression_width, bias=False)
            nn.init.normal_(self.expression.weight, std=c.expression_width**-0.5)

    @property
    def shape_network(self) -> Mlp:
        """The network that the shape latent enters: the deformation, or the signed distance where there is none."""
        return self.reference if self.deformation is None else self.deformation

    def shape_condition(
        self, z_shape: Float[Tensor, "s c"], z_expression: Float[Tensor, "s e"] | None = None
    ) -> Float[Tensor, "s d"]:
        """Return what the shape network is conditioned on: the shape latent, then W e where the model has expressions.

        Without coefficients the heads are neutral, for which W e is exactly zero.
        """
        if self.expression is None:
            return z_shape
        moved = z_shape.new_zeros(len(z_shape), self.config.expression_width)
        if z_expression is not None:
            with torch.autocast(z_shape.device.type, enabled=False):
                moved = self.expression(z_expression)
        return torch.cat([z_shape, moved], -1)

    def _condition(self, shape: Float[Tensor, "_ _"] | Folded) -> Float[Tensor, "_ _"] | Folded:
        """Return the shape network's condition for what a caller gives: latents alone are those of neutral heads."""
        if isinstance(shape, Tensor) and shape.shape[-1] == self.config.latent:
            return self.shape_condition(shape)
        return shape

    def _around(self) -> Encoding:
        return Encoding(self.config.deformation_frequencies)

    def _inner(self) -> Encoding:
        return Encoding(self.config.reference_frequencies, self.alpha)

    def displacement(self, points: Float[Tensor, "s n 3"], z_shape: Latents) -> Float[Tensor, "s n 3"]:
        """Return the displacements of points to their places in the reference head; zero without a deformation."""
        if self.deformation is None:
            return torch.zeros_like(points)
        return self.deformation(self._around()(points).value, self._condition(z_shape))[..., :3]

    def placed(
        self,
        reference: Float[Tensor, "n 3"],
        shape: Latents,
        rounds: int = 30,
        start: Float[Tensor, "n 3"] | None = None,
    ) -> Float[Tensor, "n 3"]:
        """Return the points of one head that are displaced to given places of the reference head.

        A fixed-point iteration from `start` on (none: from the places themselves), because displacements vary slowly in
        space. Between lips that open no point is displaced to some places; the iteration then ends near one lip.
        """
        points = reference if start is None else start
        for _ in range(rounds):
            points = reference - self.displacement(points[None], shape)[0]
        return points

    def sdf(self, points: Float[Tensor, "s n 3"], z_shape: Latents) -> Float[Tensor, "s n"]:
        """Return signed distances only: the cheap query that tracing and meshing use."""
        return self.values(points, z_shape).sdf

    def values(self, points: Float[Tensor, "s n 3"], z_shape: Latents) -> HeadValues:
        """Return distances, displacements and features."""
        if self.deformation is None:
            out = self.reference(self._inner()(points - self.centre).value, self._condition(z_shape))
            return HeadValues(out[..., 0], torch.zeros_like(points), points, out[..., 1:])
        deformed = self.deformation(self._around()(points).value, self._condition(z_shape))
        displacement, feature = deformed[..., :3], deformed[..., 3:]
        reference = points + displacement
        sdf = self.reference(self._inner()(reference - self.centre).value)[..., 0]
        return HeadValues(sdf, displacement, reference, feature)

    def query(self, points: Float[Tensor, "s n 3"], z_shape: Latents) -> HeadPoints:
        """Return distances with their analytic spatial gradient, displacements and features.

        The gradient is (I + J_delta)^T grad f_ref, assembled by two transposed-Jacobian products.
        """
        inner = self._inner()
        if self.deformation is None:
            encoded = inner(points - self.centre)
            tape = self.reference.forward_with_tape(encoded.value, self._condition(z_shape))
            first = torch.zeros_like(tape.value)
            first[..., 0] = 1
            gradient = inner.vjp(encoded, self.reference.vjp(tape, first))
            return HeadPoints(tape.value[..., 0], torch.zeros_like(points), points, tape.value[..., 1:], gradient)
        around = self._around()
        encoded = around(points)
        deformation = self.deformation.forward_with_tape(encoded.value, self._condition(z_shape))
        displacement, feature = deformation.value[..., :3], deformation.value[..., 3:]
        reference = points + displacement
        inner_encoded = inner(reference - self.centre)
        tape = self.reference.forward_with_tape(inner_encoded.value)
        slope = inner.vjp(inner_encoded, self.reference.vjp(tape, torch.ones_like(tape.value)))
        pushed = torch.cat([slope, torch.zeros_like(feature)], -1)
        gradient = slope + around.vjp(encoded, self.deformation.vjp(deformation, pushed))
        return HeadPoints(tape.value[..., 0], displacement, reference, feature, gradient)

    def colour(
        self,
        reference: Float[Tensor, "s n 3"],
        normals: Float[Tensor, "s n 3"],
        views: Float[Tensor, "s n 3"],
        feature: Float[Tensor, "s n k"],
        z_appearance: Latents,
    ) -> Float[Tensor, "s n 3"]:
        """Return RGB in [0, 1]; normals and view directions are those of world, not of reference space."""
        where = Encoding(self.config.renderer_frequencies)(reference - self.centre).value
        facing = Encoding(self.config.view_frequencies)(views).value
        return torch.sigmoid(self.renderer(torch.cat([where, normals, facing, feature], -1), z_appearance))

    def on(self, device: torch.device | str) -> HeadField:
        """Return the field on a device: this one if it is there, else a copy, since `to` moves a module itself."""
        there = torch.device(device)
        here = self.centre.device
        if there.type == here.type and there.index in (None, here.index):
            return self
        copied = copy.deepcopy(self).to(there)
        copied._baked = None
        return copied

    def with_finer_colour(self, frequencies: int | None) -> HeadField:
        """Return a copy whose renderer takes higher frequencies of the reference point too, at first without effect.

        A prior needs few frequencies; one person's photos hold finer colours than that. None: as many as this one's.
        """
        config = self.config
        frequencies = frequencies or config.renderer_frequencies
        with seeded(0):  # the weights that are drawn here give way to this field's
            finer = HeadField(replace(config, renderer_frequencies=frequencies))
        old, new = Encoding(config.renderer_frequencies), Encoding(frequencies)
        column = torch.arange(new.width + self.renderer.first.in_features - old.width)
        wave = torch.arange(3 * 2 * old.frequencies)
        axis, kind, power = wave // (2 * old.frequencies), wave // old.frequencies % 2, wave % old.frequencies
        kept = torch.cat([column[:3], 3 + (2 * axis + kind) * new.frequencies + power, column[new.width :]])
        state = self.state_dict()
        for name in ("renderer.first.weight", "renderer.again.weight"):
            wide = state[name].new_zeros(len(state[name]), len(column))
            wide[:, kept.to(wide.device)] = state[name]
            state[name] = wide
        finer.load_state_dict(state)
        return finer.to(self.centre)

    def baked_reference(self, bounds: Float[Tensor, "2 3"], step: float) -> SdfGrid | None:
        """Return the reference's distances on a grid around `bounds`; None where the latent enters the reference.

        They are exact near the surface and rough elsewhere. The grid replaces the network while that is frozen, and is
        cached.
        """
        if self.deformation is None:
            return None
        weights = tuple((value.data_ptr(), value._version) for value in self.reference.parameters())
        asked = (weights, tuple(bounds.flatten().tolist()), step)
        if self._baked is not None and self._baked[0] == asked:
            return self._baked[1]

        def reference(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
            return self.reference(self._inner()((points - self.centre)[None]).value)[0, :, 0]

        wide = torch.tensor([[-_DISPLACED], [_DISPLACED]]).to(bounds)
        grid = SdfGrid.of(reference, bounds + wide, step)
        self._baked = (asked, grid)
        return grid

    def bind(
        self,
        z_shape: Float[Tensor, "c"],
        z_appearance: Float[Tensor, "c"],
        baked: SdfGrid | None = None,
        z_expression: Float[Tensor, "e"] | None = None,
    ) -> Field:
        """Return the field of one head; gradients flow to the latents and to the weights.

        Without coefficients of expression the head is neutral.

        With a baked reference the field has rough distances too: those of the grid where points are displaced to.
        """
        expression = None if z_expression is None else z_expression[None]
        shape = self.shape_network.fold(self.shape_condition(z_shape[None], expression))
        appearance = self.renderer.fold(z_appearance[None])

        def surface(points: Float[Tensor, "n 3"]) -> SurfacePoints:
            at = self.query(points[None], shape)
            return SurfacePoints(at.sdf[0], at.gradient[0], torch.cat([at.reference, at.feature], -1)[0])

        def colour(
            points: Float[Tensor, "n 3"],
            normals: Float[Tensor, "n 3"],
            views: Float[Tensor, "n 3"],
            features: Float[Tensor, "n k"],
        ) -> Float[Tensor, "n 3"]:
            return self.colour(features[None, :, :3], normals[None], views[None], features[None, :, 3:], appearance)[0]

        def rough(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
            assert baked is not None
            return baked.at(points + self.displacement(points[None], shape)[0])

        def exact(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
            return self.sdf(points[None], shape)[0]

        return Field(exact, surface, colour, None if baked is None else rough)
