"""The study of fast and slow, of conditions that take seconds. `python tiny_meta_study.py FOLDER` makes it."""

import sys
from contextlib import contextmanager
from unittest import mock

from metarim_lite.experiments import conditions, meta_study
from metarim_lite.experiments.conditions import Condition
from metarim_lite.experiments.meta_plan import Tuning

LEVEL, OTHER, THIRD = "BabyAI-GoToObjS6-v1", "MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0"
SMALL = {"num_envs": 16, "steps": 20, "train_levels": 60, "report_every": 1, "ppo.epochs": 1, "ppo.minibatches": 2}
SMALL |= {"agent.num_modules": 3, "agent.active": 2, "agent.hidden_size": 8, "agent.lstm_size": 16}
SMALL |= {"agent.input_size": 16, "agent.channels": 4, "agent.head_size": 8, "timescales.slow_span": 20}
SMALL |= {"timescales.slow_every": 2, "timescales.fast_span": 20}
CHANGES = tuple(SMALL.items())
FRAMES = 16 * 20 * 6
TINY = {
    "mix": Condition("", (LEVEL, OTHER), FRAMES, changes=CHANGES),
    "pair": Condition("", (LEVEL,), FRAMES, changes=CHANGES),
    "shift": Condition("", (OTHER,), 16 * 20 * 2, "adapt", "pair"),
    "sequence": Condition("", (OTHER, THIRD), FRAMES // 2, "sequence", changes=CHANGES),
    "harder": Condition("", (THIRD,), kind="zero-shot", of="mix"),
    "modules": Condition("", (LEVEL, OTHER), kind="modules", of="mix"),
}


@contextmanager
def tiny():
    """As a context: the tiny conditions in the place of the study's."""
    with (
        mock.patch.multiple(conditions, HELD_OUT=20, ON_THE_WAY=10, POINTS=2, WORLDS={"cpu": 16}),
        mock.patch.dict(conditions.CONDITIONS, TINY),
    ):
        yield


def make(folder, names=("mix", "pair", "sequence"), methods=("lstm", "meta-rim"), seeds=(21,), **how):
    """The study; without `workers`, in this process."""
    with tiny(), mock.patch.object(meta_study, "fitting_workers", lambda device, threads: None):
        how = {"device": "cpu", "progress": False, "tuning": Tuning()} | how
        return meta_study.run_meta_study(folder, names, methods, seeds, **how)


if __name__ == "__main__":
    make(sys.argv[1], ("mix", "sequence"), workers=2, on_line=lambda line: print(line, flush=True))
