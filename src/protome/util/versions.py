"""The versions of Python, of this package and of the libraries that results depend on."""

from __future__ import annotations

import platform
from importlib import metadata

NAMES = ("protome", "torch", "numpy", "mediapipe", "trimesh", "scikit-image")


def versions() -> dict[str, str]:
    """Return them by name."""
    found = {"python": platform.python_version()}
    for name in NAMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
