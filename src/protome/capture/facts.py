"""What is known about the photos of a scene, and the kinds of things that can be wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from protome.capture import checks
from protome.capture.photo import FILM_DIAGONAL_MM
from protome.geometry.camera import direction

SENTENCES = {
    "faces": "several faces found in {photos}: the largest of each, or the one that the other photos show, is used",
    "blurred": "the face is blurred in {photos}: blurred photos count less",
    "tiny": f"the face is less than {checks.TINY_PX:.0f} pixels high in {{photos}}: small faces count less",
    "overexposed": "the face is overexposed in {photos}: burnt-out skin shows no shape, and such photos count less",
    "underexposed": "the face is underexposed in {photos}: black skin shows no shape, and such photos count less",
    "blue": "the skin is bluer than any skin in {photos}: a negative, exchanged colour channels, or coloured "
    "light, with which colours and fine detail are wrong",
    "covered": "something covers the mouth or the nose in {photos}: what is below is a guess",
    "turned": "the face is turned away by more than 60 degrees in {photos}: the camera is uncertain",
    "cut": "the edge of the picture cuts the head in {photos}: what is cut off is a guess",
    "hair": "the outline of the hair differs in {photos}: give photos of one day",
    "light": "the light comes from another side of the face in {photos}: give photos in one light",
    "tint": "the light has another colour in {photos}: give photos in one light",
    "expression": "the expression is strong in {photos}: the head will have it or a mixture",
    "mouth": "the expression differs in {photos}: give photos with one expression",
    "shadow": "one half of the face is in shadow in {photos}: even light shows more of the shape",
    "glasses": "glasses seem to cover the face in {photos}: they are not modelled",
}
"""One sentence for each kind of concern, the gravest first; `photos` lists names, with details in brackets."""


@dataclass(frozen=True)
class Concern:
    """One thing that is wrong with one photo."""

    kind: str
    """A key of `SENTENCES`."""
    words: str
    """What it is, for below the photo."""
    detail: str = ""
    """What is added to the photo's name in the joined sentence."""


@dataclass(frozen=True)
class FaceFacts:
    """What `protome.capture.checks` measured on a face."""

    height_px: float
    blur: float
    burnt_out: float
    blacked_out: float
    side_light: float | None
    tint: tuple[float, float]
    mouth_gap: float
    smile: float
    eyes_shut: bool
    cut_head: float
    chin_room: float
    frame_edge: float
    """Darkness of a line where glasses have their frames."""
    covered: float | None = None
    """Share of things in front over mouth and nose; None where it is not known."""


@dataclass(frozen=True)
class PhotoFacts:
    """One photo of a scene."""

    photo: str
    width: int
    height: int
    focal_px: float
    focal_from: str
    """Where the focal length comes from, in words."""
    distance_mm: float
    """From the camera to the point between the eyes."""
    azimuth: float
    """Degrees from the front to the subject's left at which the camera stands."""
    elevation: float
    """Degrees above the level of the eyes."""
    face: FaceFacts | None
    """None where no face was found."""
    weight: float
    """How much the photo should count in a fit."""
    concerns: tuple[Concern, ...]
    """The gravest first."""

    @property
    def towards(self) -> Float[Tensor, "3"]:
        """The unit vector from the head to the camera (head frame)."""
        return direction(math.radians(self.azimuth), math.radians(self.elevation))

    @property
    def focal_mm(self) -> float:
        """The focal length as of a lens for 35 mm film, by the picture's diagonal."""
        return self.focal_px * FILM_DIAGONAL_MM / math.hypot(self.width, self.height)
