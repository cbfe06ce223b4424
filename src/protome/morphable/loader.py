"""Head models by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protome.errors import InputError
from protome.morphable.flame import load_flame
from protome.morphable.ict import load_ict
from protome.morphable.linear import load_builtin, load_linear
from protome.morphable.model import MorphableModel

BUILT_IN = "built-in"
_READERS: dict[str, Callable[[Path], MorphableModel]] = {
    "flame": load_flame, "ict": load_ict, "npz": load_linear,
}  # fmt: skip


def load_model(name: str) -> MorphableModel:
    """Read the packaged model ("built-in"), or one of the user's own: flame:FILE, ict:DIR or npz:FILE.

    Raises:
        InputError: another kind, or a file that the reader refuses.
    """
    if name == BUILT_IN:
        return load_builtin()
    kind, _, path = name.partition(":")
    if kind not in _READERS or not path:
        raise InputError(f"no head model is called {name}: give {BUILT_IN}, flame:FILE, ict:DIR or npz:FILE")
    return _READERS[kind](Path(path))
