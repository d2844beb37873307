"""Fast and slow, task by task: the form of the Meta-RIM paper's algorithm (Madan et al., arXiv 2105.08710).

At each tick, for every task i of the batch (all at once):

    1. play the *support*: `steps` steps with the shared θ_M and θ_A
    2. adapt a copy:       K times  θ_M^i ← θ_M^i − α ∇ L_i(θ_M^i, θ_A)        on spans of fast_span
    3. play the *query*:   slow_span steps with the adapted θ_M^i and θ_A

and then, once for all tasks together,

    4. learn:              θ_A ← θ_A − β ∇ Σ_i L_i(θ_M^i, θ_A)                 on the span slow_span

The paper's algorithm box prints α in line 4; it should be β, the rate of the slow loop. How many inner steps, α,
β and whether the gradient of line 4 runs through line 2 are not known. Here `meta_gradient` decides: "first-order"
takes the movement θ_M^i − θ_M as a constant; "through-adaptation" differentiates it too, except that the start
also chose the actions of the support. With `learn_start` line 4 moves θ_M as well, and it becomes MAML's (ours).

A copy differs from the shared θ_M in the fast groups only. All copies are one stack of parameters [tasks, …], and
one `vmap` reads all worlds: row b of a batch of B worlds belongs to task b // (B / tasks).
What a run saves and `evaluate` plays is the shared agent, adapted to no task.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..envs import GridWorlds, LevelBank, Observation
from ..errors import UserError
from ..models import AgentOutput, ControllerState
from ..processes import share_of
from .ppo import PPOConfig, Spans, cut_into_spans, minibatch_rows, ppo_loss
from .rollouts import Player
from .timescales import Clock, Named, TimeScales, find_groups, history, means


class TaskAgents(NamedTuple):
    """As many agents as tasks, called like one: each reads its own B / tasks worlds."""

    agent: nn.Module
    copies: Named
    """The stacked parameters [tasks, …]; all others are the agent's."""
    tasks: int

    def __call__(
        self, observation: Observation, state: ControllerState, resets: Tensor
    ) -> tuple[AgentOutput, ControllerState]:
        """As `Agent.forward`: observation and resets lead with [T,B], state with [B]."""

        def one(copy: Named, *inputs: Any) -> tuple[Tensor, ...]:
            out, state = functional_call(self.agent, copy, inputs)
            return out.logits, out.value, *state

        observation = Observation(*(x.unflatten(1, (self.tasks, -1)) for x in observation))  # (T, tasks, b, …)
        state = ControllerState(*(x.unflatten(0, (self.tasks, -1)) for x in state))  # (B, …) -> (tasks, b, …)
        resets = resets.unflatten(1, (self.tasks, -1))
        # out_dims put the tasks back beside the worlds: (T, tasks, b, …) and (tasks, b, …)
        run = vmap(one, in_dims=(0, 1, 0, 1), out_dims=(1, 1, 0, 0))
        logits, value, h, c = run(self.copies, observation, state, resets)
        state = ControllerState(h.flatten(0, 1), c.flatten(0, 1))
        return AgentOutput(logits.flatten(1, 2), value.flatten(1, 2), None), state


def adapt(
    agent: nn.Module, start: Named, support: Spans, tasks: int, steps: int, lr: float, ppo: PPOConfig, through: bool
) -> Named:
    """Line 2: the adapted copies [tasks, …] of the parameters `start`, by `steps` steps of gradient descent.

    Each task's gradient is scaled down to the norm `ppo.max_grad_norm`, so α bounds how far a step goes.

    Args:
        support: spans of all tasks, those of one task side by side, as many of each.
        through: keep the graph, so that the result can be differentiated by `start` and the other parameters.
    """
    copies = {name: p.expand(tasks, *p.shape) for name, p in start.items()}
    for _ in range(steps):
        if not through:
            copies = {name: p.detach().requires_grad_() for name, p in copies.items()}
        # The mean over all worlds, times tasks, is the sum of the tasks' means; a copy is in its own mean only.
        loss = tasks * ppo_loss(TaskAgents(agent, copies, tasks), support, ppo)[0]
        grads = torch.autograd.grad(loss, list(copies.values()), create_graph=through)
        squares = sum(g.flatten(1).square().sum(1) for g in grads)  # (tasks,)
        scale = (ppo.max_grad_norm / (squares + 1e-12).sqrt()).clamp(max=1)
        moved = [p - lr * torch.einsum("t,t...->t...", scale, g) for p, g in zip(copies.values(), grads, strict=True)]
        copies = dict(zip(copies, moved, strict=True))
    return copies


