"""CUDA graphs: functions of tensors, recorded once on a GPU and then replayed.

A rollout of a small agent, or an update, is thousands of small kernels, and a GPU waits for its host to launch them one
by one. A graph launches them all with one call. It knows no Python, only kernels and the memory they work on. So a
function that is to be recorded

    reads and writes   its inputs, and tensors that stay where they are: parameters, worlds, an optimizer's memory;
    never looks        at a number, since the host would have to wait for it;
    leans on nothing   that Python changes between two calls. What it does lean on belongs into its key.

Then a replay gives what the function would: recording changes speed, not results. Recorded are whole rollouts and whole
updates, from the rows that they read to Adam's step.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from .. import recording
from .ppo import PPOConfig, Spans
from .rollouts import Rollout
from .timescales import Clock, Loss, Named

log = logging.getLogger(__name__)

Tree = TypeVar("Tree")
PLAIN_CALLS = 2  # of each function before it is recorded, in which an optimizer makes its memory and compilers compile


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

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = (), records: bool = True) -> None:
        self.device, self.generators, self.records = device, generators, records and recording.can_record(device)
        self.forget()

    def forget(self) -> None:
        """Record all anew, since something that functions lean on was put elsewhere."""
        self.calls: Counter[Any] = Counter()
        self.memory: dict[Any, list[Tensor]] = {}
        self.graphs: dict[Any, tuple[Callable[[], None], Any]] = {}
        # One pool of memory for all: they run one after the other, and nothing lives in it from one to the next.
        self.pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None

    def __call__(self, key: Any, function: Callable[..., Tree], *inputs: Any) -> Tree:
        """`function(*inputs)`.

        Args:
            key: names the function and everything it leans on besides its inputs; hashable.
            inputs: tensors in any nesting. There is one graph for each key and shape.
        """
        if not self.records:
            return function(*inputs)
        inputs = self.hold(key, inputs)
        key = key, _shapes(inputs)
        self.calls[key] += 1
        if self.calls[key] <= PLAIN_CALLS:
            with recording.aside(self.device):
                return _copied(function(*inputs))
        if key not in self.graphs:
            try:
                self.graphs[key] = recording.capture(lambda: function(*inputs), self.device, self.generators, self.pool)
            except Exception as error:  # whatever a driver, a compiler or an old version of torch may raise
                self.records = False
                self.forget()
                why = (str(error) or type(error).__name__).splitlines()[0]
                log.warning("training is not recorded as graphs (%s), so it is slower; same results", why)
                return function(*inputs)
        replay, given = self.graphs[key]
        replay()
        return _copied(given)  # the next replay writes over it

    def hold(self, key: Any, tensors: Tree) -> Tree:
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

    def collect(self, player: Any, agent: Any, T: int, span: int) -> Rollout:
        """`player.collect(agent, T, span)`, recorded. What moves in a player goes in and comes out."""

        def play(moving: Any) -> tuple[Rollout, Any]:
            player.put(moving)
            return player.collect(agent, T, span), player.moving()

        rollout, moving = self((player, agent, T, span), play, player.moving())
        player.put(moving)
        return rollout

    def clock(self, *args: Any) -> Clock:
        """A `Clock` whose updates are recorded, where there are graphs."""
        return RecordedClock(self, *args) if self.records else Clock(*args)


class RecordedClock(Clock):
    """A clock whose updates are recorded, one graph for each size of minibatch and set of groups that move."""

    def __init__(self, recorder: Recorder, *args: Any) -> None:
        self.recorder = recorder
        super().__init__(*args)

    def make_optimizer(self, rates: list[dict[str, Any]]) -> torch.optim.Adam:
        """The same Adam, which counts its steps on the GPU."""
        return torch.optim.Adam(rates, eps=1e-5, fused=True, capturable=True)

    def cut(self, rollout: Rollout, config: PPOConfig) -> Spans:
        return self.recorder.hold(self, super().cut(rollout, config))

    def learn(self, agent: Any, spans: Spans, rows: Tensor, config: PPOConfig, loss: Loss, number: int) -> Named:
        groups = tuple(group for group in self.by_group if number % self.seldom.get(group, 1) == 0)
        rates = tuple(group["lr"] for group in self.optimizer.param_groups)

        def update(rows: Tensor) -> Named:
            return Clock.learn(self, agent, spans, rows, config, loss, number)

        return self.recorder((self, agent, config, loss, groups, rates), update, rows)


def _shapes(tensors: Any) -> tuple[torch.Size, ...]:
    return tuple(x.shape for x in tree_flatten(tensors)[0])


def _copied(given: Tree) -> Tree:
    return tree_map_only(Tensor, torch.clone, given)
