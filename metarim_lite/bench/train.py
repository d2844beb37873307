"""Frames per second of whole training: our worlds against a plain loop over minigrid, Meta-RIM against RIM.

The plain loop is how most trainers for these worlds work (rl-starter-files with torch-ac, for one): a list of
minigrid environments stepped one after the other in Python, the same agent and the same PPO on top.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..envs import LevelBank, Observation, Step, encode_mission, make_minigrid
from ..errors import Diverged
from ..models import Agent, AgentConfig, fused
from ..training import PPOConfig, TrainConfig, Trainer, train
from ..training.methods import method
from ..training.rollouts import Player
from ..training.timescales import make_clocks
from . import alternate, row

LEVEL = "BabyAI-GoToLocal-v0"


class PlainWorlds:
    """minigrid environments in a list, behind the few names of `GridWorlds` that a `Player` uses."""

    def __init__(self, level: str, num_envs: int) -> None:
        self.envs = [make_minigrid(level) for _ in range(num_envs)]
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.reset()  # which is when an environment of minigrid learns its own step limit
        self.bank = SimpleNamespace(max_mission_length=5, step_limit=max(env.max_steps for env in self.envs))
        self.mission_kind = torch.zeros(num_envs, dtype=torch.int64)
        self.visit_begins = torch.ones(num_envs, dtype=torch.bool)

    def reset(self) -> Observation:
        return self._stack([env.reset(seed=i)[0] for i, env in enumerate(self.envs)])

    def step(self, actions: torch.Tensor) -> Step:
        seen, rewards, ended, cut = [], [], [], []
        for env, action in zip(self.envs, actions.tolist(), strict=True):
            obs, reward, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                obs, _ = env.reset()
            seen.append(obs)
            rewards.append(float(reward))
            ended.append(terminated)
            cut.append(truncated)
        reward = torch.tensor(rewards)
        return Step(self._stack(seen), reward, torch.tensor(ended), torch.tensor(cut), reward > 0)

    @staticmethod
    def _stack(seen: list[dict[str, Any]]) -> Observation:
        return Observation(
            torch.from_numpy(np.stack([o["image"] for o in seen])),
            torch.tensor([int(o["direction"]) for o in seen]),
            torch.stack([encode_mission(o["mission"]) for o in seen]),
        )


def _ours(name: str, bank: LevelBank, kernel: str = "fused") -> Callable[[], float]:
    """Frames per second of a method over a whole cycle of its clocks."""
    config = TrainConfig(method=name, level=LEVEL, agent=AgentConfig(kernel=kernel))
    trainer = Trainer(config, bank)
    cycle = config.scales.slow_every + 1 if config.scales.slow else 2
    for _ in range(cycle):
        trainer.tick()

    def measure() -> float:
        first, began = trainer.counters["frames"], time.perf_counter()
        for _ in range(cycle):
            trainer.tick()
        return (trainer.counters["frames"] - first) / (time.perf_counter() - began)

    return measure


def _plain(num_envs: int = 16, T: int = 40, span: int = 20) -> Callable[[], float]:
    """Frames per second of the same RIM agent and PPO over a plain loop of minigrid environments."""
    chosen = method("rim")
    agent = Agent(chosen.agent_config(TrainConfig().agent))
    clock = make_clocks(agent, chosen.timescales)["fast"]
    dice = torch.Generator().manual_seed(0)
    player = Player(PlainWorlds(LEVEL, num_envs), agent, dice)  # type: ignore[arg-type]
    player.collect(agent, span, span)

    def measure() -> float:
        began = time.perf_counter()
        clock.update(agent, player.collect(agent, T, span), PPOConfig(), dice)
        return T * num_envs / (time.perf_counter() - began)

    return measure


def _sb3(num_envs: int = 16, T: int = 40) -> Callable[[], float] | None:
    """Frames per second of sb3-contrib's RecurrentPPO (without language); None when it is not installed."""
    try:
        from sb3_contrib import RecurrentPPO
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError:
        return None
    import gymnasium

    class View(gymnasium.ObservationWrapper):
        """Only the image, flattened: its policies do not read missions."""

        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Box(0, 10, (147,), np.float32)

        def observation(self, obs: dict[str, Any]) -> np.ndarray:
            return obs["image"].astype(np.float32).ravel()

    model = RecurrentPPO(
        "MlpLstmPolicy", DummyVecEnv([lambda: View(make_minigrid(LEVEL))] * num_envs), n_steps=T,
        batch_size=T * num_envs // 4, n_epochs=2, device="cpu", policy_kwargs={"lstm_hidden_size": 128},
    )  # fmt: skip

    def measure() -> float:
        began = time.perf_counter()
        model.learn(T * num_envs * 2)
        return 2 * T * num_envs / (time.perf_counter() - began)

    return measure


class _Solved(Exception):
    """The goal is reached: no need to train on."""


TRAIN_LEVELS = 10_000
TARGETS = {"lstm": 90, "rim": 150, "meta-rim": 180}  # seconds, on 2 quiet cores


def bench_solve(goal: float = 0.98, limit: int = 4_000_000, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of `metarim bench solve`: seconds of training until 98 % of 500 held-out levels succeed (less is better).

    Evaluations, every 100,000 frames, do not count. The peer is the time that we set ourselves. A run that does not
    get there, or diverges, has no seconds, and its row says so.
    """
    bank = LevelBank.generate(LEVEL, seeds=range(TRAIN_LEVELS), progress=True)
    for name, target in TARGETS.items():
        config = TrainConfig(method=name, level=LEVEL, frames=limit, seed=seed, evaluate_every=100_000)
        line: dict[str, Any] = {}

        def stop(report: dict[str, Any], line: dict[str, Any] = line) -> None:
            line.update(report)
            if report.get("held_out_success", 0) >= goal:
                raise _Solved

        seconds = None
        try:
            train(config, bank=bank, progress=False, on_report=stop)
            reached = f"not reached in {limit:,} frames"
        except _Solved:
            reached, seconds = f"{line['frames']:,} frames", line["seconds"]
        except Diverged as error:
            reached = f"diverged: {str(error).partition(';')[0]}"
        yield row("solve", f"GoToLocal to {goal:.0%}, {name} ({reached})", "seconds", seconds, "target", target)


def bench_train(rounds: int = 5) -> Iterator[dict[str, Any]]:
    """Rows of `metarim bench train`."""
    bank = LevelBank.generate(LEVEL, seeds=range(2000))
    rim, plain, sb3 = _ours("rim", bank), _plain(), _sb3()
    ours, theirs = alternate(rim, plain, rounds)
    yield row("train", "GoToLocal, RIM", "eager", ours, "plain minigrid loop", theirs)
    compiled = _ours("rim", bank, "compiled")
    if fused.STEP.works:  # else torch.compile does not work here
        ours, theirs = alternate(compiled, plain, rounds)
        yield row("train", "GoToLocal, RIM", "compiled", ours, "plain minigrid loop", theirs)
    ours, theirs = alternate(rim, sb3, rounds)
    yield row("train", "GoToLocal, RIM", "eager", ours, "sb3-contrib RecurrentPPO", theirs)
    for name in ("meta-rim", "lstm"):
        ours, theirs = alternate(_ours(name, bank), rim, rounds)
        yield row("train", f"GoToLocal, {name}", "eager", ours, "ours: rim", theirs)