class Adaptation:
    """Lines 1 to 4, tick by tick. Between two ticks nothing is kept but the agent and its slow clock.

    Raises:
        UserError: more minibatches than worlds of a task, one advantage per task, or clocks without parameters.

    Args:
        worlds, tasks: as `task_worlds` gives them.
        steps: of each world in the support, as `TrainConfig.steps`.
    """

    def __init__(
        self, agent: Any, clock: Clock, scales: TimeScales, ppo: PPOConfig, worlds: GridWorlds, tasks: int, steps: int
    ) -> None:
        self.steps = steps = scales.steps_of_tick("fast", steps)
        self.agent, self.clock, self.scales, self.ppo, self.tasks = agent, clock, scales, ppo, tasks
        by_group = find_groups(agent, scales)
        fast = {id(p) for group in scales.fast for p in by_group[group]}
        self.start = {name: p for name, p in agent.named_parameters() if id(p) in fast}
        if not self.start:
            raise UserError("per-task adaptation needs parameters on both clocks, the fast one has none; give it some")
        share = worlds.num_envs // self.tasks
        if share < ppo.minibatches:
            raise UserError(f"{share} worlds of a task cannot fill {ppo.minibatches} minibatches; use more worlds")
        if share * min(steps, clock.span) < 2:
            raise UserError("one world of a task and one step make one advantage, which has no spread; use more worlds")

    def adapt(self, support: Spans) -> Named:
        """The adapted copies from the shared start, with a graph if the slow gradient is to run through them."""
        s = self.scales
        through = s.meta_gradient == "through-adaptation"
        return adapt(self.agent, self.start, support, self.tasks, s.inner_steps, s.fast_lr, self.ppo, through)

    def tick(self, player: Player, dice: torch.Generator) -> tuple[Named, Named]:
        """Lines 1 to 4: (means of watched numbers, sums over episodes)."""
        fast_span, slow_span = self.scales.fast_span, self.clock.span
        played = player.collect(self.agent, self.steps, fast_span)
        support = cut_into_spans(played, fast_span, self.ppo, self.tasks)
        movement = {name: (p - self.start[name]).detach() for name, p in self.adapt(support).items()}
        agents = TaskAgents(self.agent, {name: p + movement[name] for name, p in self.start.items()}, self.tasks)
        after = player.collect(agents, slow_span, slow_span)
        query = cut_into_spans(after, slow_span, self.ppo, self.tasks)

        watched = self.learn(support, movement, query, dice) | {
            "history": history(query.resets),
            "movement": sum(m.flatten(1).square().sum(1) for m in movement.values()).sqrt().mean(),
            "reward_before": played.rewards.mean(),
            "reward_after": after.rewards.mean(),
        }
        episodes = {k: v + played.episodes[k] for k, v in after.episodes.items()}
        return watched, episodes

    def learn(self, support: Spans, movement: Named, query: Spans, dice: torch.Generator) -> Named:
        """Line 4, in minibatches: each holds the same share of every task."""
        watched = []
        per_task = query.resets.shape[1] // self.tasks
        first = per_task * torch.arange(self.tasks, device=dice.device).unsqueeze(1)  # (tasks, 1)
        for number, rows in enumerate(minibatch_rows(per_task, self.ppo, dice)):
            loss, numbers = self.slow_loss(support, movement, query.pick((first + rows).flatten()))
            watched.append(numbers | self.clock.descend(loss, self.ppo.max_grad_norm, number))
        return means(watched)

    def slow_loss(self, support: Spans, movement: Named, query: Spans) -> tuple[Tensor, dict[str, Tensor]]:
        """Σ_i L_i(θ_M^i, θ_A) on the query, and numbers to watch.

        First-order, θ_M^i is θ_M plus a constant. Through adaptation, it is adapted again from the parameters as
        they are now, since the gradient needs the graph.
        """
        if self.scales.meta_gradient == "through-adaptation":
            copies = self.adapt(support)
        else:
            copies = {name: p + movement[name] for name, p in self.start.items()}  # (…) + (tasks, …)
        loss, watched = ppo_loss(TaskAgents(self.agent, copies, self.tasks), query, self.ppo)
        return self.tasks * loss, watched


def cut_into_tasks(bank: LevelBank, tasks: int) -> list[LevelBank]:
    """A bank for each task: one per level id if there are several, else `tasks` blocks of equal size.

    The blocks are ours: levels are put in order of their missions ("go to a blue box", "go to a blue key", …) and
    cut, so that a task asks for like things. Where all missions are the same, a task is just a group of rooms.

    Raises:
        UserError: there are fewer levels than tasks, or a level id without levels.
    """
    if len(bank.level_ids) == 1:
        kind = torch.unique(bank.tables["mission"], dim=0, return_inverse=True)[1]  # in dictionary order of tokens
        rows = kind.argsort(stable=True).tensor_split(tasks)
    else:
        rows = [(bank.task == i).nonzero()[:, 0] for i in range(len(bank.level_ids))]
    if min(map(len, rows)) == 0:
        raise UserError(f"{bank!r} leaves one of {len(rows)} tasks without levels; use more levels or fewer tasks")
    return [bank.select(r) for r in rows]


def task_worlds(
    bank: LevelBank, tasks: int, num_envs: int, device: Any, seed: int, visits: int = 1
) -> tuple[GridWorlds, int]:
    """As many worlds for each task, side by side, so that a world stays in its task, and how many tasks these are. Of
    several processes each holds its share of the tasks. There `visits` says only when memory is cleared: a world has
    but one task to visit.

    Raises:
        UserError: worlds or tasks cannot be shared out equally (or see `cut_into_tasks`).
    """
    banks = cut_into_tasks(bank, tasks)
    if num_envs % len(banks):
        raise UserError(f"{num_envs} worlds cannot be shared by {len(banks)} tasks equally; use a multiple")
    mine = share_of(len(banks), "tasks")
    counts = [num_envs // len(banks) * (i in mine) for i in range(len(banks))]
    seeds = [seed * len(banks) + i for i in range(len(banks))]
    return GridWorlds.side_by_side(banks, counts, seeds, device, visits), len(mine)
