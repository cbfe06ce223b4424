"""Several processes that train together, one per device, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


class _Gather(torch.autograd.Function):
    """The rows of all ranks, concatenated; each rank gets the gradient of its own rows summed over all ranks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, own: Tensor, processes: ProcessGroup) -> Tensor:
        ctx.processes, ctx.length = processes, len(own)  # type: ignore[attr-defined]
        parts = [torch.empty_like(own) for _ in range(processes.count)]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        length, rank = ctx.length, ctx.processes.number  # type: ignore[attr-defined]
        return total[rank * length : (rank + 1) * length], None


def store_of_restart(environment: Mapping[str, str]) -> distributed.Store | None:
    """Return where processes that torchrun has started again find each other; None leaves that to PyTorch.

    torchrun's own store outlives its processes. It still has the addresses of those before, which new ones would try to
    reach (PyTorch issue 135712), so each start gets names of its own. They are the number of the start, which the
    processes of several machines may count otherwise.
    """
    number = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    alone = environment.get("LOCAL_WORLD_SIZE") == environment["WORLD_SIZE"]
    if number == "0" or not alone or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    shared = distributed.TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    return distributed.PrefixStore(f"start {number}", shared)


@dataclass(frozen=True)
class ProcessGroup:
    """This process's rank and the number of processes; with one process every method is a no-op."""

    number: int = 0
    count: int = 1

    @staticmethod
    def join(device: torch.device) -> tuple[ProcessGroup, torch.device]:
        """Join the processes that torchrun started, if it did, and return this process's own device."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return ProcessGroup(), device
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=store_of_restart(os.environ), rank=int(os.environ["RANK"]), world_size=count,
            )  # fmt: skip
        return ProcessGroup(distributed.get_rank(), count), device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.number == 0

    def share(self, total: int) -> slice:
        """Return which of `total` things are this rank's; `total` is a multiple of the number of ranks."""
        each = total // self.count
        return slice(self.number * each, (self.number + 1) * each)

    def gathered(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks, as many of each; differentiable."""
        return rows if self.count == 1 else _Gather.apply(rows, self)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all ranks, in one message."""
        if self.count == 1:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(joined)
        for tensor, mean in zip(tensors, (joined / self.count).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def leave(self) -> None:
        """Wait for all ranks, and leave the group."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()
