"""Proximal policy optimisation over spans (Schulman et al. 2017; GAE, Schulman et al. 2016).

A rollout of T steps is cut into spans; gradients run through one span, and each span starts from the
controller's state that was stored when the span was played.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..config import bounded, check
from ..models import ControllerState
from ..runs.distributed import moments
from .rollouts import Rollout, Seen


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
    rewards: Float[Tensor, "T B"],
    values: Float[Tensor, "T B"],
    dones: Bool[Tensor, "T B"],
    last_value: Float[Tensor, "B"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "T B"]:
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


class Spans(NamedTuple):
    """A rollout cut into spans, side by side: time runs along `span`, M = (T / span)·B sequences."""

    seen: Seen
    resets: Bool[Tensor, "span M"]
    actions: Tensor
    log_probs: Float[Tensor, "span M"]
    advantages: Float[Tensor, "span M"]
    returns: Float[Tensor, "span M"]
    state: ControllerState
    """State before each span, [M, …]."""

    def pick(self, rows: Tensor) -> Spans:
        """The sequences with these numbers."""
        picked = (x.index_select(1, rows) for x in self[1:-1])
        seen = Seen(*(x.index_select(1, rows) for x in self.seen))
        return Spans(seen, *picked, ControllerState(*(x.index_select(0, rows) for x in self.state)))


def cut_into_spans(rollout: Rollout, span: int, config: PPOConfig, alone: bool = False) -> Spans:
    """Advantages and returns of a rollout, then its T steps cut into T / span spans.

    Advantages are scaled to mean 0 and standard deviation 1 over the whole rollout: that of all processes, or of this
    one `alone`.
    """
    r = rollout
    advantages = gae(r.rewards, r.values, r.dones, r.last_value, config.gamma, config.lam)
    returns = advantages + r.values
    mean, deviation = (advantages.mean(), advantages.std()) if alone else moments(advantages)
    advantages = (advantages - mean) / (deviation + 1e-8)

    def cut(x: Tensor) -> Tensor:  # (T, B, …) -> (S, span, B, …) -> (span, S·B, …)
        return x.unflatten(0, (-1, span)).transpose(0, 1).flatten(1, 2)

    state = ControllerState(*(torch.cat(parts) for parts in zip(*r.states, strict=True)))  # S × (B, …) -> (S·B, …)
    seen = Seen(*map(cut, r.seen))
    return Spans(seen, *map(cut, (r.resets, r.actions, r.log_probs, advantages, returns)), state)


def minibatch_rows(M: int, config: PPOConfig, generator: torch.Generator) -> Iterator[Int[Tensor, "m"]]:
    """The numbers of the sequences in each minibatch: random parts of M, `config.minibatches` per epoch."""
    for _ in range(config.epochs):
        yield from torch.randperm(M, generator=generator, device=generator.device).tensor_split(config.minibatches)


def ppo_loss(agent: Any, batch: Spans, config: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped PPO loss of `agent` on a batch of spans, and numbers to watch.

    loss = −E[min(ρ A, clip(ρ, 1 ± ε) A)] + c_v E[(V − R)²] / 2 − c_e H,   ρ = π(a) / π_old(a).
    """
    out, _ = agent(batch.seen, batch.state, batch.resets)
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
