"""One run on several processes, each with a GPU of its own: `torchrun --nproc-per-node 2 -m metarim_lite.cli train …`

Every process holds the whole agent and plays its share of the worlds. What it must know of the others is sums:

    drawn alike by all      parameters, the dice of all worlds, the order of all sequences in minibatches
    shared out              worlds, and with them the sequences of each minibatch; per task, whole tasks
    summed over processes   gradients, before clipping; moments of advantages; numbers to watch

So each process takes the same step, and the run is that of one process with all the worlds, up to the order of
floating-point sums. Its checkpoint is that of one process too: a run may go on with another number of processes.

Who we are is kept by torch.distributed. In a process of its own every function here changes nothing. What an agent that
learns does otherwise stands in training/together.py.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import UserError

Named = dict[str, Tensor]
PATIENCE = timedelta(hours=4)  # for the first process to make levels and demonstrations


class Place(NamedTuple):
    """Which process this is, of how many."""

    rank: int
    size: int


ALONE = Place(0, 1)


def join() -> None:
    """Take part in the run that torchrun started, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)


def place() -> Place:
    return Place(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def leads() -> bool:
    """Whether this process writes and speaks for all."""
    return place().rank == 0


def share_of(count: int, what: str) -> range:
    """Which of `count` things are this process's.

    Raises:
        UserError: they cannot be shared equally by the processes there are.
    """
    rank, size = place()
    if count % size:
        raise UserError(f"{count} {what} cannot be shared by {size} processes equally; use a multiple")
    return range(rank * count // size, (rank + 1) * count // size)


def check_alone(what: str) -> None:
    """
    Raises:
        UserError: torchrun started several processes for something that is one process's work.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{what} runs in one process; start it without torchrun")


@contextmanager
def leader_first() -> Iterator[None]:
    """The others enter when the leader has left, and find what it put on disk."""
    if not leads():
        dist.barrier()
    yield
    if leads() and place().size > 1:
        dist.barrier()


def total(numbers: Named) -> Named:
    """Sums over processes of 0-dim tensors."""
    return _reduced(numbers, dist.ReduceOp.SUM)


def averaged(numbers: Named, largest: Collection[str] = ()) -> Named:
    """Means over processes of 0-dim tensors; of those named in `largest`, the largest."""
    if place().size == 1:
        return numbers
    tops = {name: x for name, x in numbers.items() if name in largest}
    rest = {name: x for name, x in numbers.items() if name not in largest}
    means = {name: x / place().size for name, x in total(rest).items()}
    return means | _reduced(tops, dist.ReduceOp.MAX)


def _reduced(numbers: Named, operation: Any) -> Named:
    if place().size == 1 or not numbers:
        return numbers
    stacked = torch.stack([x.double() for x in numbers.values()])
    dist.all_reduce(stacked, operation)
    return {name: x.to(numbers[name].dtype) for name, x in zip(numbers, stacked, strict=True)}


# Not DistributedDataParallel: its averages give each process the same weight, and it waits for a gradient of every
# parameter. Here a clock moves some groups only, and a process holds more of one minibatch and less of the next.
def sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in one message."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if place().size == 1 or not grads:
        return
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    for g, summed in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(summed.view_as(g))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the x of all processes, which are of equal size."""
    if place().size == 1:
        return x.mean(), x.std()
    count = x.numel() * place().size
    mean = total({"": x.double().sum()})[""] / count
    squares = total({"": (x.double() - mean).square().sum()})[""]
    return mean.to(x.dtype), (squares / (count - 1)).sqrt().to(x.dtype)


def my_part(rows: Tensor, B: int) -> tuple[Tensor, float]:
    """Of a minibatch of sequences, those that this process holds, and their share of the minibatch.

    Args:
        rows: int64, numbers s·size·B + b of sequences: span s of world b, among the worlds of all processes.
        B: worlds of one process.

    Returns:
        (their numbers s·B + b here, share). A process without any gets one at random, with share 0.
    """
    rank, size = place()
    if size == 1:
        return rows, 1.0
    span, world = rows // (size * B), rows % (size * B)
    mine = world // B == rank
    here = (span * B + world % B)[mine]  # on a GPU this waits, once a minibatch
    return (here, len(here) / len(rows)) if len(here) else (torch.zeros_like(rows[:1]), 0.0)


class Gathered:
    """A player that is saved and restored with the worlds of all processes.

    Args:
        player: has a flat `state_dict` of tensors, and a `load_state_dict`.
    """

    def __init__(self, player: Any) -> None:
        self.player = player

    def state_dict(self) -> Named:
        """Tensors with all worlds; every process must ask for them together."""
        saved = self.player.state_dict()
        whole = {}
        for name, x in saved.items():
            if name == SUMMED:
                whole[name] = torch.stack(_gather(x)).sum(0)
            else:
                whole[name] = x if _axis(name) is None else torch.cat(_gather(x), _axis(name))
        return whole

    def load_state_dict(self, saved: Named) -> None:
        here = place()

        def mine(name: str, x: Tensor) -> Tensor:
            if name == SUMMED:
                return x if here.rank == 0 else torch.zeros_like(x)
            axis = _axis(name)
            return x if axis is None else x.chunk(here.size, axis)[here.rank]

        self.player.load_state_dict({name: mine(name, x) for name, x in saved.items()})


SUMMED = "waiting"  # sums over worlds: saved as one, and held by the first process when they come back


def _axis(name: str) -> int | None:
    """Where the worlds are in a tensor of a player's state; None: nowhere."""
    return None if name in ("dice", "worlds.begun", "demonstrations") else 1 if name == "worlds.registers" else 0


def _gather(x: Tensor) -> list[Tensor]:
    """This tensor as each process has it."""
    bytes_of = x.contiguous().view(-1).view(torch.uint8)  # any dtype
    parts = [torch.empty_like(bytes_of) for _ in range(place().size)]
    dist.all_gather(parts, bytes_of)
    return [part.view(x.dtype).view(x.shape) for part in parts]
