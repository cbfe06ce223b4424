"""`python -m protome.population.portraits.prepare --valid DIR --ict DIR --makehuman DIR --out wardrobe.npz`."""

from __future__ import annotations

from argparse import ArgumentParser
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


if __name__ == "__main__":
    parser = ArgumentParser(description="Prepare what portraits are drawn from.")
    for name in ("valid", "ict", "makehuman", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--targets", type=Path)
    given = parser.parse_args()
    prepare(Sources(given.valid, given.ict, given.makehuman, given.targets), given.out)
