"""Graphics cards of this machine, dealt out to the processes of a batch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

from protome.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that names the cards a process may use, separated by commas."""


def check_share(gpus: float) -> None:
    """Make sure that a number of cards for each subject can be given out: a whole number, or a part of one card.

    Raises:
        InputError: it cannot.
    """
    if not 0 <= gpus < float("inf"):
        raise InputError(f"--gpus-per-subject {gpus:g} is out of range: give 0 or more")
    if gpus > 1 and gpus != int(gpus):
        raise InputError(f"--gpus-per-subject {gpus:g} is no whole number: give a whole one, or a part of one card")


def shares(cards: Sequence[str], gpus: float) -> tuple[str, ...]:
    """Return what each of the processes that run at once may see: one entry for each, names separated by commas.

    A share below one is a part of one card, so that several processes see the same. Cards are given in turn: the first
    processes get different ones. No subject gets fewer cards than it asks for.

    Raises:
        InputError: there are fewer cards than one subject needs.
    """
    if gpus == 0:
        return ()
    if not cards:
        raise InputError(
            f"--gpus-per-subject {gpus:g} needs a graphics card, and CUDA finds none on this machine: leave it out"
        )
    if gpus > len(cards):
        raise InputError(f"--gpus-per-subject {gpus:g} is more than this machine has: CUDA finds {len(cards)}")
    if gpus < 1:
        return tuple(cards) * int(1 / gpus + 1e-9)
    each = int(gpus)
    return tuple(",".join(cards[first : first + each]) for first in range(0, len(cards) - each + 1, each))


def visible_cards(count: int, given: str | None) -> tuple[str, ...]:
    """Return the names of the `count` cards that CUDA finds, where the environment variable says `given`."""
    if given is None:
        return tuple(map(str, range(count)))
    return tuple(name.strip() for name in given.split(","))[:count]


def cards_here() -> tuple[str, ...]:
    """Return the names of the graphics cards that this process may use."""
    count = importlib.import_module("torch").cuda.device_count()
    return visible_cards(count, os.environ.get(VISIBLE))
