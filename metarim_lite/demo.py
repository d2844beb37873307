"""The main job: meta-train an agent, weigh it against a random policy and an LSTM, show what it does."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import metarim_lite as ml

from .analysis import Estimate
from .analysis.plots import learning_curves
from .experiments.shipped import shipped_run
from .files import make_folder
from .lens.game import Game
from .lens.terminal import board
from .machine import peak_memory_gb
from .training import HELD_OUT_SEEDS, held_out_bank

LEVEL = "BabyAI-GoToLocal-v0"
EPISODES = 1000
BASELINE = "lstm-gotolocal"
TRAINED = "meta-rim-gotolocal"
EXPLANATION = """\
Agents see 7 x 7 cells in front of them and read a mission, such as “go to the red ball”. A mission not accomplished
in 64 steps has failed. The random policy throws dice: that much is accomplished without any skill. In brackets, 95 %
intervals: figures whose intervals lie apart differ by more than the luck of which levels were drawn. One trained
agent of each kind is compared here; another seed gives another agent, so this does not say which method is better."""


def demo(frames: int, folder: Path, seed: int) -> None:
    """Train in `folder` (or go on there), evaluate on held-out levels, write curves.png and replay.html."""
    began = time.perf_counter()
    config = ml.TrainConfig(method="meta-rim", level=LEVEL, frames=frames, seed=seed)
    scales = config.scales
    preview(make_folder(folder) / "before.html")
    print(f"Meta-training a RIM on {LEVEL} for {frames:,} frames.")
    print(f"  fast clock: {', '.join(scales.fast)} (spans of {scales.fast_span} steps, every tick)")
    print(f"  slow clock: {', '.join(scales.slow)} (spans of {scales.slow_span}, after {scales.slow_every} fast ticks)")
    held_out = held_out_bank((LEVEL,), EPISODES, config.train_levels, progress=True)
    run = ml.train(config, folder=folder, progress=True)
    trained = time.perf_counter() - began
    if not run.finished:
        raise KeyboardInterrupt

    baseline = shipped_run(BASELINE)
    agents = {
        "random policy": ml.UniformAgent(),
        f"LSTM ({baseline.frames:,} frames, shipped)": ml.load_agent(BASELINE),
        f"Meta-RIM ({run.metrics[-1]['frames']:,} frames)": run.agent,
    }
    results = {name: ml.evaluate(agent, held_out, EPISODES) for name, agent in agents.items()}
    _table(results)

    names = list(agents)
    words = learning_curves(
        {names[1]: baseline.metrics, names[2]: run.metrics},
        folder / "curves.png",
        held_out={name: r.success for name, r in results.items()},
        title=f"{LEVEL}: success while training; dots: {EPISODES} held-out levels",
    )
    solved = np.flatnonzero(results[names[2]].successes)
    trace = ml.Trace.record(run.agent, held_out, level=int(solved[0]) if len(solved) else 0, seed=seed)
    trace.to_html(folder / "replay.html")

    print(f"\n{words}")
    print(f"learning curves   {folder / 'curves.png'}")
    print(f"one episode       {folder / 'replay.html'}  (open it in a browser)")
    print(f"the run           {folder}  (config.json, metrics.jsonl, checkpoint, agent)")
    print(f"the LSTM was made by: {baseline.command}")
    total = time.perf_counter() - began
    peak = peak_memory_gb()
    memory = "" if peak is None else f", peak memory {peak:.2f} GB"
    print(f"wall time {total:.0f} s (training {trained:.0f} s){memory}")


def preview(page: Path) -> None:
    """Something to look at while an agent is trained: one that was trained before, on a level that it never met."""
    bank = ml.LevelBank.generate(LEVEL, seeds=range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + 24))
    agent = ml.load_agent(TRAINED)
    traces = [ml.Trace.record(agent, bank, level, seed=0) for level in range(len(bank))]
    trace = max(traces, key=lambda one: (one.success and one.num_steps <= 30, one.num_steps))  # long enough to watch
    trace.to_html(page)
    print("While an agent learns, look at one that has learned, in a level that it never met:\n")
    print(board(Game(LEVEL, int(bank.seeds[trace.index]))))
    print(
        "(from above; the arrow is the agent; o ball, k key, x box; r red, g green, b blue, p purple, y yellow, e grey)"
    )
    how = f"accomplished in {trace.num_steps} steps" if trace.success else "not accomplished"
    print(f"its mission       {trace.mission}: {how}")
    print(f"watch it          {page}  (open it in a browser)\n", flush=True)


def _table(results: dict[str, ml.Evaluation]) -> None:
    print(f"\n{EPISODES} levels that no agent trained on, each played once:\n")
    print(f"{'':34s} {'missions accomplished':>24s} {'steps a mission':>16s}")
    for name, r in results.items():
        print(f"{name:34s} {_percent(r.success):>24s} {r.length.value:16.1f} {r.note}".rstrip())
    print(f"\n{EXPLANATION}")


def _percent(e: Estimate) -> str:
    return f"{e.value:.1%} [{e.low:.1%}, {e.high:.1%}]"
