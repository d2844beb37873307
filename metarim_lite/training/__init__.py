"""How an agent learns: rollouts, PPO over spans, fast and slow clocks, one task after another, sweeps of runs."""

from .after_adaptation import Adapted, evaluate_adaptation
from .banks import HELD_OUT_SEEDS, held_out_bank
from .continual import train_sequence_of_tasks
from .evaluation import Evaluation, evaluate
from .methods import METHODS, MethodConfig
from .ppo import PPOConfig, gae, ppo_loss
from .spending import Spending, spending, spent_in_words
from .stages import ContinualConfig
from .timescales import Clock, TimeScales, make_clocks
from .trainer import Run, TrainConfig, Trainer, in_words, train

__all__ = [
    "HELD_OUT_SEEDS",
    "METHODS",
    "Adapted",
    "Clock",
    "ContinualConfig",
    "Evaluation",
    "MethodConfig",
    "PPOConfig",
    "Run",
    "Spending",
    "TimeScales",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "evaluate_adaptation",
    "gae",
    "held_out_bank",
    "in_words",
    "make_clocks",
    "ppo_loss",
    "spending",
    "spent_in_words",
    "train",
    "train_sequence_of_tasks",
]
