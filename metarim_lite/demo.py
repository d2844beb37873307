"""The main job: meta-train an agent, weigh it against a random policy and an LSTM, show what it does."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import metarim_lite as ml

from .analysis import Estimate
from .analysis.plots import learning_curves
from .experiments.shipped import shipped_run
from .machine import peak_memory_gb
from .training import held_out_bank

LEVEL = "BabyAI-GoToLocal-v0"
EPISODES = 1000
BASELINE = "lstm-gotolocal"


def demo(frames: int, folder: Path, seed: int) -> None:
    """Train in `folder` (or go on there), evaluate on held-out levels, write curves.png and replay.html."""
    began = time.perf_counter()
    config = ml.TrainConfig(method="meta-rim", level=LEVEL, frames=frames, seed=seed)
    scales = config.scales
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


def _table(results: dict[str, ml.Evaluation]) -> None:
    print(f"\n{EPISODES} held-out levels, each played once; 95 % intervals")
    print(f"{'':34s} {'success':>24s} {'reward':>24s} {'steps':>7s}")
    for name, r in results.items():
        print(f"{name:34s} {_percent(r.success):>24s} {str(r.reward):>24s} {r.length.value:7.1f} {r.note}".rstrip())


def _percent(e: Estimate) -> str:
    return f"{e.value:.1%} [{e.low:.1%}, {e.high:.1%}]"
