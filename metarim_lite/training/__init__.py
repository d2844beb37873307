"""How one agent learns: rollouts, PPO over spans, fast and slow clocks, the named methods, evaluation."""

from .banks import HELD_OUT_SEEDS, held_out_bank
from .evaluation import Evaluation, evaluate
from .fitting import fitted
from .methods import METHODS, MethodConfig, Spending, spending
from .ppo import PPOConfig, gae, ppo_loss
from .timescales import Clock, TimeScales, make_clocks
from .trainer import Run, TrainConfig, Trainer, train

__all__ = [
    "HELD_OUT_SEEDS", "METHODS", "Clock", "Evaluation", "MethodConfig", "PPOConfig", "Run", "Spending", "TimeScales",
    "TrainConfig", "Trainer", "evaluate", "fitted", "gae", "held_out_bank", "make_clocks",
    "ppo_loss", "spending", "train",
]  # fmt: skip
