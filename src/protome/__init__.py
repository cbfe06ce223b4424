"""Full, coloured 3D heads in millimetres from one to thirty-two photos: `protome.reconstruct([...]) -> Head`.

The names below are the package's public interface. Each is imported on first use, so that `import protome` is fast.
Other modules may change between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protome.evaluate.report import evaluate
    from protome.pipeline import Head, reconstruct
    from protome.prior.prior import Prior
    from protome.scene import Scene
    from protome.sider.pipeline import recover_detail
    from protome.training.train import train

__version__ = "1.0.0"
__all__ = ["Head", "Prior", "Scene", "__version__", "evaluate", "reconstruct", "recover_detail", "train"]

_HOMES = {
    "Head": "protome.pipeline",
    "Prior": "protome.prior.prior",
    "Scene": "protome.scene",
    "evaluate": "protome.evaluate.report",
    "reconstruct": "protome.pipeline",
    "recover_detail": "protome.sider.pipeline",
    "train": "protome.training.train",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    # These modules import torch, which takes seconds: each is loaded on first use.
    if name not in _HOMES:
        raise AttributeError(f"module protome has no attribute {name}")
    from protome.util.waiting import wait_briefly

    wait_briefly()
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
