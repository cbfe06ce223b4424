"""Everything that people in portraits are drawn from, prepared once and read by every process in a second."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from trimesh import Trimesh

from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.population.compose import Composer
from protome.population.makehuman.clothes import Outfit
from protome.population.people import region_masks
from protome.population.portraits.places import Places
from protome.population.portraits.skins import bare_skins
from protome.population.sources.valid import Part
from protome.render.cast import sky_visibility
from protome.util.files import write_arrays

FORMAT = "protome wardrobe 1"
NEIGHBOURS = 12
"""Body vertices that a vertex of hair, cloth or an eye moves with."""
SAME_WIG_M = 0.002
MOUTH_M = np.array([[-0.03, -0.10, -0.075], [0.03, -0.045, 0.0]])
"""The box (head frame) in which surfaces that the sky hardly reaches are the inside of the mouth."""
MOUTH_SKY = 0.12
SKY_RAYS = 96


@dataclass(frozen=True)
class Worn:
    """A mesh that moves with the body: hair, an outfit, eyes."""

    vertices: Float[np.ndarray, "v 3"]
    """On the mean body, metres."""
    faces: Int[np.ndarray, "f 3"]
    near: Int[np.ndarray, "v 12"]
    """Body vertices that each vertex moves with."""
    share: Float[np.ndarray, "v 12"]
    shade: Float[np.ndarray, "v"]
    """Relative brightness: strands and shadows of hair as they were painted."""

    def carried(self, moves: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, "v 3"]:
        """Return the vertices on a body whose vertices departed from the mean by `moves`."""
        return self.vertices + np.einsum("vk,vkc->vc", self.share, moves[self.near])

    @staticmethod
    def on(body: Float[np.ndarray, "b 3"], vertices: np.ndarray, faces: np.ndarray, shade: np.ndarray) -> Worn:
        """Bind a mesh to the nearest vertices of a body."""
        distance, near = tree_of(body).query(vertices, k=NEIGHBOURS)
        weight = 1.0 / (distance + 0.004) ** 2
        share = weight / weight.sum(1, keepdims=True)
        return Worn(
            vertices.astype(np.float32), faces.astype(np.int32), near.astype(np.int32), share.astype(np.float32),
            shade.astype(np.float32),
        )  # fmt: skip


@dataclass(frozen=True)
class Wardrobe:
    """Bodies, faces, skins, hair and clothes on one topology, the body's; head frame, metres, single precision."""

    mean: Float[np.ndarray, "v 3"]
    template: Float[np.ndarray, "v 3"]
    """The common template: canonical coordinates of the body's vertices."""
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """v up."""
    weld: Int[np.ndarray, "v"]
    bodies: Float[np.ndarray, "n v 3"]
    """Training people of VALID whose scalp is bare; the bodies of others include their hair."""
    towards_face: Float[np.ndarray, "v 3"]
    """From the mean body to the face model's mean face."""
    face: Float[np.ndarray, "v"]
    identity: Float[np.ndarray, "m v 3"]
    regions: Float[np.ndarray, "r v"]
    expression: Float[np.ndarray, "e v 3"]
    sliders: Float[np.ndarray, "s v 3"]
    expression_names: tuple[str, ...]
    slider_names: tuple[str, ...]
    scalp: Float[np.ndarray, "v"]
    beard: Float[np.ndarray, "v"]
    lift: Float[np.ndarray, "v 3"]
    sky: Float[np.ndarray, "v"]
    """Share of the sky that a vertex of the template sees."""
    mouth: Float[np.ndarray, "v"]
    """1 inside the mouth."""
    skins: UInt8[np.ndarray, "k t t 3"]
    """Textures without brows, sRGB."""
    cloth: UInt8[np.ndarray, "k t t"]
    """255 where a texture shows cloth."""
    lightness: Float[np.ndarray, "k"]
    """CIE lightness of the cheeks of each skin."""
    brows: UInt8[np.ndarray, "b t t"]
    """Opacity of pairs of brows."""
    eyes: tuple[Worn, ...]
    """The eyes, then the tear glands."""
    hair: tuple[Worn, ...]
    hair_names: tuple[str, ...]
    outfits: tuple[Worn, ...]
    outfit_colours: tuple[UInt8[np.ndarray, "_ 3"], ...]

    @cached_property
    def places(self) -> Places:
        """Places on the body that pieces are put at."""
        return Places.of(self.template, self.mean, [eye.vertices for eye in self.eyes[:2]])

    @staticmethod
    def of(composer: Composer) -> Wardrobe:
        """Prepare the sources of a population; held-out people are left out.

        Raises:
            InputError: the face model or MakeHuman's assets are missing.
        """
        valid, modes, makehuman = composer.valid, composer.faces, composer.makehuman
        if modes is None or makehuman is None or makehuman.shapes is None:
            raise InputError("portraits need the face model and MakeHuman's assets: give --ict and --makehuman")
        mean = valid.mean
        sky = _sky(composer.template, valid.weld[valid.faces])[valid.weld]
        inside = _in_mouth(composer.template, sky)
        first = composer.avatars[valid.training_names[0]]
        bald = [composer.avatars[name] for name in valid.training_names if valid.is_bald(name)]
        skins = bare_skins(composer, bald)
        hair = [Worn.on(mean, s.vertices, s.faces, _relative(s.colours)) for s in makehuman.hair]
        names = [s.name for s in makehuman.hair]
        for name, wig in _wigs(composer):
            hair.append(wig)
            names.append(name)
        outfits = [Worn.on(mean, o.vertices, o.faces, np.ones(len(o.vertices))) for o in makehuman.clothes]
        eyes = [
            Worn.on(mean, _carry(part.vertices, first.body.vertices, mean), part.faces, np.ones(len(part.vertices)))
            for part in first.small
        ]
        single = np.float32
        return Wardrobe(
            mean.astype(single), composer.template.astype(single), valid.faces.astype(np.int32),
            np.stack([valid.uv[:, 0], 1 - valid.uv[:, 1]], 1).astype(single), valid.weld.astype(np.int32),
            np.stack([valid.body(name) for name in valid.training_names if valid.is_bald(name)]).astype(single),
            modes.towards_mean.astype(single), modes.face.astype(single), modes.identity.astype(single),
            region_masks(composer.template).astype(single), modes.expression.astype(single),
            makehuman.shapes.modes.astype(single), modes.expression_names, makehuman.shapes.names,
            composer.masks.scalp.astype(single), composer.masks.beard.astype(single),
            composer.masks.lift.astype(single), sky.astype(single), inside.astype(single), skins.textures, skins.cloth,
            skins.lightness.astype(single), skins.brows, tuple(eyes), tuple(hair), tuple(names), tuple(outfits),
            tuple(_vertex_colours(o) for o in makehuman.clothes),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write all arrays to one file."""
        arrays: dict[str, np.ndarray] = {"format": np.array(FORMAT)}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                arrays[name] = value
            elif name.endswith("_names"):
                arrays[name] = np.array(value, str)
            elif name == "outfit_colours":
                arrays |= {f"{name}.{number}": colours for number, colours in enumerate(value)}
            else:
                for number, worn in enumerate(value):
                    arrays |= {f"{name}.{number}.{field}": array for field, array in vars(worn).items()}
        write_arrays(path, arrays)

    @staticmethod
    def load(path: Path) -> Wardrobe:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or is something else.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist: write it with `protome population wardrobe`")
        with np.load(path) as stored:
            if str(stored.get("format")) != FORMAT:
                raise InputError(f"{path} is no wardrobe of this version: prepare it again")
            arrays = {name: stored[name] for name in stored.files if name != "format"}

        def worn(kind: str) -> tuple[Worn, ...]:
            count = sum(name.startswith(f"{kind}.") and name.endswith(".near") for name in arrays)
            names = [field.name for field in fields(Worn)]
            return tuple(Worn(*(arrays.pop(f"{kind}.{k}.{name}") for name in names)) for k in range(count))

        eyes, hair, outfits = worn("eyes"), worn("hair"), worn("outfits")
        colours = tuple(arrays.pop(f"outfit_colours.{number}") for number in range(len(outfits)))
        texts = {
            name: tuple(str(text) for text in arrays.pop(name))
            for name in ("expression_names", "slider_names", "hair_names")
        }
        return Wardrobe(eyes=eyes, hair=hair, outfits=outfits, outfit_colours=colours, **texts, **arrays)  # type: ignore[arg-type]


def inside_mouth(composer: Composer) -> Bool[np.ndarray, "v"]:
    """Return which vertices of the body are the inside of the mouth while it is closed."""
    valid = composer.valid
    return _in_mouth(composer.template, _sky(composer.template, valid.weld[valid.faces])[valid.weld])


def _in_mouth(template: Float[np.ndarray, "v 3"], sky: Float[np.ndarray, "v"]) -> Bool[np.ndarray, "v"]:
    return ((template > MOUTH_M[0]) & (template < MOUTH_M[1])).all(1) & (sky < MOUTH_SKY)


def _sky(template: Float[np.ndarray, "v 3"], faces: np.ndarray) -> Float[np.ndarray, "v"]:
    mesh = Mesh(template, faces)
    normals = np.array(Trimesh(template, faces, process=False).vertex_normals)
    points, up = torch.from_numpy(template).float(), torch.from_numpy(np.ascontiguousarray(normals)).float()
    return sky_visibility(mesh, points, up, SKY_RAYS).numpy()


def _carry(points: np.ndarray, before: np.ndarray, after: np.ndarray) -> Float[np.ndarray, "n 3"]:
    worn = Worn.on(before, points, np.zeros((0, 3), int), np.ones(len(points)))
    return worn.carried((after - before).astype(np.float32))


def _relative(colours: UInt8[np.ndarray, "v 3"]) -> Float[np.ndarray, "v"]:
    brightness = np.maximum(colours.astype(np.float64).mean(1), 1.0)
    return np.clip(brightness / brightness.mean(), 0.4, 1.8)


def _vertex_colours(part: Part | Outfit) -> UInt8[np.ndarray, "v 3"]:
    height, width = part.texture.shape[:2]
    row = np.clip(((1 - part.uv[:, 1]) * height).astype(int), 0, height - 1)
    return part.texture[row, np.clip((part.uv[:, 0] * width).astype(int), 0, width - 1)]


def _wigs(composer: Composer) -> list[tuple[str, Worn]]:
    """Return the wigs that differ in shape, on the mean body."""
    found: list[tuple[str, Worn]] = []
    for name in composer.valid.training_names:
        avatar = composer.avatars[name]
        if avatar.wig is None:
            continue
        places = _carry(avatar.wig.vertices, avatar.body.vertices, composer.valid.mean)
        if any(
            len(places) == len(other.vertices) and np.linalg.norm(places - other.vertices, axis=1).mean() < SAME_WIG_M
            for _, other in found
        ):
            continue
        shade = _relative(_vertex_colours(avatar.wig))
        found.append((f"wig-{name}", Worn.on(composer.valid.mean, places, avatar.wig.faces, shade)))
    return found
