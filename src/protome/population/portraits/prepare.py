"""The file that portraits are drawn from."""

from __future__ import annotations

from pathlib import Path

from protome.population.build import Sources
from protome.population.portraits.wardrobe import Wardrobe


def prepare(sources: Sources, out: Path) -> Path:
    """Write the wardrobe of portraits; MakeHuman's fitted assets are kept beside it for the next time.

    Raises:
        InputError: a source is missing.
    """
    Wardrobe.of(sources.composer(out.with_suffix(".makehuman.npz"))).save(out)
    return out
