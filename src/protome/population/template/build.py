"""Building the template: ICT-FaceKit's head, shoulders, eyes and hair in the coordinates of the prior's reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.morphable.ict import ibug_vertices
from protome.morphable.ict_files import IctMesh
from protome.population.build import TABLES
from protome.population.faces import FaceModes
from protome.population.makehuman.fit import openness
from protome.population.sources.valid import EYE_CORNERS, ValidHeads
from protome.population.template.moves import template_moves
from protome.population.template.pieces import Piece, joined
from protome.population.template.shells import eyeballs, hair_shell, shoulders, tongue
from protome.population.template.skin import SKIN, placed, skin_piece, triangles_of
from protome.topology.names import ARKIT
from protome.topology.template import MOST_VERTICES, Part, Template
from protome.util.files import write_atomically

OPEN = (0.4, 0.6)
"""Shares of unoccluded directions from which skin is laid onto a head's surface, weakly and fully: in the folds of
lips, nostrils and ears a head's surface is blurred."""
RIM_RINGS = 6
"""Rings of skin around the lids' margins over which skin goes over to being laid onto a head's surface."""
SCALP_MM = (38.0, 62.0)
"""Heights over the plane of the hairline between which skin becomes scalp."""


def write_template(out: Path, *, valid: Path, ict: Path, tables: Path = TABLES) -> None:
    """Build the template and write it.

    Raises:
        InputError: a source folder lacks a file.
    """
    template = build_template(valid, ict, tables)
    write_atomically(out, template.save)


def build_template(valid: Path, ict: Path, tables: Path = TABLES) -> Template:
    """Return the template.

    `tables` holds `mediapipe_landmarks.json`.

    Raises:
        InputError: a source folder lacks a file.
    """
    heads, model = ValidHeads(valid), IctMesh.load(ict)
    faces = FaceModes.load(ict, tables, heads)
    body = heads.mean + faces.face[:, None] * faces.towards_mean
    body = body - body[[heads.landmarks[key] for key in EYE_CORNERS]].mean(0)
    maps = json.loads((tables / "mediapipe_landmarks.json").read_text())
    ours, theirs = (_landmarks(maps[key], points) for key, points in (("valid_body", body), ("ict", model.neutral)))
    count = min(len(ours), len(theirs), 468)
    welded = heads.weld[heads.faces]
    place = placed(model, body, welded, ours[:count], theirs[:count])
    head, skin = skin_piece(model, place)
    bust, border = shoulders(head, 1000 * body, welded)
    eyes, pivots, radii = eyeballs(place.neutral)
    pieces = [head, bust, *eyes, tongue(place.neutral), hair_shell(head)]
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    moves = template_moves(model, place, skin, pieces[4].vertices, int(starts[-1]), int(starts[4]))
    whole, kept = _welded(joined(pieces), border, int(starts[1]))
    if len(whole.vertices) > MOST_VERTICES:
        raise InputError(f"the template has {len(whole.vertices)} vertices, more than {MOST_VERTICES}: "
                         "give ICT-FaceKit's unchanged head")  # fmt: skip
    moves = moves[:, kept]
    here = np.full(len(model.neutral), -1)
    here[skin] = np.arange(len(skin))
    ibug68 = here[np.array(ibug_vertices(ict))]
    return Template(
        whole.vertices, whole.polygons, whole.uv, whole.uv_polygons, whole.part, _trust(whole), _scalp(whole),
        ibug68, _lids(model, place.neutral, moves, here), pivots, radii, ARKIT, moves,
    )  # fmt: skip


def _landmarks(table: dict[str, list], vertices: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "l 3"]:
    return (vertices[np.asarray(table["triangles"])] * np.asarray(table["barycentric"])[..., None]).sum(1)


def _welded(whole: Piece, border: Int[np.ndarray, "n"], start: int) -> tuple[Piece, Int[np.ndarray, "k"]]:
    """Return the whole with the shoulders' first ring, which begins at `start`, joined to the skin's border."""
    number = np.arange(len(whole.vertices))
    number[start : start + len(border)] = border
    polygons = np.where(whole.polygons >= 0, number[whole.polygons], -1)
    kept = np.unique(polygons[polygons >= 0])
    return Piece(whole.vertices, polygons, whole.uv, whole.uv_polygons, whole.part).kept(np.ones(len(polygons), bool))[
        0
    ], kept


def _trust(whole: Piece) -> Float[np.ndarray, "v"]:
    """Return how open skin lies, and less for its last rings before the lining."""
    solid = np.isin(whole.part, (Part.SKIN, Part.LINING, Part.LEFT_EYE, Part.RIGHT_EYE))
    skin = np.zeros(len(whole.vertices), bool)
    own = whole.polygons[whole.part == Part.SKIN]
    skin[own[own >= 0]] = True
    free = openness(whole.vertices, triangles_of(whole.polygons[solid]), 200)
    share = np.clip((free - OPEN[0]) / (OPEN[1] - OPEN[0]), 0, 1) * skin
    lining = whole.polygons[whole.part == Part.LINING]
    near = np.zeros(len(skin), bool)
    near[lining[lining >= 0]] = True
    own, ring_of = triangles_of(whole.polygons[whole.part == Part.SKIN]), np.full(len(skin), -1)
    for ring in range(RIM_RINGS):
        share[near & (ring_of < 0)] *= max(0.0, (ring - RIM_RINGS / 2) / (RIM_RINGS / 2))
        ring_of[near & (ring_of < 0)] = ring
        near[own[near[own].any(1)]] = True
    return share


def _scalp(whole: Piece) -> Float[np.ndarray, "v"]:
    """Return 1 above a plane from the hairline over the temples to the nape, falling to 0 below it."""
    rise = whole.vertices[:, 1] - 0.9 * (whole.vertices[:, 2] + 30.0)
    share = np.clip((rise - SCALP_MM[0]) / (SCALP_MM[1] - SCALP_MM[0]), 0, 1)
    return share**2 * (3 - 2 * share)


def _lids(
    model: IctMesh, neutral: Float[np.ndarray, "t 3"], moves: Float[np.ndarray, "e v 3"], here: Int[np.ndarray, "t"]
) -> Int[np.ndarray, "2 _ 2"]:
    """Return the pairs of vertices of both lids' margins that meet in a blink, left eye first.

    The margin is where the skin meets the eye's socket.
    """
    sockets = model.polygons[(model.polygons.max(1) >= 13_294) & (model.polygons.max(1) < 14_062)]
    margin = np.unique(sockets[(sockets >= 0) & (sockets < SKIN)])
    pairs = []
    for side, name in ((1, "eyeBlinkLeft"), (-1, "eyeBlinkRight")):
        own = margin[side * neutral[margin, 0] > 0]
        places = neutral[own]
        ends = places[[places[:, 0].argmin(), places[:, 0].argmax()]]
        share = (places[:, 0] - ends[0, 0]) / (ends[1, 0] - ends[0, 0])
        above = places[:, 1] > ends[0, 1] + share * (ends[1, 1] - ends[0, 1])
        inner = (share > 0.06) & (share < 0.94)
        closed = places + moves[ARKIT.index(name), here[own]]
        upper, lower = np.flatnonzero(above & inner), np.flatnonzero(~above & inner)
        nearest = [lower[np.abs(closed[lower, 0] - closed[k, 0]).argmin()] for k in upper]
        pairs.append(here[np.stack([own[upper], own[nearest]], 1)])
    most = max(len(pair) for pair in pairs)
    return np.stack([np.pad(pair, ((0, most - len(pair)), (0, 0)), constant_values=-1) for pair in pairs])
