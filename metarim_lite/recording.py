"""Work on a GPU, recorded once and then replayed: one launch in place of hundreds (CUDA graphs).

A step of small worlds, a rollout of a small agent, an update: each is hundreds or thousands of small kernels, and a GPU
waits for its host to launch them one by one. A graph launches them all with one call. It knows no Python, only kernels
and the memory they work on. So what is to be recorded

    reads and writes   its inputs, and tensors that stay where they are: parameters, worlds, an optimizer's memory;
    never looks        at a number, since the host would have to wait for it;
    leans on nothing   that Python changes between two calls.

Then a replay gives what the work itself would: recording changes speed, not results. There are two ways: `record` is
for one piece of work on memory of its own, a `Recorder` for functions with inputs, of which it keeps copies.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

Given = TypeVar("Given")

logger = logging.getLogger(__name__)

WARM_UP = 3  # runs before recording, as PyTorch asks
PLAIN_CALLS = 2  # of each function before it is recorded, in which an optimizer makes its memory and compilers compile


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


class Recorder:
    """Calls functions of tensors: on a GPU by a graph from the third call on, elsewhere as they are.

    Example:
        >>> recorder = Recorder(torch.device("cuda"))
        >>> recorder("double", lambda x: 2 * x, torch.ones(3, device="cuda"))
        tensor([2., 2., 2.], device='cuda:0')

    Where a graph cannot be recorded one line is logged, and everything is called as it is from then on.

    Args:
        device: where the tensors are.
        generators: those that the functions draw from.
        records: whether to record where there are graphs. The attribute may be set to False at any time.
    """

    work = "the work"
    """What is recorded, for the log."""

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = (), records: bool = True) -> None:
        self.device, self.generators, self.records = device, generators, records and can_record(device)
        self.forget()

    def forget(self) -> None:
        """Record all anew, since something that functions lean on was put elsewhere."""
        self.calls: Counter[Any] = Counter()
        self.memory: dict[Any, list[Tensor]] = {}
        self.graphs: dict[Any, tuple[Callable[[], None], Any]] = {}
        # One pool of memory for all: they run one after the other, and nothing lives in it from one to the next.
        self.pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

    def __call__(self, key: Any, function: Callable[..., Given], *inputs: Any) -> Given:
        """`function(*inputs)`.

        Args:
            key: names the function and everything of Python's that it leans on; hashable.
            inputs: tensors in any nesting. There is one graph for each key and shape.
        """
        if not self.records:
            return function(*inputs)
        inputs = self.hold(key, inputs)
        key = key, _shapes(inputs)
        self.calls[key] += 1
        if self.calls[key] <= PLAIN_CALLS:
            with aside(self.device):
                return _copied(function(*inputs))
        if key not in self.graphs:
            try:
                self.graphs[key] = capture(lambda: function(*inputs), self.device, self.generators, self.pool)
            except Exception as error:  # whatever a driver, a compiler or an old version of torch may raise
                self.records = False
                self.forget()
                why = (str(error) or type(error).__name__).splitlines()[0]
                logger.warning("%s is not recorded as graphs (%s), so it is slower; same results", self.work, why)
                return function(*inputs)
        replay, given = self.graphs[key]
        replay()
        return _copied(given)  # the next replay writes over it

    def hold(self, key: Any, tensors: Given) -> Given:
        """The same numbers in memory that stays where it is, for recorded functions to read besides their inputs."""
        if not self.records:
            return tensors
        flat, form = tree_flatten(tensors)
        key = key, _shapes(flat)
        if key not in self.memory:
            self.memory[key] = [torch.empty_like(x) for x in flat]
        for there, x in zip(self.memory[key], flat, strict=True):
            there.copy_(x)
        return tree_unflatten(self.memory[key], form)


def _shapes(tensors: Any) -> tuple[torch.Size, ...]:
    return tuple(x.shape for x in tree_flatten(tensors)[0])


def _copied(given: Given) -> Given:
    return tree_map_only(Tensor, torch.clone, given)


def can_record(device: torch.device) -> bool:
    """Whether there are graphs on this device at all."""
    return device.type == "cuda"


@functools.cache
def _other_stream(device: torch.device) -> Any:
    """Always the same one, since memory that was used on a stream is kept for that stream."""
    return torch.cuda.Stream(device)


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Inside, a GPU works on another stream than usual, as PyTorch asks for what is run before it is recorded."""
    usual, other = torch.cuda.current_stream(device), _other_stream(device)
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
