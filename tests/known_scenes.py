"""A folder in H3DS's layout with one person whose true surface is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heads import Person, photograph
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.scenes.h3ds import Truth, write_h3ds
from protome.units import UNIT_MM

SETS = '[scenes.somebody.default_views_configs]\n"1" = [0]\n"3" = [0, 1, 2]\n'


def write_known_scenes(folder: Path, person: Person, size: int = 128) -> Path:
    """Write the scene `somebody` with three photos and the view sets 1 and 3, and return the folder."""
    views = photograph(person, (0.0, 50.0, -50.0), size, Similarity.scaling(UNIT_MM)).views
    mesh = Mesh(person.mesh.vertices * UNIT_MM, person.mesh.faces)
    points = person.prior.landmarks_of(person.prior.field, person.latents).double().numpy() * UNIT_MM
    named = {
        name: int(np.linalg.norm(mesh.vertices - point, axis=1).argmin())
        for name, point in zip(LANDMARK_NAMES, points, strict=True)
    }
    write_h3ds(folder / "somebody", views, Truth(mesh, named, {}))
    (folder / "config.toml").write_text(SETS)
    return folder
