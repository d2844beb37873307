"""The named methods, as configs: which controller, which groups on which clock. What a run changes of them, and what
they cost.

A new method is one more entry:

>>> METHODS["rim-slow-encoder"] = MethodConfig(
...     controller="rim",
...     timescales=TimeScales(fast=("modules", "attention", "heads"), slow=("encoder",)),
...     about="attention fast, encoder slow",
... )

Rates are the best of a small search on three tasks at once (`experiments.training_search`). Where attention learns on
the fast clock at the full rate, half of α = 2e-3 was better: at 2e-3 an LSTM learns best and a RIM worst.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any, NamedTuple, get_type_hints

from ..config import check, from_dict, to_dict
from ..errors import UserError, unknown
from ..models import AgentConfig, matched_lstm_size
from .ppo import PPOConfig
from .timescales import TimeScales

SLOW_ATTENTION = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",))
ATTENTION_TOO = TimeScales(fast_lr=1e-3)


@dataclass(frozen=True)
class MethodConfig:
    """A way to train: a controller and its time scales."""

    controller: str
    """"rim" or "lstm"."""
    timescales: TimeScales = field(default_factory=TimeScales)
    """Which groups learn on which clock."""
    match_parameters: bool = False
    """Choose the LSTM's size so that it has as many parameters as the RIM of the same config."""
    about: str = ""
    """One sentence for the reader of a table."""

    def agent_config(self, config: AgentConfig) -> AgentConfig:
        """`config` with this method's controller, and its size where the method fixes it."""
        if self.match_parameters:
            config = replace(config, lstm_size=matched_lstm_size(config.input_size, **config.rim_sizes()))
        return replace(config, controller=self.controller)


def _rim(scales: TimeScales, *, about: str, **changes: Any) -> MethodConfig:
    """A RIM on these time scales, but for the changes."""
    return MethodConfig("rim", replace(scales, **changes), about=about)


# fmt: off
METHODS: dict[str, MethodConfig] = {
    "lstm": MethodConfig("lstm",
        about="one LSTM, one clock: the baseline"),
    "lstm-matched": MethodConfig("lstm", match_parameters=True,
        about="an LSTM with as many parameters as the RIM: is it the size?"),
    "rim": _rim(ATTENTION_TOO,
        about="a RIM, one clock: modules without time scales"),
    "rim-long-span": _rim(ATTENTION_TOO, fast_span=80,
        about="a RIM, everything on the long span: is it the longer context?"),
    "rim-long-span-matched": _rim(ATTENTION_TOO, fast_span=80, fast_minibatches=16,
        about="rim-long-span with as many updates as rim, on minibatches of as many steps"),
    "rim-slow-lr": _rim(ATTENTION_TOO, slower=(("attention", 0.1),),
        about="a RIM, one clock, attention at a tenth of the rate: is a slow clock just a low rate?"),
    "rim-slow-lr-matched": _rim(ATTENTION_TOO, slower=(("attention", 1 / 6),),
        about="rim-slow-lr at a sixth of the rate: meta-rim updates attention a sixth as often as rim does"),
    "rim-meta-updates": _rim(ATTENTION_TOO, seldom=(("attention", 4),), fast_steps=60,
        about="a RIM, one clock and short spans, but as many updates of modules and of attention as meta-rim"),
    "rim-long-memory": _rim(ATTENTION_TOO, memory="task",
        about="a RIM, one clock, whose memory lives across the episodes of a task"),
    "rim-frozen-attention": _rim(TimeScales(fast=("encoder", "modules", "heads"), frozen=("attention",)),
        about="a RIM whose attention is never trained: does attention have to learn at all?"),
    "meta-rim": _rim(SLOW_ATTENTION,
        about="modules fast, attention slow: the method of the course"),
    "meta-rim-long-memory": _rim(SLOW_ATTENTION, memory="task",
        about="meta-rim whose memory lives across the episodes of a task, so that slow spans hold several"),
    "meta-rim-reversed": _rim(ATTENTION_TOO, fast=("encoder", "attention", "heads"), slow=("modules",),
        about="attention fast, modules slow: the roles reversed"),
    "meta-rim-per-task": _rim(SLOW_ATTENTION, adaptation="per-task", fast_lr=1.0,
        about="each task adapts its own modules, attention learns from all the adapted: the paper's algorithm"),
    "meta-lstm": MethodConfig("lstm",
        TimeScales(fast=("encoder", "modules", "attention", "heads"), slow=("modules.weight_ih",)),
        about="an LSTM, input-to-hidden weights slow, the rest fast: is modularity needed at all?"),
}
# fmt: on


