"""The command `metarim study`: tables of many runs, made again or as they came out for us."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from .errors import UserError
from .experiments.meta_plan import Tuning

META = "meta"


def study(
    name: tyro.conf.Positional[str],
    folder: Path | None = None,
    seeds: tuple[int, ...] = (),
    workers: int | None = None,
    ship: bool = False,
    shipped: bool = False,
    conditions: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    scheduler: str | None = None,
    device: str = "auto",
    tune: bool = False,
    json_lines: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Make a study of many runs, or print what came out for us (--shipped). Takes hours; one that was stopped goes on.

    copying, adding, bouncing-balls and digits are the RIM paper's tables on sequence tasks, made again.

    meta asks when fast modules and slow attention help: settings x conditions x seeds, judged by rules that are older
    than the runs. What follows after --ship is for it alone; its runs go on as those of a sweep do.

        metarim study meta --shipped --json
        metarim study meta --conditions mix local --methods lstm rim meta-rim --workers 2

    Args:
        name: copying, adding, bouncing-balls, digits or meta.
        folder: where the runs are kept; default runs/study-NAME.
        seeds: of each setting; default 0 1 2, of meta those of its tables. Others that a table has stay in it.
        workers: runs side by side; default 1, of meta one for each core, or one on a GPU, which several may share.
        shipped: run nothing, print what came with the package.
        ship: put what came out among the data that come with the package.
        conditions: which; default: all, the most important first.
        methods: names from METHODS, or settings of the study; default: those that its claims compare.
        scheduler: tcp://HOST:PORT of a Dask scheduler whose workers see the folder under the same path.
        device: cpu, cuda, or auto.
        tune: make the search of rates and k instead; the package then holds what it chose, and the runs read it.
        json_lines: print one line of JSON for each comparison of each claim.
    """
    folder = folder or Path("runs") / f"study-{name}"
    if name == META:
        _meta(folder, seeds, workers, ship, shipped, conditions, methods, scheduler, device, tune, json_lines)
        return
    if conditions or methods or scheduler or device != "auto" or tune or json_lines:
        raise UserError(f"study {name!r} has no conditions, methods, scheduler, device, tune or json; meta has")
    from .experiments.studies import run_study, ship_study, shipped_study

    if shipped:
        print(shipped_study(name))
        return
    table = run_study(name, folder, seeds or (0, 1, 2), workers or 1)
    if ship:
        ship_study(table, folder)
    print(table)


def _meta(
    folder: Path,
    seeds: tuple[int, ...],
    workers: int | None,
    ship: bool,
    shipped: bool,
    conditions: tuple[str, ...],
    methods: tuple[str, ...],
    scheduler: str | None,
    device: str,
    tune: bool,
    json_lines: bool,
) -> None:
    from .experiments import meta_tuning
    from .experiments.meta_shipped import judged, report, ship_rows, shipped_rows
    from .experiments.meta_study import run_meta_study

    failed = 0
    if shipped:
        rows = shipped_rows()
    else:
        how = {"workers": workers, "scheduler": scheduler, "device": device, "on_line": _say}
        if tune:
            _tell_choice(meta_tuning.tune(folder, **how))
            return
        done = run_meta_study(folder, conditions or None, methods or None, seeds or None, **how)
        rows, failed = done.rows, len(done.failures)
        if ship:
            rows = ship_rows(rows)
    if json_lines:
        for line in judged(rows):
            print(json.dumps(line, ensure_ascii=False))
    else:
        print(report(rows))
    if failed:
        print(f"{failed} of {done.asked} runs failed; the others are kept in {folder}", file=sys.stderr)
        raise SystemExit(1)


def _tell_choice(chosen: Tuning) -> None:
    for method, rates in chosen.rates.items():
        print(f"{method}: {', '.join(f'{name} {value}' for name, value in rates.items())}")
    for condition, k in chosen.k.items():
        print(f"k of a RIM in {condition}: {k}")


def _say(line: str) -> None:
    print(line, flush=True)
