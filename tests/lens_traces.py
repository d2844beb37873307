"""For the tests of the lens: made-up traces, with everything a viewer draws and no world, and an untrained agent."""

import re
from types import SimpleNamespace

import numpy as np
import torch

import metarim_lite as ml
from metarim_lite.lens import Trace
from metarim_lite.lens.page import DARK
from metarim_lite.lens.svg import ORANGE


def make_agent(controller="rim", loud=True):
    """An untrained agent; `loud` makes its preferences strong, so that interventions change its actions."""
    torch.manual_seed(1)
    agent = ml.Agent(ml.AgentConfig(controller=controller, num_modules=5, active=3, hidden_size=16))
    if loud:
        with torch.no_grad():
            agent.actor[-1].weight.mul_(150)
    return agent


def bright_in_the_dark(drawn):
    """The colours of a drawing that a dark theme leaves as they are, but for orange, which reads on both grounds."""
    return set(re.findall(r'(?:fill|stroke)="(#\w+)"', drawn)) - set(DARK) - {ORANGE}


class PaintedWorld:
    """Stands in for a world that can only be looked at: a red square that moves one cell a step."""

    bank = SimpleNamespace(width=8)

    def __init__(self, t):
        self.t = t

    def frame(self, b, tile_size=32):
        pixels = np.full((8 * tile_size, 8 * tile_size, 3), 40, np.uint8)
        x = tile_size * (self.t % 8)
        pixels[tile_size : 2 * tile_size, x : x + tile_size] = (255, 0, 0)
        return pixels


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def make_trace(T=24, N=6, k=4, A=2, controller="rim", success=True, seed=0, **fields):
    """A trace of T steps with random but consistent numbers. `fields` replace what was made up."""
    rng = np.random.default_rng(seed)
    attention = 1 / (1 + np.exp(-rng.normal(0, 1.5, (T, N))))
    active = np.zeros((T, N), bool)
    np.put_along_axis(active, np.argsort(-attention, axis=1)[:, :k], True, axis=1)
    communication = softmax(rng.normal(0, 1.5, (T, A, N, N))) * active[:, None, :, None]
    rewards = np.zeros(T, np.float32)
    rewards[-1] = 0.75 if success else 0.0
    probabilities = softmax(rng.normal(0, 1.8, (T, 7))).astype(np.float32)
    made = dict(
        level="BabyAI-GoToLocal-v0",
        index=3,
        seed=seed,
        mission="go to the red ball",
        controller=controller,
        greedy=False,
        interventions=(),
        worlds=tuple(PaintedWorld(t) for t in range(T + 1)),
        images=np.ones((T + 1, 7, 7, 3), np.uint8),
        directions=np.zeros(T + 1, np.int64),
        mission_tokens=np.zeros((T, 72), np.int64),
        probabilities=probabilities,
        actions=rng.integers(0, 7, T),
        values=rng.normal(0.5, 0.1, T).astype(np.float32),
        rewards=rewards,
        success=success,
        truncated=not success,
        hidden_norms=rng.random((T, {"rim": N, "lstm": 1}.get(controller, 0))).astype(np.float32),
    )
    if controller == "rim":
        made |= dict(
            active=active,
            input_attention=attention.astype(np.float32),
            communication=communication.astype(np.float32),
        )
    return Trace(**(made | fields))
