"""Elastic weight consolidation: weights that mattered for old tasks are held back by springs.

After task j, every weight θ_d gets a spring of stiffness F_d, the diagonal of the policy's Fisher information, at
rest where the weight is then (Kirkpatrick et al. 2017). One spring a weight for all tasks, in the online form of
Schwarz et al. 2018 (Progress and Compress):

    penalty = λ/2 Σ_d F_d (θ_d − θ*_d)²,     after each task:  F ← γ F + F_task,  θ* ← θ

To second order, and as far as weights act one by one, half the sum over d is the KL divergence per step of the policy
from the old one on the old task, so λ is the price of moving it, in units of the loss. Weights act together, so λ is
to be far above 1. The critic has no springs: it has no part in the policy, so its Fisher information is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..training.ppo import Spans


def fisher_diagonal(agent: Any, spans: Spans) -> dict[str, Tensor]:
    """Diagonal of the Fisher information of the policy, per step, by parameter name.

    F_d = E_spans[(∂/∂θ_d Σ_t log π(a_t | what was seen up to t))²] / T.

    A sample is a span of T steps with actions drawn from the policy itself. Then E[∂ log π(a_t)] = 0 at each step,
    given the past, so products of different steps vanish in the mean and this is the mean over steps of
    E[(∂ log π(a_t))²]. As in training, gradients run through one span and no further.

    Args:
        agent: the agent that played the spans, unchanged since.
        spans: M sequences. The squares must be taken one by one, so the cost is M backward passes.
    """
    T, M = spans.actions.shape
    names, parameters = zip(*agent.named_parameters(), strict=True)
    fisher = {name: torch.zeros_like(p) for name, p in agent.named_parameters()}
    for m in range(M):
        one = spans.pick(torch.tensor([m], device=spans.actions.device))
        out, _ = agent(one.observation, one.state, one.resets)
        log_pi = out.logits.log_softmax(-1).gather(-1, one.actions.unsqueeze(-1))  # (T, 1, 7) -> (T, 1, 1)
        gradients = torch.autograd.grad(log_pi.sum(), parameters, allow_unused=True)
        for name, g in zip(names, gradients, strict=True):
            if g is not None:
                fisher[name] += g.square() / (M * T)
    return fisher


def quadratic_penalty(theta: Tensor, anchor: Tensor, fisher: Tensor, strength: float) -> Tensor:
    """λ/2 Σ_d F_d (θ_d − θ*_d)², differentiable: θ, θ* and F of the same shape, whichever."""
    return strength / 2 * (fisher * (theta - anchor).square()).sum()


class ElasticWeights:
    """The springs of an agent. Once made, every step of these optimizers is followed by a pull of the springs.

    The penalty is not added to the loss. Adam divides every gradient by its own size, so a stiff spring would make a
    weight jump to and fro by the learning rate, however stiff; and clipping the sum of both gradients would silence
    the task. Instead (ours) the optimizer steps on the task's loss alone, from θ to θ', and the penalty is then
    minimised implicitly, measured in the optimizer's own step sizes p_d = lr / (√v̂_d + ε) (a proximal step):

        θ_d ← argmin_x  λ/2 F_d (x − θ*_d)² + (x − θ'_d)² / (2 p_d)  =  (θ'_d + p_d λ F_d θ*_d) / (1 + p_d λ F_d)

    No stiffness makes this unstable, and where it comes to rest loss + penalty is at its minimum (of the loss's clipped
    gradient, where that is clipped). Each clock pulls the weights that it moves, and no others.

    Args:
        agent: whose weights.
        optimizers: Adam, each over some of them; a weight moves, and is pulled, with its own optimizer only.
        strength: λ.
        decay: γ, how much of the older tasks' stiffness stays; 1 keeps all.
    """

    def __init__(self, agent: Any, optimizers: Iterable[torch.optim.Adam], strength: float, decay: float = 1.0) -> None:
        self.agent, self.strength, self.decay = agent, strength, decay
        self.fisher = {name: torch.zeros_like(p) for name, p in agent.named_parameters()}
        self.anchor = {name: p.detach().clone() for name, p in agent.named_parameters()}
        self.names = {p: name for name, p in agent.named_parameters()}
        for optimizer in optimizers:
            optimizer.register_step_post_hook(lambda optimizer, *_: self._pull(optimizer))

    @torch.no_grad()
    def _pull(self, optimizer: torch.optim.Adam) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                name, memory = self.names[p], optimizer.state[p]
                v = memory["exp_avg_sq"] / (1 - group["betas"][1] ** memory["step"])
                stiffness = group["lr"] / (v.sqrt() + group["eps"]) * self.strength * self.fisher[name]  # p λ F
                p.copy_((p + stiffness * self.anchor[name]) / (1 + stiffness))

    def penalty(self) -> Tensor:
        """λ/2 Σ_d F_d (θ_d − θ*_d)², differentiable."""
        weights = self.agent.named_parameters()
        return sum(quadratic_penalty(p, self.anchor[n], self.fisher[n], self.strength) for n, p in weights)

    @torch.no_grad()
    def hold(self, fisher: dict[str, Tensor]) -> None:
        """After a task: stiffen the springs by its Fisher information and let them rest at the weights as they are."""
        for name, p in self.agent.named_parameters():
            self.fisher[name] = self.decay * self.fisher[name] + fisher[name]
            self.anchor[name] = p.detach().clone()

    def state_dict(self) -> dict[str, Tensor]:
        saved = {f"fisher.{name}": F for name, F in self.fisher.items()}
        return saved | {f"anchor.{name}": a for name, a in self.anchor.items()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        for name, p in self.agent.named_parameters():
            self.fisher[name] = saved[f"fisher.{name}"].to(p.device)
            self.anchor[name] = saved[f"anchor.{name}"].to(p.device)
