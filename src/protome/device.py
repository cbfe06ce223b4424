"""Choosing the device and setting the processor up for fields."""

from __future__ import annotations

import torch

from protome.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `auto`, `cpu` or `cuda`; `auto` takes a GPU where there is one.

    On the processor denormal numbers are flushed to zero: SoftPlus networks make them in masses and each one
    costs as much as a hundred ordinary numbers. The flag works only if set before torch's first parallel operation.

    Raises:
        InputError: CUDA is asked for and missing.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device was found: use --device cpu or --device auto")
    torch.set_flush_denormal(True)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
