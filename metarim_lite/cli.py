"""The command line: `metarim COMMAND`. Each command is a function; its docstring is its help."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from .cli_train import adapt, from_file, train, train_command
from .errors import UserError, unknown
from .experiments.stages import YARDSTICKS, ContinualConfig
from .experiments.sweeps import SweepConfig
from .training.trainer import TrainConfig

Words = tyro.conf.Positional
IMITATION = TrainConfig(imitate=True, frames=1_000_000, train_levels=2_000, num_envs=64, evaluate_every=100_000)


def demo(frames: int = 2_000_000, folder: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Meta-train a Meta-RIM agent on GoToLocal, evaluate it, write learning curves and a replay.

    Args:
        frames: steps to train on.
        folder: where everything goes; a demo that was stopped goes on from there.
        seed: seed of the run.
    """
    from .demo import demo

    demo(frames=frames, folder=folder, seed=seed)


def imitate(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = IMITATION, folder: Path | None = None
) -> None:  # fmt: skip
    """Train an agent to do what minigrid's bot does. Reinforcement learning can go on from there: train --start RUN.

    Args:
        config: what to train and how; frames are steps of demonstrations read.
        folder: where the run is kept; default runs/imitate-METHOD-LEVEL-sSEED.
    """
    train(config, folder)


def evaluate(
    agent: Words[str], level: str = "BabyAI-GoToLocal-v0", episodes: int = 1000, seed: int = 0, greedy: bool = False
) -> None:  # fmt: skip
    """Play held-out levels once each and print success, reward and length with 95 % intervals.

    Levels identical to one that the agent was trained on are left out; where nearly all are, their share is printed.

    Args:
        agent: file, run folder, or name of a shipped agent.
        level: which level.
        episodes: how many held-out levels.
        seed: seeds the agent's dice.
        greedy: take the likeliest action instead of drawing one.
    """
    from . import training
    from .experiments.shipped import trained_on
    from .runs import load_agent

    loaded = load_agent(agent)
    bank = training.held_out_bank((level,), episodes, trained_on(agent).get(level, 0), progress=True)
    print(training.evaluate(loaded, bank, len(bank), seed=seed, greedy=greedy))


def continual(
    config: Annotated[ContinualConfig, tyro.conf.arg(name="")] = ContinualConfig(), folder: Path | None = None  # noqa: B008
) -> None:  # fmt: skip
    """Train on one task after another; print success on every task after every stage, and what was forgotten.

    For example: metarim continual --base.method lstm --yardstick ewc --base.seed 1
    With `--config FILE.toml` settings come from a file, such as the config.toml of such a run.

    Args:
        config: tasks, frames, yardstick; `base` holds the method and all else.
        folder: where the run is kept; default runs/continual-METHOD-YARDSTICK-sSEED.
    """
    from .experiments.continual import train_continually

    name = f"continual-{config.base.method}-{config.yardstick}-s{config.base.seed}"
    folder = folder or Path("runs") / name
    run = train_continually(config, folder)
    print(run.table())
    if not run.finished:
        raise KeyboardInterrupt
    print(run.summary())
    print(f"run kept in {folder}")


def forgetting(
    config: Annotated[ContinualConfig, tyro.conf.arg(name="")] = ContinualConfig(),  # noqa: B008
    folder: Path = Path("runs/forgetting"),
    methods: tuple[str, ...] = ("lstm", "rim", "meta-rim"),
    seeds: tuple[int, ...] = (0, 1, 2),
    yardsticks: tuple[str, ...] = YARDSTICKS,
    alone: bool = True,
    workers: int = 1,
) -> None:
    """Run `metarim continual` for several methods, yardsticks and seeds; print forgetting and the other measures.

    A comparison that was stopped goes on where it was. The table is kept in FOLDER/comparison.json.

    Args:
        config: tasks, frames, sizes; its method, seed and yardstick are replaced.
        folder: where the runs are kept.
        methods: names from METHODS.
        seeds: one run for each.
        yardsticks: any of none, replay, ewc, joint.
        alone: also train each task alone, which forward transfer is measured against; as long as one more yardstick.
        workers: runs side by side, each with one thread of the CPU unless base.threads says otherwise.
    """
    from .experiments.yardsticks import compare_yardsticks

    print(compare_yardsticks(config, folder, methods, seeds, yardsticks, alone=alone, workers=workers))