def spelled_out(name: str, scales: TimeScales | None = None) -> dict[str, Any]:
    """What a method's name stands for, as a nested dict, with `scales` if they are not its own."""
    chosen = method(name)
    fixed = {"controller": chosen.controller, "match_parameters": chosen.match_parameters}
    return {"timescales": to_dict(scales or chosen.timescales), **fixed}


def method(name: str) -> MethodConfig:
    """The method of this name.

    Raises:
        UserError: there is none (with the nearest names).
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


_KINDS = get_type_hints(TimeScales)  # of its fields, by name


def _over(self: Any, scales: TimeScales) -> TimeScales:
    """These changes laid over `scales`.

    Raises:
        UserError: the two together make no time scales.
    """
    return replace(scales, **{n: v for n in _KINDS if (v := getattr(self, n)) is not None})


# Every field of TimeScales once more, or None: the method's own. It inherits for the fields' documentation alone.
ScaleChanges = make_dataclass(
    "ScaleChanges",
    [(name, kind | None, None) for name, kind in _KINDS.items()],
    bases=(TimeScales,),
    frozen=True,
    namespace={"__doc__": "Changes to a method's time scales.", "__post_init__": check, "over": _over},
)
ScaleChanges.__module__ = __name__


def changes_from(given: Any) -> ScaleChanges:
    """Changes from whatever says them: `ScaleChanges`, a dict of fields, None, or `TimeScales`, of which the
    fields that differ from `TimeScales()` count.

    Raises:
        UserError: an unknown field, or something else.
    """
    if isinstance(given, ScaleChanges):
        return given
    if isinstance(given, TimeScales):
        usual = TimeScales()
        given = {n: v for n in _KINDS if (v := getattr(given, n)) != getattr(usual, n)}
    if not isinstance(given, dict | None):
        raise UserError(f"timescales is {given!r}; give a dict of the fields to change, such as dict(fast_lr=1e-3)")
    return from_dict(ScaleChanges, given or {})


class Spending(NamedTuple):
    """What some ticks cost. Two methods differ in what they learn only where they spend alike."""

    frames: dict[str, int]
    """Steps played for each clock, over all worlds; per task "fast" is the support, "slow" the query."""
    updates: dict[str, int]
    """Optimizer steps of each group (or part of one). Per task these are the slow loop's."""
    inner_steps: int
    """Gradient steps of each task's copy (per-task), those that a slow update repeats apart."""


def spending(
    scales: TimeScales, ppo: PPOConfig, steps: int, ticks: int, num_envs: int = 1, groups: Collection[str] | None = None
) -> Spending:
    """What the first `ticks` ticks cost.

    Args:
        steps: of each world in the rollout of a fast tick (`TrainConfig.steps`).
        groups: those that have parameters; None: all that are named.
    """
    frames, updates = defaultdict(int), defaultdict(int)
    per_task = scales.adaptation == "per-task"
    for tick in range(min(ticks, scales.slow_every + 1)):  # ticks repeat with this period, where they differ at all
        clock, times = scales.clock_of_tick(tick), len(range(tick, ticks, scales.slow_every + 1))
        for name in ("fast", "slow") if per_task else (clock,):
            frames[name] += times * num_envs * scales.steps_of_tick(name, steps)
        count = ppo.epochs * scales.minibatches(clock, ppo.minibatches)
        for group in scales.groups_of(clock):
            if groups is None or group in groups:
                own = count if clock == "slow" else len(range(0, count, dict(scales.seldom).get(group, 1)))
                updates[group] += times * own
    return Spending(dict(frames), dict(updates), ticks * scales.inner_steps * per_task)
