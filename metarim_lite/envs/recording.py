"""Work on a GPU, recorded once and then replayed: one launch in place of hundreds (CUDA graphs).

A GPU that steps small worlds waits for its host to launch one kernel after the other. A graph launches them all with
one call. It knows no Python, only memory: it reads and writes the tensors that it was recorded with, so whoever uses
it copies inputs into those, and what it gave is overwritten by the next replay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

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
        replay, given = capture(work, device, generators)
    except RuntimeError as error:  # what torch raises for all that a graph cannot hold
        logger.warning("%s: not recorded: %s", name, str(error).splitlines()[0])
        return work

    def replayed() -> Given:
        replay()
        return given

    return replayed


def capture(
    work: Callable[[], Given], device: torch.device, generators: Sequence[torch.Generator] = ()
) -> tuple[Callable[[], None], Given]:
    """What replays `work`, and the tensors that each replay writes. Tests on a CPU put a stand-in here.

    Raises:
        RuntimeError: not a CUDA device, or work that a graph cannot hold.
    """
    if device.type != "cuda":
        raise RuntimeError(f"graphs are CUDA's, and this device is {str(device)!r}")
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.device(device), torch.cuda.graph(graph):
        given = work()
    return graph.replay, given
