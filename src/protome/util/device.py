"""Choosing the device and setting the processor up for fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from protome.errors import InputError

PROCESSOR_FACTS = Path("/proc/cpuinfo")
"""Where Linux tells what the processor can do."""
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let the processor's random numbers follow from a seed; afterwards the caller's random state is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def bfloat16_pays(device: torch.device) -> bool:
    """Return whether products in bfloat16 are faster than in single precision on a device.

    Processors without instructions for them are 15 to 30 times slower. The processor's flags in /proc/cpuinfo decide,
    because a trial of a few milliseconds misleads on a busy machine; without that file the answer is no.
    """
    if device.type != "cpu":
        return True
    try:
        return not _BFLOAT16_FLAGS.isdisjoint(PROCESSOR_FACTS.read_text(encoding="utf-8").split())
    except OSError:
        return False
