"""The head model that ships with the package: identities and expressions learned from the population's own shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.landmarks import load_face_landmarks
from protome.morphable.linear import save_linear
from protome.morphable.model import Chart, MorphableModel, SurfaceAnchors
from protome.population.build import TABLES, Sources
from protome.population.faces import FaceModes
from protome.population.head_model.chart import flat_map
from protome.population.head_model.landmarks import LANDMARKS, detected_landmarks
from protome.population.head_model.shapes import HeadShapes
from protome.population.head_model.topology import HeadTopology
from protome.util.files import check_output_file
from protome.util.progress import progress

FACE_M, REST_M = 0.085, 0.110
"""Distances from the nose tip within which a vertex counts in full, and beyond which it counts `REST`."""
REST = 0.1
"""What the back of the head counts against the face: hair hides it from everybody."""
EXPRESSION = 0.3
"""Standard deviation of a blend shape's weight in photos; 1 is the whole movement."""
GRAIN_MM = 1 / 256
"""Components are rounded to this, which makes the file smaller and moves no head by a measurable amount."""
OPENED = 0.3
"""How far the mouth is open where the surface is laid flat: closed lips would leave its patch no area."""


@dataclass(frozen=True)
class HeadModelConfig:
    """How the model is learned."""

    people: int = 3000
    """People whose shapes are analysed."""
    identities: int = 100
    """Principal components that are kept."""
    pictures: int = 60
    """Pictures of people in which landmarks are detected."""
    seed: int = 0
    """Number that people and pictures are drawn from."""

    def check(self) -> None:
        """Make sure that a model can be learned with these numbers.

        Raises:
            InputError: there are too few people for so many components, or no components or pictures.
        """
        if not 1 <= self.identities < self.people:
            raise InputError(
                f"{self.identities} identity components cannot be learned from {self.people} people: "
                "give 1 or more, and more people than components"
            )
        if self.pictures < 1:
            raise InputError(f"{self.pictures} pictures show no landmarks: give 1 or more")


def write_head_model(
    out: Path,
    *,
    valid: Path,
    ict: Path,
    makehuman: Path | None = None,
    targets: Path | None = None,
    tables: Path = TABLES,
    cache: Path | None = None,
    config: HeadModelConfig | None = None,
    quiet: bool = False,
) -> MorphableModel:
    """Learn the head model and write it as a linear model in half precision (`protome.morphable.linear`).

    The default configuration is that of the shipped file. `cache` is a file that keeps the fit of MakeHuman's assets,
    such as `makehuman.npz` of a population.

    Raises:
        InputError: a source is missing, the configuration makes no model, or the file cannot be written.
    """
    config = config or HeadModelConfig()
    config.check()
    check_output_file(out)
    sources = Sources(valid, ict, makehuman, targets, tables)
    sources.check()
    model = build_head_model(sources, cache, config, quiet=quiet)
    save_linear(model, out, np.float16)
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(model.template)} vertices, {len(model.faces)} triangles, "
        f"{len(model.identity)} identity and {len(model.expression)} expression components"
    )
    return model


def build_head_model(
    sources: Sources, cache: Path | None, config: HeadModelConfig, *, quiet: bool = False
) -> MorphableModel:
    """Learn the model; `cache` keeps the fit of MakeHuman's assets, as for a population.

    Raises:
        InputError: a source is missing.
    """
    if sources.ict is None:
        raise InputError("the head model needs the ICT face model: give --ict")
    composer = sources.composer(cache)
    assert composer.faces is not None
    sliders = None if composer.makehuman is None else composer.makehuman.shapes
    shapes = HeadShapes.of(composer.valid, composer.faces, sliders)
    topology = HeadTopology.of(composer.valid, shapes.template)
    mean, identity = _identities(shapes, topology, config, quiet=quiet)
    names, expression = _expressions(composer.faces, shapes, topology)
    faces = topology.faces
    opened = mean + OPENED * expression[names.index("jawOpen")]
    flat = flat_map(opened, faces)

    table = json.loads((sources.tables / "mediapipe_landmarks.json").read_text())["valid_body"]
    corners, weights = np.array(table["triangles"])[:LANDMARKS], np.array(table["barycentric"])[:LANDMARKS]
    start = 1000 * (shapes.template[corners] * weights[..., None]).sum(1)
    template = Mesh(1000 * topology.shape(shapes.template), faces)
    detected = detected_landmarks(
        composer, 1000 * shapes.template, template, start, config.pictures, config.seed, quiet=quiet
    )
    dense = SurfaceAnchors(
        torch.from_numpy(detected.faces),
        torch.from_numpy(detected.weights).float(),
        torch.from_numpy(detected.spread_mm).float(),
    )
    return MorphableModel(
        "Protome head", _tensor(mean), torch.from_numpy(faces), _tensor(identity), _tensor(expression), names,
        torch.full((len(names),), EXPRESSION), dense[load_face_landmarks().ibug68], dense,
        Chart(_tensor(flat.uv), torch.from_numpy(flat.uv_faces)),
    )  # fmt: skip


def _identities(
    shapes: HeadShapes, topology: HeadTopology, config: HeadModelConfig, *, quiet: bool
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "i v 3"]]:
    """Return the mean and the principal components of many people, mm."""
    drawn = np.empty((config.people, len(topology.bulge), 3), np.float32)
    with progress("drawing people", config.people, quiet=quiet) as step:
        for number, body in enumerate(islice(shapes.stream(config.seed), config.people)):
            drawn[number] = 1000 * topology.shape(body)
            step(1)
    mean = drawn.mean(0, dtype=np.float64)
    nose = mean[mean[:, 2].argmax()]
    away = (np.linalg.norm(mean - nose, axis=1) / 1000 - FACE_M) / (REST_M - FACE_M)
    away = np.clip(away, 0, 1)
    root = np.sqrt(1 - (1 - REST) * away**2 * (3 - 2 * away))[:, None]
    drawn -= mean.astype(np.float32)
    scaled = (drawn * root.astype(np.float32)).reshape(len(drawn), -1)
    _, directions = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    chosen = directions[:, ::-1][:, : config.identities]
    # A component is the sum of what its share of people departs from the mean; of unit variance, it is a deviation.
    axes = (chosen.T.astype(np.float32) @ scaled).reshape(-1, *mean.shape) / root / np.sqrt(len(drawn) - 1)
    return mean, _rounded(axes)


def _expressions(
    faces: FaceModes, shapes: HeadShapes, topology: HeadTopology
) -> tuple[tuple[str, ...], Float[np.ndarray, "e v 3"]]:
    """Return the blend shapes that move skin, mm; those of pupils and gaze do not."""
    kept = [k for k, name in enumerate(faces.expression_names) if not name.startswith(("Pupil", "eyeLook"))]
    moves = 1000 * topology.expression(shapes.template, faces.expression[kept])
    return tuple(faces.expression_names[k] for k in kept), _rounded(moves)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values / GRAIN_MM) * GRAIN_MM


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
