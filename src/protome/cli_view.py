"""The command `protome view`, which imports what does the work when it runs, as those of `protome.cli` do."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from protome.cli_options import Integer, MaybeFile
from protome.errors import InputError

PORT = 8780
INSTALL = "pip install viser"


def view(
    target: Positional[Annotated[Path, arg(metavar="RESULT|SCENE", help_behavior_hint="(required)")]],
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Integer = PORT,
    prior: MaybeFile = None,
) -> None:
    """Show a head in the browser, live: cameras, photos, slices of the field, and sliders of the prior's latents.

    Args:
        target: The folder of a reconstruction; or a scene folder, around whose cameras the mean head stands.
        host: The address to listen at; whoever can reach it sees the head, for there is no token.
        port: The port to listen at; the next free one is taken where it is in use.
        prior: The prior that the head was made with; if left out, the one that ships with the package.
    """
    check_viser()
    from protome.view.viewing import view as run

    run(target, host=host, port=port, path=prior)


def check_viser() -> None:
    """Make sure that the viewer's library is there.

    Raises:
        InputError: it is not.
    """
    if find_spec("viser") is None:
        raise InputError(f"the viewer needs viser, which is not installed: run `{INSTALL}`")
