"""Files of the network's weights: safetensors in half precision, with the story of the training."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from protome.errors import InputError
from protome.perception.network import PerceptionNet
from protome.util.files import write_atomically
from protome.util.reading import reading
from protome.util.tensor_files import save_tensors

FORMAT = "protome perception 1"


def save_weights(path: Path, network: PerceptionNet, about: dict[str, str]) -> None:
    """Write a network's weights in half precision; `about` goes into the file's head."""
    held = {
        key: (value.half() if value.dtype.is_floating_point else value).detach().cpu().contiguous().clone()
        for key, value in network.state_dict().items()
    }
    write_atomically(path, lambda part: save_tensors(held, part, {"format": FORMAT, **about}))


def stored_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a file in single precision, and what its head says.

    Raises:
        InputError: the file is missing or of another kind.
    """
    with reading(path, "safetensors", "give the file of a perception network"), safe_open(path, "pt") as stored:
        about = dict(stored.metadata() or {})
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    if about.get("format") != FORMAT:
        raise InputError(f"{path} is no perception network of this version: train or fetch it again")
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}, about


def load_network(path: Path) -> PerceptionNet:
    """Return the network of a file, ready for use.

    Raises:
        InputError: the file is missing, of another kind, or holds the weights of another network.
    """
    tensors, _ = stored_weights(path)
    with reading(path, "a perception network", "train or fetch it again"):
        return network_of(tensors)


def network_of(tensors: dict[str, Tensor]) -> PerceptionNet:
    """Return the network of stored weights, ready for use."""
    network = PerceptionNet()
    network.load_state_dict(tensors)
    return network.eval()
