"""For the tests of per-task adaptation: a tiny agent, its trainer, and experience with made-up rewards."""

from dataclasses import replace

import torch

import metarim_lite as ml
from metarim_lite.training import PPOConfig, TimeScales, Trainer
from metarim_lite.training.ppo import cut_into_spans

LEVEL = "BabyAI-GoToObjS6-v1"
TINY = ml.AgentConfig(
    num_modules=3, active=2, hidden_size=4, lstm_size=6, input_size=8, channels=2, mission_size=4, head_size=4,
    key_size=3, value_size=4, comm_heads=1, comm_key_size=3, comm_value_size=3,
)  # fmt: skip
PER_TASK = TimeScales(
    fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=8, fast_lr=1.0,
    adaptation="per-task", tasks=3, inner_steps=2,
)  # fmt: skip
PPO = PPOConfig(minibatches=2)


def make_trainer(bank, controller="rim", *, dtype=torch.float32, ppo=PPO, seed=0, num_envs=12, steps=10, **scales):
    config = ml.TrainConfig(
        method="meta-rim-per-task" if controller == "rim" else "lstm", level=LEVEL, num_envs=num_envs, steps=steps,
        agent=TINY, ppo=ppo, timescales=replace(PER_TASK, **scales), seed=seed, device="cpu",
    )  # fmt: skip
    trainer = Trainer(config, bank)
    with torch.no_grad():
        for p in trainer.agent.actor.parameters():  # the first policy is nearly uniform: give it something to say
            p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(7)))
    if dtype != torch.float32:
        trainer.agent.to(dtype)
        trainer.player.state = trainer.agent.initial_state(12)
    return trainer


def played(trainer):
    """Support and query of all tasks, played by the shared agent; rewards are made up, since real ones are rare."""
    spans, dice = [], torch.Generator().manual_seed(3)
    for T, span in ((10, 5), (8, 8)):
        rollout = trainer.player.collect(trainer.agent, T, span)
        rollout = rollout._replace(rewards=torch.rand(rollout.rewards.shape, generator=dice).to(rollout.values.dtype))
        spans.append(cut_into_spans(rollout, span, trainer.config.ppo, 3))
    return spans
