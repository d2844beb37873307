"""Work on a GPU, recorded once and then replayed: one launch in place of hundreds (CUDA graphs).

A GPU that steps small worlds waits for its host to launch one kernel after the other. A graph launches them all with
one call. It knows no Python, only memory: it reads and writes the tensors that it was recorded with, so whoever uses
it copies inputs into those, and what it gave is overwritten by the next replay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Given = TypeVar("Given")

logger = logging.getLogger(__name__)

WARM_UP = 3  # runs before recording, as PyTorch asks


def record(
    name: str, work: Callable[[], Given], device: torch.device, generators: Sequence[torch.Generator] = ()
) -> Callable[[], Given]:
    """`work`, recorded: a call replays it on the same memory and returns the same tensors, written anew.

    Recording runs `work` three times, so whatever it changes is to be put back afterwards. Where nothing can be
    recorded (no GPU, or work that makes the host wait), one line is logged and `work` itself is returned.

    >>> x = torch.zeros(2, device="cuda")
    >>> doubled = record("doubling", lambda: 2 * x, x.device)
    >>> x.fill_(4) and doubled()
    tensor([8., 8.], device='cuda:0')

    Args:
        name: of the work, for the log.
        work: takes nothing, changes tensors in place, returns tensors in any nesting.
        device: where the tensors are.
        generators: those that `work` draws from. Each replay goes on where the last one stopped; one that is not
            named here would repeat itself.
    """
    try:
        for _ in range(WARM_UP if can_record(device) else 0):
            with aside(device):
                work()
        replay, given = capture(work, device, generators)
    except RuntimeError as error:  # what torch raises for all that a graph cannot hold
        logger.warning("%s: not recorded: %s", name, str(error).splitlines()[0])
        return work

    def replayed() -> Given:
        replay()
        return given

    return replayed


def can_record(device: torch.device) -> bool:
    """Whether there are graphs on this device at all."""
    return device.type == "cuda"


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Inside, a GPU works on another stream than usual, as PyTorch asks for what is run before it is recorded."""
    usual, other = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    other.wait_stream(usual)
    with torch.cuda.stream(other):
        yield
    usual.wait_stream(other)


def capture(
    work: Callable[[], Given], device: torch.device, generators: Sequence[torch.Generator] = (), pool: Any = None
) -> tuple[Callable[[], None], Given]:
    """What replays `work`, which ran before, and the tensors that each replay writes. Nothing is computed yet.

    Tests on a CPU put a stand-in here.

    Args:
        pool: of memory, from `torch.cuda.graph_pool_handle()`, for graphs that never run at the same time.

    Raises:
        RuntimeError: not a CUDA device, or work that a graph cannot hold.
    """
    if not can_record(device):
        raise RuntimeError(f"graphs are CUDA's, and this device is {str(device)!r}")
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool):
            given = work()
    except Exception:
        for generator in (*generators, torch.cuda.default_generators[torch.cuda.current_device()]):
            _release(generator)
        raise
    return graph.replay, given


def _release(generator: torch.Generator) -> None:
    """Dice that a broken recording still holds can be thrown again: the same ones, as another object of torch's."""
    state = generator.get_state()
    generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())
    generator.set_state(state)
