"""The parts that every pixel of a portrait belongs to one of."""

from __future__ import annotations

PARTS = (
    "background", "other people", "skin", "hair", "beard", "brows", "eyes", "inside of the mouth", "clothes",
    "things in front",
)  # fmt: skip
"""Names in the order of the labels. Things in front are whatever is worn or held before the head: spectacles, hats,
hands, microphones."""
BACKGROUND, OTHERS, SKIN, HAIR, BEARD, BROWS, EYES, MOUTH, CLOTHES, FRONT = range(len(PARTS))
