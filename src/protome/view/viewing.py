"""Viewers as the command line starts them: of a folder until it is stopped, and of a fit while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from protome.errors import InputError
from protome.prior.prior import FittedHead, Prior
from protome.view.content import Content, read_content
from protome.view.viewer import Viewer

LOCAL = "127.0.0.1"


def view(target: Path, *, host: str, port: int, path: Path | None = None) -> None:
    """Show a result or a scene until the program is stopped; `path` is the prior's, if not the package's.

    Raises:
        InputError: as `protome.view.content.read_content`; or the head was made with another prior.
    """
    prior = Prior.load(path)
    content = read_content(target, prior)
    if len(content.head.latents.z_shape) != len(prior.shape.mean):
        raise InputError(f"{target} was made with another prior: give that one with --prior")
    viewer = Viewer(content, prior, host=host, port=port)
    print(f"{target} is shown at {viewer.address}; Ctrl+C stops the viewer.", flush=True)
    threading.Event().wait()


def watching(port: int, path: Path | None = None) -> Callable[[FittedHead], None]:
    """Start a viewer and return what a fit calls with its present head; `path` is its prior, if not the package's."""
    prior = Prior.load(path)
    mean = Content("fitting", FittedHead(prior.field, prior.mean(), prior.bounds), (), None)
    viewer = Viewer(mean, prior, host=LOCAL, port=port)
    print(f"The fit is shown at {viewer.address} while it runs.", flush=True)
    return viewer.show
