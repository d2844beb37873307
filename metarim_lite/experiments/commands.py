"""The command line that makes a run: printed beside its numbers, so that each can be made again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..training.trainer import TrainConfig


def command_of(config: TrainConfig) -> str:
    """The command that gives this config: the run's main words, then whatever else differs from the defaults."""
    main = {name: getattr(config, name) for name in ("method", "level", "frames", "seed")}
    words = "".join(f" --{name} {value}" for name, value in main.items())
    return "metarim train" + words + "".join(flags(config, replace(TrainConfig(), **main)))


def flags(config: Any, default: Any, prefix: str = "") -> list[str]:
    """The words of a command line that turn the config `default` into `config`, each with a space before it."""
    words = []
    for name, value in vars(config).items():
        usual = getattr(default, name)
        flag = f"{prefix}{name.replace('_', '-')}"
        if value == usual:
            continue
        if hasattr(value, "__dataclass_fields__"):
            words += flags(value, usual, f"{flag}.")
        else:
            words.append(" ".join([f" --{flag}", *map(str, _flat(value))]))
    return words


def _flat(value: Any) -> list[Any]:
    """((a, b), c) -> [a, b, c]: how the command line reads tuples."""
    return [x for part in value for x in _flat(part)] if isinstance(value, tuple) else [value]
