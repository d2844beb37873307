"""The same small search for every method, before the study: rates, and k of a RIM. `metarim study meta --tune`

Each method is tried with FAST rates of its fast clock; and where it gives attention, or whatever else it slows down, a
rate of its own, with as many of these. What a method's name fixes is not searched: a RIM on one clock has one rate, or
it would be another method, and the factor that makes up for a number of updates follows from that number. So methods
with two rates have nine tries and the others three, which favours the former. The choice is the largest mean area over
two seeds, which are in no table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config import to_dict
from ..files import make_folder, write_json
from ..machine import choose_device
from ..training.methods import method
from . import conditions, meta_plan
from .claims import CLAIMS
from .conditions import Changes, setting, with_changes
from .many import NamedRun, check_all_finished, check_scheduler, fitting_workers, results_in
from .meta_plan import OF_K, Asked, Tuning, config_of, digest, read_tunings, with_reports
from .meta_run import train_and_follow
from .meta_study import fill_cache

Line = dict[str, Any]
FAST = (5e-4, 1e-3, 2e-3)
"""α: the best of the search on sequences of tasks before (search.py) are among them, for an LSTM and for a RIM."""
SLOW = (2e-4, 5e-4, 1e-3)
"""β, of a slow clock."""
FACTORS = (0.3, 0.1, 0.03)
"""Of α, where a group of the fast clock is slower."""
FOLLOWS = ("rim-slow-lr-matched",)  # whose factor follows from the number of updates
FRAMES = 1_000_000  # of each try
WHERE = "mix"  # rates are tried there; k where claim 7 asks for it, too
ASKS_FOR_K = ("mix", "local")


class Try(NamedTuple):
    """One thing that is tried."""

    condition: str
    method: str
    changes: Changes


def tuned_methods() -> list[str]:
    """The methods that claims compare at rates of their own choice."""
    names = [name for claim in CLAIMS for c in claim.comparisons for name in c.settings]
    return list(dict.fromkeys(setting(name).method for name in names if not setting(name).fixed_rates))


def tries_of(name: str) -> list[Changes]:
    """The rates with which a method is tried, as settings of TrainConfig by dotted name."""
    scales = method(name).timescales
    second: list[Changes] = [()]
    if scales.slow:
        second = [(("timescales.slow_lr", beta),) for beta in SLOW]
    elif scales.slower and name not in FOLLOWS:
        groups = [group for group, _ in scales.slower]
        second = [(("timescales.slower", tuple((group, factor) for group in groups)),) for factor in FACTORS]
    return [(("timescales.fast_lr", alpha), *more) for alpha, more in itertools.product(FAST, second)]


def tries_of_rates() -> list[Try]:
    return [Try(WHERE, name, changes) for name in tuned_methods() for changes in tries_of(name)]


def tries_of_k(rates: Changes) -> list[Try]:
    """With the rates that were chosen for a RIM."""
    return [Try(on, "rim", (*rates, ("agent.active", k))) for on in ASKS_FOR_K for k in OF_K]


def tune(
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    progress: bool = True,
    on_line: Callable[[str], None] = print,
    path: Path | None = None,
) -> Tuning:
    """Make the search, as far as it is not made, and write what it chose to where the study reads it.

    What is chosen holds for this kind of device: others have other numbers of worlds.

    Args:
        folder, workers, scheduler, device, progress, on_line: as of `run_meta_study`.
        path: of the file; default: among the data that come with the package.

    Raises:
        UserError: a run that failed; what `run_meta_study` refuses.
        KeyboardInterrupt: after Ctrl-C; start again to go on.
    """
    kind, path = choose_device(device).type, path or meta_plan.TUNING
    folder = make_folder(folder).resolve()

    def areas(tries: Sequence[Try]) -> list[tuple[Try, list[float]]]:
        runs = {(one, seed): _named(one, seed, folder, kind) for seed in conditions.TUNING_SEEDS for one in tries}
        todo = results.missing(list(runs.values()))
        fill_cache(sorted({one.condition for one, _ in runs}) if todo else [], progress)
        side_by_side = workers or fitting_workers(kind, 1)
        check_all_finished(results.finish(todo, side_by_side, scheduler, progress, "tuning", told), len(todo))
        lines = {key: results.lines[run.name] for key, run in runs.items()}
        return [(one, [lines[one, seed]["area"] for seed in conditions.TUNING_SEEDS]) for one in tries]

    def told(line: Line) -> None:
        on_line(f"{line['run']}, area {line['area']:.3f}")

    with results_in(folder, "making the study in") as results:
        if scheduler is not None:
            check_scheduler(scheduler)
        of_rates = areas(tries_of_rates())
        rates = {name: dict(best(of_rates, WHERE, name).changes) for name in tuned_methods()}
        of_k = areas(tries_of_k(tuple(rates["rim"].items())))
    k = {on: dict(best(of_k, on, "rim").changes)["agent.active"] for on in ASKS_FOR_K}
    tried = tuple({**one._asdict(), "changes": dict(one.changes), "area": of} for one, of in [*of_rates, *of_k])
    found = Tuning(rates, k, tried, FRAMES)
    write_json(path, {on: to_dict(of) for on, of in (read_tunings(path) | {kind: found}).items()})
    return found


def best(tried: Sequence[tuple[Try, Sequence[float]]], condition: str, name: str) -> Try:
    """The try of a method in a condition with the largest mean area; of equals the first."""
    of_method = [pair for pair in tried if (pair[0].condition, pair[0].method) == (condition, name)]
    return max(of_method, key=lambda pair: np.mean(pair[1]))[0]


def _named(one: Try, seed: int, folder: Path, device: str) -> NamedRun:
    config = config_of(Asked(one.condition, one.method, seed), Tuning(), device)
    config = replace(config, frames=FRAMES, evaluate_every=max(1, FRAMES // conditions.POINTS))
    config = with_reports(with_changes(config, one.changes))
    settings = {"config": to_dict(config), "episodes": conditions.HELD_OUT, "afterwards": {}}
    about = {"condition": one.condition, "setting": one.method, "method": one.method, "seed": seed}
    about |= {"device": device, "num_envs": config.num_envs, "tuned": False}
    about |= {"settings": digest(settings, config.pinned(), seed)}
    # Named by its settings: two tries that come to the same, such as k = 4 and the k that a method has, are one run.
    name = f"tune/{one.condition}/{one.method}-{about['settings']}-s{seed}"
    return NamedRun(name, folder / "runs" / name, train_and_follow, settings, about, 1, ("frames", config.frames))