def sweep(
    config: Annotated[SweepConfig, tyro.conf.arg(name="")] = SweepConfig(),  # noqa: B008
    folder: Path = Path("runs/sweep"),
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Train methods x levels x seeds side by side and compare them on held-out levels.

    Killed or stopped with Ctrl-C, the same command goes on; with more seeds, methods or levels it adds them, with more
    --base.frames all runs go on. The folder holds one line for each run that ended in results.jsonl. A run that
    diverged has ended, with success 0; to have it run again, delete its line. Exit status 1 when runs failed.

        metarim sweep --methods lstm rim meta-rim --seeds 0 1 2 3 4 --base.frames 1000000 --vary agent.active=2,4

    With `--config FILE.toml` settings come from a file, such as the config.toml of a sweep.

    Args:
        config: the runs; `base` holds all settings that they share.
        folder: where the sweep is kept.
        workers: runs side by side on this machine; default: one for each core, or one on a GPU.
        scheduler: tcp://HOST:PORT of a Dask scheduler whose workers see the folder under the same path.
    """
    from .experiments.sweeps import sweep

    done = sweep(config, folder, workers=workers, scheduler=scheduler)
    print(done.table())
    print(f"sweep kept in {folder}")
    if done.failures:
        print(f"{len(done.failures)} of {len(config.runs())} runs failed; the others are kept", file=sys.stderr)
        raise SystemExit(1)


def transfer(agent: Words[str], levels: tuple[str, ...] = (), episodes: int = 500) -> None:
    """Play held-out levels that the agent was not trained on, from easy to hard; print success with intervals.

    Args:
        agent: file, run folder, or name of a shipped agent.
        levels: which; default: from GoToLocal to mazes.
        episodes: held-out levels of each.
    """
    from .experiments.shipped import trained_on
    from .experiments.transfer import GO_TO_LADDER, transfer, transfer_table
    from .runs import load_agent

    loaded = load_agent(agent)
    rows = transfer(loaded, levels or GO_TO_LADDER, episodes, train_levels=trained_on(agent), progress=True)
    print(transfer_table(rows))


def study(
    name: Words[str],
    folder: Path | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    workers: int = 1,
    ship: bool = False,
    shipped: bool = False,
) -> None:
    """Make one of the RIM paper's tables on sequence tasks again: several settings, several seeds. Takes hours.

    A study that was stopped goes on where it was.

    Args:
        name: copying, adding, bouncing-balls or digits.
        folder: where the runs are kept; default runs/study-NAME.
        seeds: of each setting; others that the folder's table has stay in it.
        workers: processes that share the cores.
        ship: put the table, and a model where the study names one, among the data that come with the package.
        shipped: run nothing, print the table that came with the package.
    """
    from .experiments.studies import run_study, ship_study, shipped_study

    if shipped:
        print(shipped_study(name))
        return
    folder = folder or Path("runs") / f"study-{name}"
    table = run_study(name, folder, seeds, workers)
    if ship:
        ship_study(table, folder)
    print(table)


def replay(
    agent: Words[str], level: str = "BabyAI-GoToLocal-v0", seed: int = 1_000_000, out: Path = Path("replay.html")
) -> None:  # fmt: skip
    """Record one episode and write it as a self-contained HTML page.

    Args:
        agent: file, run folder, or name of a shipped agent.
        level: which level.
        seed: seed of the level and of the agent's dice.
        out: the page to write.
    """
    import metarim_lite as ml

    bank = ml.LevelBank.generate(level, seeds=range(seed, seed + 1))
    ml.Trace.record(ml.load_agent(agent), bank, level=0, seed=seed).to_html(out)
    print(f"wrote {out}")


def bench(names: Words[tuple[str, ...]] = ("worlds", "rim", "train"), json_lines: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:  # fmt: skip # noqa: E501
    """Measure worlds, controllers and training side by side with their peers; print medians and ratios.

    Args:
        names: any of worlds, rim, train, solve (how long until 98 % of GoToLocal's held-out levels succeed).
        json_lines: print one JSON line per row instead of a table.
    """
    from .bench import BENCHES, format_row

    for name in names:
        if name not in BENCHES:
            raise unknown("bench", name, BENCHES)
    for name in names:
        for row in BENCHES[name]():
            print(json.dumps(row) if json_lines else format_row(row), flush=True)


def compare_minigrid(steps: int = 100_000, levels: str = "all", seed: int = 0, workers: int = 1) -> None:
    """Step our worlds and minigrid's from the same resets, half random, half bot or oracle, and count differences.

    Args:
        steps: steps to compare in all.
        levels: "all", a prefix such as BabyAI-, or level names separated by commas.
        seed: seeds the actions.
        workers: processes.
    """
    from .bots.compare import compare_minigrid

    named = levels.split(",") if "," in levels else levels
    rows = compare_minigrid(named, steps=steps, seed=seed, workers=workers, progress=True)
    for row in rows:
        print(f"{row.level:42s} {row.steps:>10,} steps {row.episodes:>7,} episodes {row.successes:>7,} successes")
        for difference in row.differences:
            print(f"    {difference}")
    steps, episodes, successes = (
        sum(getattr(row, name) for row in rows) for name in ("steps", "episodes", "successes")
    )
    differences = sum(len(row.differences) for row in rows)
    print(
        f"{len(rows)} levels, {steps:,} steps compared, {episodes:,} episodes, "
        f"{successes:,} successes, {differences} differences"
    )
    if differences:
        raise SystemExit(1)


def build(check: bool = False, force: bool = False) -> None:
    """Execute the sources of notebooks, solutions and exercises that changed, and write them.

    Args:
        check: write nothing; fail when what is committed differs from what a build gives.
        force: execute all of them, changed or not (after shipping another agent, say).
    """
    from .course.build import build

    if not build(check=check, force=force):
        raise SystemExit(1)


def check(notebook: Words[Path]) -> None:
    """Check an exercise notebook: exercise, points, passed or the likely mistake.

    Args:
        notebook: your copy, such as exercises/03_attention_bottlenecks.ipynb.
    """
    from .course.student import check_notebook

    raise SystemExit(check_notebook(notebook))


def ship(folder: Words[Path], name: Words[str], episodes: int = 1000) -> None:
    """Put the agent of a finished run among those that come with the package.

    Args:
        folder: the run's folder.
        name: its name from then on.
        episodes: held-out levels to evaluate it on.
    """
    from .experiments.shipped import ship

    record = ship(folder, name, episodes)
    seen = record.held_out["seen"]
    known = f" ({seen:.1%} of the levels identical to training levels)" if seen else ""
    print(f"{name}: held-out success {record.held_out['value']:.3f}{known}, made by: {record.command}")


def report(runs: Words[tuple[Path, ...]], out: Path = Path("curves.png")) -> None:
    """Print a table of runs and draw their learning curves.

    Args:
        runs: folders of runs: all of agents, or all of one sequence task.
        out: the picture to write.
    """
    from .analysis.plots import metric_curves
    from .analysis.report import report_table
    from .runs.metrics import recorded_divergence, recorded_metrics

    lines = {str(folder): recorded_metrics(folder) for folder in runs}
    print(report_table(lines, {str(folder): recorded_divergence(folder) for folder in runs}))
    reported = {name: of_run for name, of_run in lines.items() if of_run}
    try:
        print(f"\n{metric_curves(reported, out)}\ncurves in {out}")
    except UserError as error:
        print(f"\nno curves: {error}")


COMMANDS: dict[str, Any] = {
    "demo": demo,
    "train": train,
    "imitate": imitate,
    "evaluate": evaluate,
    "adapt": adapt,
    "continual": continual,
    "forgetting": forgetting,
    "sweep": sweep,
    "transfer": transfer,
    "study": study,
    "replay": replay,
    "bench": bench,
    "compare-minigrid": compare_minigrid,
    "report": report,
    "ship": ship,
    "check": check,
    "build": build,
}


def _read(words: list[str]) -> Callable[[], None]:
    """The command that these words ask for, ready to be called.

    Raises:
        UserError: a config refuses its values. (tyro would frame and shorten the sentence.)
    """

    def later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
        @functools.wraps(command)
        def read(*args: Any, **kwargs: Any) -> Callable[[], None]:
            return functools.partial(command, *args, **kwargs)

        return read

    commands = COMMANDS
    if words[:1] == ["train"]:
        words, command = train_command(words)
        commands = COMMANDS | {"train": command}
    elif words and words[0] in ("continual", "forgetting", "sweep"):
        words, command = from_file(words, COMMANDS[words[0]])
        commands = COMMANDS | {words[0]: command}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                {name: later(command) for name, command in commands.items()},
                prog="metarim",
                description="Train, test and look into agents made of recurrent independent mechanisms.",
                args=words,
            )
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        sys.stderr.write(complaint.getvalue())
        raise


def _end(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is under way takes a moment to save
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line. Exit status 2 for a mistake the user can mend, with one sentence; 130 after Ctrl-C and 143
    after SIGTERM, when the run under way has been saved."""
    if threading.current_thread() is threading.main_thread():
        # A script that starts us in the background has us ignore Ctrl-C; kill -INT is to save and stop us there too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # else one waits for the others where no signal is heard
            signal.signal(signal.SIGTERM, _end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of few letters shows "?" for the others, and no command fails
            stream.reconfigure(errors="replace")
    try:
        _read(sys.argv[1:])()
    except UserError as error:
        print(f"metarim: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # of a file that no part of ours reads or writes in a way of its own
        if error.filename is None:
            raise
        print(f"metarim: {error.filename!r}: {error.strerror}; name a file that may be used so", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
