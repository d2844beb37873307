"""The commands that show and measure: demo, evaluate, transfer, replay, report, bench, compare-minigrid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro

from .errors import UserError, unknown
from .files import replace_file, user_path
from .training.banks import HELD_OUT_SEEDS

Words = tyro.conf.Positional


def demo(frames: int = 2_000_000, folder: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Meta-train a Meta-RIM agent on GoToLocal, evaluate it, write learning curves and a replay.

    Args:
        frames: steps to train on.
        folder: where everything goes; a demo that was stopped goes on from there.
        seed: seed of the run.
    """
    from .demo import demo

    demo(frames=frames, folder=folder, seed=seed)


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


def replay(
    agent: Words[str], level: Words[str] = "BabyAI-GoToLocal-v0", /, seed: int | None = None, beside: str | None = None,
    html: bool = True, out: Path = Path("replay.html"),
) -> None:  # fmt: skip
    """Record one episode and write it as a self-contained HTML page.

    Args:
        agent: file, run folder, or name of a shipped agent.
        level: which level.
        seed: seed of the level and of the agent's dice; default: of 24 held-out levels that with the longest episode.
        beside: a second agent, shown next to the first on the same level with the same dice.
        html: write the page; --no-html prints one sentence a step instead.
        out: the page to write.
    """
    import metarim_lite as ml

    from .lens.page import caption, last_step

    seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 24) if seed is None else range(seed, seed + 1)
    bank, player = ml.LevelBank.generate(level, seeds=seeds), ml.load_agent(agent)
    other = ml.load_agent(beside) if beside else None
    traces = [ml.Trace.record(player, bank, i, seed=int(bank.seeds[i])) for i in range(len(bank))]
    trace = max(traces, key=lambda one: one.num_steps)
    second = ml.Trace.record(other, bank, trace.index, seed=trace.seed) if other else None
    if html:
        print(f"wrote {trace.to_html(out, beside=second)}")
    else:
        print("\n".join(caption(trace, t, second) for t in range(last_step(trace, second) + 1)))


def play(level: Words[str] = "BabyAI-GoToLocal-v0", /, seed: int = 0, agent: str | None = None) -> None:
    """Play a mission in the terminal; type letters for moves.

    Args:
        level: which level.
        seed: seed of the level.
        agent: file, run folder, or name of a shipped agent that says what it would do, and moves when asked.
    """
    from .lens.game import Game
    from .lens.terminal import play as play_in_terminal
    from .runs import load_agent

    game = Game(level, seed)
    game.ask(load_agent(agent) if agent else None)
    play_in_terminal(game)


def report(runs: Words[tuple[Path, ...]], out: Path | None = None) -> None:
    """Print a table of runs and draw their learning curves; or write the page of the study of fast and slow.

    metarim report study writes the page of what came with the package, metarim report study FOLDER that of a folder.

    Args:
        runs: folders of runs: all of agents, or all of one sequence task.
        out: the file to write; default curves.png, of the study study.html.
    """
    if runs[0] == Path("study") and not runs[0].is_dir():
        _report_study(runs[1:], out or Path("study.html"))
        return
    out = out or Path("curves.png")
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


def _report_study(folders: tuple[Path, ...], out: Path) -> None:
    from .experiments.meta_page import study_page
    from .experiments.meta_shipped import shipped_rows
    from .experiments.meta_study import rows_in

    if len(folders) > 1:
        raise UserError(f"the study has one folder, got {len(folders)}")
    rows = rows_in(folders[0]) if folders else shipped_rows()
    replace_file(user_path(out), study_page(rows))
    print(f"{len(rows)} runs, in {out}")


def bench(names: Words[tuple[str, ...]] = ("worlds", "rim", "train"), json_lines: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:  # fmt: skip # noqa: E501
    """Measure worlds, controllers and training side by side with their peers; print medians and ratios.

    Args:
        names: any of worlds, rim, train, solve (how long until 98 % of GoToLocal's held-out levels succeed), and gpu
            (all of these on a GPU, as CUDA graphs and without, within 4 minutes).
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
