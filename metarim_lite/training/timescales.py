"""Fast and slow: who learns when, and on how long a span. The idea of the course.

An agent's parameters fall into groups (encoder, modules θ_M, attention θ_A, heads). Each group is put on
a clock. A clock has a rate (α fast, β slow), a span (how many steps gradients run through) and a beat
(how often it ticks). Meta-RIM is the setting in which the modules have the fast clock and short spans, and
the attention the slow clock and long spans, which hold several episodes and follow several fast updates.

    tick      0     1     2     3     4        5     6   …
    clock    fast  fast  fast  fast  slow     fast  fast
    played    T     T     T     T    slow_span  T     T       (fresh experience each time)
    updates  θ_M   θ_M   θ_M   θ_M   θ_A       θ_M   θ_M

This is the *online* form (ours, after the reported practice of Meta-RIMs): fast updates follow one another,
then one slow update on fresh experience, gathered with the adapted modules. First-order: the slow gradient
does not run through the fast updates. The *per-task* form, that of the paper's algorithm, is in `adaptation.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..config import bounded, check
from ..errors import UserError, unknown
from ..models import GROUPS
from .ppo import PPOConfig, Spans, cut_into_spans, minibatch_rows, ppo_loss
from .rollouts import Rollout

LARGEST_RATE = 1000.0  # a step of Adam moves every weight by its rate: beyond this numbers overflow, not only learning

Groups = dict[str, list[nn.Parameter]]
Named = dict[str, Tensor]
Loss = Callable[[Any, Spans, PPOConfig], tuple[Tensor, Named]]


@dataclass(frozen=True)
class TimeScales:
    """Which groups learn on which clock.

    Every group is named exactly once, in `fast`, `slow` or `frozen`. A part of a group may be named besides,
    as "group.part": it takes the parameters with ".part" in their name out of the whole group. So
    "modules.weight_ih" are an LSTM's input-to-hidden weights, "attention.C_" a RIM's communication.
    """

    fast: tuple[str, ...] = GROUPS
    """Groups updated at every fast tick."""
    slow: tuple[str, ...] = ()
    """Groups updated at every slow tick; empty: there is no slow clock."""
    frozen: tuple[str, ...] = ()
    """Groups that are never updated."""
    fast_span: int = bounded(20, at_least=1)
    """Steps that gradients run through in a fast update."""
    slow_span: int = bounded(80, at_least=1)
    """Steps that gradients run through in a slow update; as many are played for it."""
    slow_every: int = bounded(4, at_least=1)
    """Fast ticks between two slow ticks (online)."""
    fast_lr: float = bounded(2e-3, above=0, at_most=LARGEST_RATE)
    """α: learning rate of the fast loop (online: Adam; per-task: plain gradient descent)."""
    slow_lr: float = bounded(5e-4, above=0, at_most=LARGEST_RATE)
    """β: learning rate of the slow loop (Adam)."""
    slower: tuple[tuple[str, float], ...] = bounded((), above=0)
    """(group, factor): groups of the fast clock whose rate is α·factor. A low rate, not a slow clock."""
    seldom: tuple[tuple[str, int], ...] = bounded((), at_least=1)
    """(group, n): groups of the fast clock that move at every n-th update of a tick only, the first one among them."""
    fast_steps: int = bounded(0, at_least=0)
    """Steps of each world in the rollout of a fast tick; 0: as many as the run's `steps`."""
    fast_minibatches: int = bounded(0, at_least=0)
    """Updates per pass over the rollout of a fast tick; 0: as many as `ppo.minibatches`."""
    memory: str = bounded("episode", one_of=("episode", "task"))
    """What clears the controller's state, and ends its gradient: the end of an "episode", or that of a "task"."""
    task_episodes: int = bounded(4, at_least=1)
    """Episodes in a row of one task (a level id of the bank), with memory "task"; then the next task is drawn."""
    adaptation: str = bounded("online", one_of=("online", "per-task"))
    """"online": this file. "per-task": every task adapts its own copy of the fast groups; see `adaptation.py`."""
    meta_gradient: str = bounded("first-order", one_of=("first-order", "through-adaptation"))
    """"first-order" or "through-adaptation": whether the slow gradient runs through the inner steps (per-task).

    Through them, every minibatch of the slow update repeats the inner steps: choose few (`ppo.minibatches`).
    """
    inner_steps: int = bounded(1, at_least=0)
    """K: fast updates of each task's copy (per-task); 0: nobody adapts, the control."""
    tasks: int = bounded(4, at_least=1)
    """Tasks that a bank of a single level id is cut into (per-task); of several ids, each is a task."""
    learn_start: bool = True
    """Whether the slow loop also moves the shared start of the fast groups, as MAML does (per-task).

    Without this the copies start from random modules, encoder and heads for ever, and what they learn in K steps is
    thrown away at each tick: the agent stays as good as K steps make it. Hence the default.
    """

    def __post_init__(self) -> None:
        check(self)
        check_scales(self)

    def clock_of_tick(self, tick: int) -> str:
        """ "fast" or "slow": which clock ticks at this tick. A per-task tick is slow: the fast loop runs inside it."""
        if self.adaptation == "per-task":
            return "slow"
        if self.slow and (not self.fast or tick % (self.slow_every + 1) == self.slow_every):
            return "slow"
        return "fast"

    def groups_of(self, clock: str) -> tuple[str, ...]:
        """The groups that a clock moves: per task also the shared start of the fast ones, if it is learned."""
        if self.adaptation == "per-task":
            return (*self.slow, *(self.fast if self.learn_start else ()))
        return getattr(self, clock)

    def steps_of_tick(self, clock: str, steps: int) -> int:
        """Steps that each world plays for a tick of this clock, in a run with `TrainConfig.steps`."""
        return self.slow_span if clock == "slow" else max(self.fast_steps or steps, self.fast_span)

    def minibatches(self, clock: str, usual: int) -> int:
        """Updates per pass over the rollout of a tick of this clock, where PPO makes `usual`."""
        return (self.fast_minibatches or usual) if clock == "fast" else usual

    @property
    def visits(self) -> int:
        """Episodes between two clearings of the memory."""
        return self.task_episodes if self.memory == "task" else 1


