"""Full, coloured 3D heads in millimetres from one to thirty-two photos: `protome.reconstruct([...]) -> Head`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protome.pipeline import Head, reconstruct

__all__ = ["Head", "reconstruct"]


def __getattr__(name: str) -> Any:
    # The pipeline imports torch, which takes seconds: it is loaded when it is first asked for.
    if name not in __all__:
        raise AttributeError(f"module protome has no attribute {name}")
    from protome import pipeline

    return getattr(pipeline, name)
