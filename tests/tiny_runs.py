"""Runs of a few ticks, and how to tell whether two of them are the same."""

import dataclasses
import json
import os
import signal

import torch
from safetensors.torch import load_file

import metarim_lite as ml
from metarim_lite.training import TimeScales

SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=10, slow_every=2)
AGENT = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8)
CONFIG = ml.TrainConfig(
    level="BabyAI-GoToObjS6-v1", frames=16 * 10 * 24, num_envs=16, steps=10, train_levels=200,
    report_every=2, agent=AGENT, timescales=SCALES, ppo=ml.PPOConfig(epochs=1, minibatches=4),
)  # fmt: skip
SHORT = dataclasses.replace(CONFIG, frames=16 * 10 * 12)
CLOCK = ("seconds", "frames_per_second")  # what differs between runs that are the same


def same_agent(a, b):
    a, b = load_file(a / "agent.safetensors"), load_file(b / "agent.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_times(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]


def stop_at_once(_):
    os.kill(os.getpid(), signal.SIGINT)
