"""The people of the casual captures, and their true heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eyes import draw_eyes
from limits import RIM_MM
from protome.evaluate.metrics import FACE_RADIUS_MM
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.population.build import outer_surface
from protome.population.compose import ComposedHead, Composer
from protome.population.light import draw_light
from protome.population.sources.valid import Part
from protome.population.surface import BOUNDS_M, OuterSurface
from protome.scenes.h3ds import Truth, write_truth
from real_scan import Scan, load_scan
from scenes import REAL, above, outer
from sitter import Sitter

SCAN_EVERY, SCAN_FIRST = 25, 7
"""Captures of the real scan: every so many, from this one on."""
SCAN_LOW_MM = 185.0
VALID_SHARE, VALID_STEP = 1 / 6, 0.445042
"""Share of the captures that show held-out avatars; the others show people of the face model."""
VALIDS, MODELLED = 12, 100


@dataclass(frozen=True)
class Person:
    """Who sits for a capture."""

    name: str
    """As the accuracy benchmark names scenes."""
    sitter: Sitter
    top_mm: float
    """How far hair or skull reach above the eyes."""
    low_mm: float
    """How far below the eyes a photo may reach: a scan ends there, other busts go on."""
    scan: Scan | None
    """The real scan, if it is one."""


def people_of(index: int, composer: Composer, seed: int, scan: Path | None, landmarks: Path | None) -> Person:
    """Return the person of capture number `index`."""
    eyes = draw_eyes(np.random.default_rng([seed, 28, index]))
    if scan is not None and landmarks is not None and index % SCAN_EVERY == SCAN_FIRST:
        return scanned(load_scan(scan, landmarks))
    share = (0.2 + index * VALID_STEP) % 1.0
    if share < VALID_SHARE:
        split, number = "holdout_valid", round(share / VALID_SHARE * VALIDS - 0.5) % VALIDS
    else:
        split, number = "holdout_ict", (37 * index) % MODELLED
    surface, _ = outer_surface(composer, split, number, seed)
    sitter = Sitter(surface.head, composer.faces, eyes, number)
    top = max(float(part.vertices[:, 1].max()) for part in surface.head.parts)
    return Person(f"{split}_{number}", sitter, 1000 * top, math.inf, None)


def scanned(scan: Scan) -> Person:
    """Return the person of a real scan, whose eyes are closed and whose face stays as it is."""
    mesh, subject = scan.subject.mesh, scan.subject
    assert subject.uv is not None
    assert subject.texture is not None
    picture = np.rint(255 * subject.texture).astype(np.uint8)
    part = Part(mesh.vertices / 1000, np.asarray(mesh.faces, np.int64), subject.uv, picture)
    marks = np.stack([scan.landmarks[name] for name in LANDMARK_NAMES]) / 1000
    head = ComposedHead(REAL, (part,), (True,), marks, draw_light(np.random.default_rng(0)))
    return Person(REAL, Sitter(head, None, None, 0), float(mesh.vertices[:, 1].max()), SCAN_LOW_MM, scan)


def write_scan(folder: Path, person: Person, head: ComposedHead) -> None:
    """Write the true head as it was photographed, in the head frame, millimetres."""
    if person.scan is not None:
        truth, marks = person.scan.truth, np.stack([person.scan.landmarks[name] for name in LANDMARK_NAMES])
    else:
        surface = OuterSurface(head, np.random.default_rng(0))
        whole = Mesh(1000.0 * np.asarray(surface.soup.vertices), np.asarray(surface.outer, np.int64))
        truth = above(outer(whole), 1000 * float(BOUNDS_M[0, 1]) + RIM_MM)
        marks = 1000 * _moved_landmarks(person.sitter.head, head)
    vertices = {
        name: int(np.linalg.norm(truth.vertices - mark, axis=1).argmin())
        for name, mark in zip(LANDMARK_NAMES, marks, strict=True)
    }
    tip = marks[LANDMARK_NAMES.index("nose_tip")]
    sphere = np.flatnonzero(np.linalg.norm(truth.vertices - tip, axis=1) <= FACE_RADIUS_MM)
    write_truth(folder, Truth(truth, vertices, {"face_sphere": sphere}))


def _moved_landmarks(neutral: ComposedHead, head: ComposedHead) -> Float[np.ndarray, "6 3"]:
    """Return where the landmarks, vertices of the body, lie with the head's expression."""
    before = neutral.parts[0].vertices
    nearest = [int(np.linalg.norm(before - mark, axis=1).argmin()) for mark in neutral.landmarks]
    return head.parts[0].vertices[nearest]
