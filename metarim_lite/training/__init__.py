"""How an agent learns: rollouts, PPO over spans, fast and slow clocks, runs that survive."""

from .checkpoints import load_agent, save_agent, shipped_agents
from .continual import train_sequence_of_tasks
from .evaluation import Evaluation, evaluate
from .methods import METHODS, MethodConfig
from .ppo import PPOConfig, gae, ppo_loss
from .sequences import SEQUENCES, SequenceConfig, train_sequence
from .stages import ContinualConfig
from .timescales import Clock, TimeScales, make_clocks
from .trainer import HELD_OUT_SEEDS, Run, TrainConfig, Trainer, train
from .transfer import transfer

__all__ = [
    "HELD_OUT_SEEDS",
    "METHODS",
    "SEQUENCES",
    "Clock",
    "ContinualConfig",
    "Evaluation",
    "MethodConfig",
    "PPOConfig",
    "Run",
    "SequenceConfig",
    "TimeScales",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "gae",
    "load_agent",
    "make_clocks",
    "ppo_loss",
    "save_agent",
    "shipped_agents",
    "train",
    "train_sequence",
    "train_sequence_of_tasks",
    "transfer",
]
