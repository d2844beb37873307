"""Proximal policy optimisation over spans (Schulman et al. 2017; GAE, Schulman et al. 2016).

A rollout of T steps is cut into spans; gradients run through one span, and each span starts from the
controller's state that was stored when the span was played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..config import bounded, check
from ..envs import Observation
from ..models import ControllerState
from .rollouts import Rollout


@dataclass(frozen=True)
class PPOConfig:
    """How a rollout becomes updates."""

    gamma: float = bounded(0.99, at_least=0, at_most=1)
    """Discount per step."""
    lam: float = bounded(0.95, at_least=0, at_most=1)
    """λ of generalised advantage estimation."""
    clip: float = bounded(0.2, above=0)
    """How far the probability ratio may move from 1 before its gradient is cut."""
    entropy: float = bounded(0.01, at_least=0)
    """Weight of the entropy bonus."""
    value: float = bounded(0.5, at_least=0)
    """Weight of the value loss."""
    epochs: int = bounded(2, at_least=1)
    """Passes over a rollout."""
    minibatches: int = bounded(8, at_least=1)
    """Updates per pass."""
    max_grad_norm: float = bounded(0.5, above=0)
    """Gradients of the updated groups are scaled down to this norm."""

    def __post_init__(self) -> None:
        check(self)


def gae(
    rewards: Float[Tensor, "T B"], values: Float[Tensor, "T B"], dones: Bool[Tensor, "T B"],
    last_value: Float[Tensor, "B"], gamma: float, lam: float,
) -> Float[Tensor, "T B"]:  # fmt: skip
    """Generalised advantage estimates.

    δ_t = r_t + γ V_{t+1} (1 − done_t) − V_t,   A_t = δ_t + γ λ (1 − done_t) A_{t+1}.

    An episode cut off by its step limit counts as ended, as in BabyAI's trainer: the limit is part of the
    task (the reward shrinks with the number of steps).
    """
    going = (~dones).to(values.dtype)
    next_values = torch.cat([values[1:], last_value.unsqueeze(0)])  # (T, B)
    delta = rewards + gamma * next_values * going - values
    advantages, running = [], torch.zeros_like(last_value)
    for d, g in zip(reversed(delta.unbind(0)), reversed(going.unbind(0)), strict=True):
        running = d + gamma * lam * g * running
        advantages.append(running)
    return torch.stack(advantages[::-1])


def ppo_loss(agent: Any, batch: Spans, config: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped PPO loss of `agent` on a batch of spans, and numbers to watch.

    loss = −E[min(ρ A, clip(ρ, 1 ± ε) A)] + c_v E[(V − R)²] / 2 − c_e H,   ρ = π(a) / π_old(a).
    """
    out, _ = agent(batch.observation, batch.state, batch.resets)
    log_pi = out.logits.log_softmax(-1)  # (span, M, 7)
    log_prob = log_pi.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)  # (span, M)
    log_ratio = log_prob - batch.log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    policy_loss = -torch.min(ratio * batch.advantages, clipped * batch.advantages).mean()
    value_loss = 0.5 * (out.value - batch.returns).square().mean()
    entropy = -(log_pi.exp() * log_pi).sum(-1).mean()
    loss = policy_loss + config.value * value_loss - config.entropy * entropy
    with torch.no_grad():
        watched = {
            "loss": loss.detach(),
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "kl": ((ratio - 1) - log_ratio).mean(),  # Schulman's low-variance estimate of KL(old, new)
            "clip_fraction": (clipped != ratio).float().mean(),
            "ratio_error": (ratio - 1).abs().max(),
        }
    return loss, watched


class Spans(NamedTuple):
    """A rollout cut into spans, side by side: time runs along `span`, M = (T / span)·B sequences."""

    observation: Observation
    """Leads with [span,M]."""
    resets: Bool[Tensor, "span M"]
    actions: Tensor
    log_probs: Float[Tensor, "span M"]
    advantages: Float[Tensor, "span M"]
    returns: Float[Tensor, "span M"]
    state: ControllerState
    """State before each span, [M, …]."""

    def pick(self, rows: Int[Tensor, "m"]) -> Spans:
        """The sequences with these numbers."""
        picked = (x.index_select(1, rows) for x in self[1:-1])
        observation = Observation(*(x.index_select(1, rows) for x in self.observation))
        return Spans(observation, *picked, ControllerState(*(x.index_select(0, rows) for x in self.state)))


def standardised(x: Tensor) -> Tensor:
    """x with mean 0 and standard deviation 1."""
    return (x - x.mean()) / (x.std() + 1e-8)


def cut_into_spans(
    rollout: Rollout, span: int, config: PPOConfig, tasks: int = 1, scaled: Callable[[Tensor], Tensor] = standardised
) -> Spans:
    """Advantages and returns of a rollout, then its T steps cut into T / span spans.

    Args:
        tasks: blocks of worlds that learn apart, of B / tasks worlds each. The sequences of one block come out side by
            side, one block after the other.
        scaled: makes the advantages [T, B / tasks] of a block alike in size, whatever its rewards are.
    """
    r = rollout
    raw = gae(r.rewards, r.values, r.dones, r.last_value, config.gamma, config.lam)
    advantages = torch.cat([scaled(of_task.contiguous()) for of_task in raw.chunk(tasks, 1)], 1)

    def cut(x: Tensor) -> Tensor:
        x = x.unflatten(0, (-1, span)).unflatten(2, (tasks, -1))  # (T, B, …) -> (S, span, tasks, b, …)
        return x.movedim(0, 2).flatten(1, 3)  # (span, tasks, S, b, …) -> (span, tasks·S·b, …)

    def side_by_side(*before: Tensor) -> Tensor:  # S × (B, …) -> (tasks, S, b, …) -> (tasks·S·b, …)
        return torch.stack(before).unflatten(1, (tasks, -1)).transpose(0, 1).flatten(0, 2)

    steps = map(cut, (r.resets, r.actions, r.log_probs, advantages, raw + r.values))
    return Spans(Observation(*map(cut, r.observation)), *steps, ControllerState(*map(side_by_side, *r.states)))


def minibatch_rows(M: int, config: PPOConfig, generator: torch.Generator) -> Iterator[Int[Tensor, "m"]]:
    """The numbers of the sequences in each minibatch: random parts of M, `config.minibatches` per epoch."""
    for _ in range(config.epochs):
        yield from torch.randperm(M, generator=generator, device=generator.device).tensor_split(config.minibatches)