class Clock:
    """Some groups of an agent, learning together at one rate on spans of one length.

    Only these groups take part in an update: the others need no gradient while it runs, so they, and the
    other clock's optimizer, come out of it bit for bit as they went in.

    Args:
        by_group: all parameters of the agent, as `find_groups` gives them.
        name: "fast" or "slow".
    """

    def __init__(self, by_group: Groups, scales: TimeScales, name: str) -> None:
        self.name, self.scales, self.seldom = name, scales, dict(scales.seldom)
        groups = scales.groups_of(name)
        self.span, lr = (scales.fast_span, scales.fast_lr) if name == "fast" else (scales.slow_span, scales.slow_lr)
        factor = dict(scales.slower)
        self.by_group = {g: by_group[g] for g in groups if by_group[g]}
        self.parameters: list[nn.Parameter] = [p for g in groups for p in by_group[g]]
        self.others: list[nn.Parameter] = [p for g in by_group if g not in groups for p in by_group[g]]
        rates = [{"params": parameters, "lr": lr * factor.get(g, 1.0)} for g, parameters in self.by_group.items()]
        if not rates:
            found = f"no parameter of this agent is in {groups}, so that their clock has nothing to move"
            raise UserError(f"{found} (an LSTM has no attention); put another group on it, or leave it empty")
        self.optimizer = self.make_optimizer(rates)

    def make_optimizer(self, rates: list[dict[str, Any]]) -> torch.optim.Adam:
        return torch.optim.Adam(rates, eps=1e-5)

    def update(
        self, agent: Any, rollout: Rollout, config: PPOConfig, generator: torch.Generator, loss: Loss = ppo_loss
    ) -> Named:
        """One tick of this clock on a rollout. Returns means of the watched numbers (0-dim tensors).

        Args:
            loss: of the agent on a minibatch of spans: what to descend, and numbers to watch.
        """
        config = replace(config, minibatches=self.scales.minibatches(self.name, config.minibatches))
        spans = self.cut(rollout, config)
        _require_grad(self.others, False)
        try:
            drawn = enumerate(self.minibatch_rows(spans, config, generator))
            watched = [self.learn(agent, spans, rows, config, loss, number) for number, rows in drawn]
        finally:
            _require_grad(self.others, True)
        return means(watched) | {"history": history(spans.resets)}

    def learn(
        self, agent: Any, spans: Spans, rows: Int[Tensor, "m"], config: PPOConfig, loss: Loss, number: int
    ) -> Named:
        """One update, on the sequences with these numbers."""
        value, watched = loss(agent, spans.pick(rows), config)
        return watched | self.descend(value, config.max_grad_norm, number)

    def descend(self, loss: Float[Tensor, ""], max_grad_norm: float, number: int = 0) -> Named:
        """One step down the gradient of a loss, for the groups whose turn it is.

        Args:
            max_grad_norm: the gradient of all these groups together is scaled down to this norm.
            number: of the update within its tick.

        Returns:
            grad_norm/GROUP: the norm of each group's gradient, before that.
        """
        self.optimizer.zero_grad()
        self.backward(loss)
        norms = {f"grad_norm/{group}": _grad_norm(parameters) for group, parameters in self.by_group.items()}
        for group, parameters in self.by_group.items():
            if number % self.seldom.get(group, 1):  # Adam leaves alone, with its memory, whatever has no gradient
                for p in parameters:
                    p.grad = None
        nn.utils.clip_grad_norm_(self.parameters, max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norms

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Put the gradients of a loss into the parameters of this clock, and into no others."""
        loss.backward(inputs=self.parameters)

    def cut(self, rollout: Rollout, config: PPOConfig) -> Spans:
        return cut_into_spans(rollout, self.span, config)

    def minibatch_rows(self, spans: Spans, config: PPOConfig, generator: torch.Generator) -> Iterator[Tensor]:
        return minibatch_rows(spans.resets.shape[1], config, generator)


def make_clocks(agent: Any, scales: TimeScales, make: type[Clock] = Clock) -> dict[str, Clock]:
    """The clocks of an agent: "fast", and "slow" where some group is on it.

    Per task there is only "slow": the fast loop moves copies, and keeps nothing from tick to tick.

    Args:
        make: what the clocks are.

    Raises:
        UserError: a part of a group that this agent does not have, two parts that overlap, or a clock that has no
            parameter to move.
    """
    by_group = find_groups(agent, scales)
    online = [name for name in ("fast", "slow") if getattr(scales, name)]
    return {name: make(by_group, scales, name) for name in (online if scales.adaptation == "online" else ["slow"])}


def groups_that_learn(clocks: dict[str, Clock]) -> list[str]:
    """The groups, and parts of groups, with parameters that some clock moves."""
    return [group for clock in clocks.values() for group in clock.by_group]


def find_groups(agent: Any, scales: TimeScales) -> Groups:
    """The parameters of every group and part of a group named in `scales`, disjoint and exhaustive."""
    names = {id(p): f".{name}" for name, p in agent.named_parameters()}
    found: Groups = {group: list(parameters) for group, parameters in agent.parameter_groups().items()}
    for part in (g for g in (*scales.fast, *scales.slow, *scales.frozen) if "." in g):
        group, word = part.split(".", 1)
        found[part] = [p for p in found[group] if f".{word}" in names[id(p)]]
        if not found[part]:
            there = ", ".join(names[id(p)][1:] for p in found[group])
            raise UserError(f"{part!r} names no parameter of {group!r} that is not named already; left are: {there}")
        found[group] = [p for p in found[group] if f".{word}" not in names[id(p)]]
    return found


def _require_grad(parameters: list[nn.Parameter], needed: bool) -> None:
    for p in parameters:
        p.requires_grad_(needed)


def means(watched: list[Named]) -> Named:
    """Means over the updates of a tick. Of `ratio_error`, PPO's largest |ρ − 1|, it is the first: before any update ρ
    is 1 but for rounding.
    """
    found = {name: sum(numbers[name] for numbers in watched) / len(watched) for name in watched[0]}
    return found | {name: watched[0][name] for name in found if name == "ratio_error"}


def history(resets: Bool[Tensor, "span M"]) -> Float[Tensor, ""]:
    """How many steps of history a step of a span has, in the mean: those since the span began or the memory was last
    cleared, whichever is later, the step itself included. Without clearing (span + 1) / 2.
    """
    t = torch.arange(len(resets), device=resets.device).unsqueeze(1)  # (span, 1)
    began = torch.where(resets, t, 0).cummax(0).values  # (span, M)
    return (t - began + 1).float().mean()


def _grad_norm(parameters: list[nn.Parameter]) -> Tensor:
    grads = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros((), device=parameters[0].device)


def check_scales(scales: TimeScales) -> None:
    """What the fields of `TimeScales` must be to each other.

    Raises:
        UserError: a group is on no clock or on several, a rate is too high, or two fields exclude each other.
    """
    _check_groups(scales)
    _check_adaptation(scales)
    for name in ("slower", "seldom"):
        for group, number in getattr(scales, name):
            if group not in scales.fast:
                raise UserError(f"TimeScales.{name} has ({group!r}, {number!r}); name a group of the fast clock")
    for group, factor in scales.slower:
        if not 0 < factor * scales.fast_lr <= LARGEST_RATE:
            wanted = f"choose a factor that gives a rate of at most {LARGEST_RATE:g}, and not 0"
            raise UserError(f"TimeScales.slower has ({group!r}, {factor!r}); {wanted}")


def _check_groups(scales: TimeScales) -> None:
    """Every group is named exactly once."""
    named = [*scales.fast, *scales.slow, *scales.frozen]
    for group in [*named, *(g for g, _ in (*scales.slower, *scales.seldom))]:
        if str(group).split(".")[0] not in GROUPS:
            raise unknown("parameter group", group, GROUPS)
    for group in dict.fromkeys([*GROUPS, *named]):
        if named.count(group) != 1:
            where = "on no clock" if group not in named else f"named {named.count(group)} times"
            raise UserError(f"parameter group {group!r} is {where}; name it once, in fast, slow or frozen")


def _check_adaptation(scales: TimeScales) -> None:
    """What only one of the two forms of adaptation has."""
    if scales.adaptation == "online" and scales.meta_gradient != "first-order":
        raise UserError("meta_gradient 'through-adaptation' needs adaptation='per-task'; online it is first-order")
    lacks = "no fast updates in minibatches"
    for name, instead in (("slower", "one rate α"), ("seldom", lacks), ("fast_minibatches", lacks)):
        if scales.adaptation == "per-task" and (value := getattr(scales, name)):
            raise UserError(f"TimeScales.{name} is {value!r}; per-task adaptation has {instead}, leave it out")
