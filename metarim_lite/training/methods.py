"""The named methods, as configs: which controller, which groups on which clock.

A new method is one more entry:

>>> METHODS["rim-slow-encoder"] = MethodConfig(
...     controller="rim",
...     timescales=TimeScales(fast=("modules", "attention", "heads"), slow=("encoder",)),
...     about="attention fast, encoder slow",
... )
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..config import to_dict
from ..errors import unknown
from ..models import AgentConfig, matched_lstm_size
from .timescales import TimeScales

SLOW_ATTENTION = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",))
# Rates are the best of a small search on three tasks at once (`experiments.training_search`). Where attention learns on
# the fast clock at the full rate, half of α = 2e-3 was better: at 2e-3 an LSTM learns best and a RIM worst.
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


METHODS: dict[str, MethodConfig] = {
    "lstm": MethodConfig("lstm", about="one LSTM, one clock: the baseline"),
    "lstm-matched": MethodConfig(
        "lstm", match_parameters=True, about="an LSTM with as many parameters as the RIM: is it the size?"
    ),
    "rim": MethodConfig("rim", ATTENTION_TOO, about="a RIM, one clock: modules without time scales"),
    "rim-long-span": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, fast_span=80),
        about="a RIM, everything on the long span: is it the longer context?",
    ),
    "rim-long-span-matched": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, fast_span=80, fast_minibatches=16),
        about="rim-long-span with as many updates as rim, on minibatches of as many steps",
    ),
    "rim-slow-lr": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, slower=(("attention", 0.1),)),
        about="a RIM, one clock, attention at a tenth of the rate: is a slow clock just a low rate?",
    ),
    "rim-slow-lr-matched": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, slower=(("attention", 1 / 6),)),
        about="rim-slow-lr at a sixth of the rate: meta-rim updates attention a sixth as often as rim does",
    ),
    "rim-meta-updates": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, seldom=(("attention", 4),), fast_steps=60),
        about="a RIM, one clock and short spans, but as many updates of modules and of attention as meta-rim",
    ),
    "rim-long-memory": MethodConfig(
        "rim",
        replace(ATTENTION_TOO, memory="task"),
        about="a RIM, one clock, whose memory lives across the episodes of a task",
    ),
    "rim-frozen-attention": MethodConfig(
        "rim",
        TimeScales(fast=("encoder", "modules", "heads"), frozen=("attention",)),
        about="a RIM whose attention is never trained: does attention have to learn at all?",
    ),
    "meta-rim": MethodConfig("rim", SLOW_ATTENTION, about="modules fast, attention slow: the method of the course"),
    "meta-rim-long-memory": MethodConfig(
        "rim",
        replace(SLOW_ATTENTION, memory="task"),
        about="meta-rim whose memory lives across the episodes of a task, so that slow spans hold several",
    ),
    "meta-rim-reversed": MethodConfig(
        "rim",
        TimeScales(fast=("encoder", "attention", "heads"), slow=("modules",), fast_lr=1e-3),
        about="attention fast, modules slow: the roles reversed",
    ),
    "meta-rim-per-task": MethodConfig(
        "rim",
        replace(SLOW_ATTENTION, adaptation="per-task", fast_lr=1.0),
        about="each task adapts its own modules, attention learns from all the adapted: the paper's algorithm",
    ),
    "meta-lstm": MethodConfig(
        "lstm",
        TimeScales(fast=("encoder", "modules", "attention", "heads"), slow=("modules.weight_ih",)),
        about="an LSTM, input-to-hidden weights slow, the rest fast: is modularity needed at all?",
    ),
}


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
