"""Experience: play T steps in B worlds and keep what learning needs, all on one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..envs import GridWorlds, Observation, Step
from ..flat import named, part_of
from ..models import AgentOutput, ControllerState, act
from .counting import Counter


class Rollout(NamedTuple):
    """T steps of B worlds. `dones[t]` is true where the episode ended with step t; `resets[t]` where the memory is
    cleared before step t: resets[t+1] = dones[t], or, with visits, where the ended episode was the last of its visit.
    Advantages end with the episode, whatever is remembered: they read `dones`.
    """

    observation: Observation
    """Leads with [T,B]."""
    resets: Bool[Tensor, "T B"]
    actions: Int[Tensor, "T B"]
    log_probs: Float[Tensor, "T B"]
    values: Float[Tensor, "T B"]
    rewards: Float[Tensor, "T B"]
    dones: Bool[Tensor, "T B"]
    last_value: Float[Tensor, "B"]
    states: tuple[ControllerState, ...]
    """The controller's state before step 0, span, 2·span, … (batch first)."""
    episodes: dict[str, Tensor]
    """Sums over the episodes that count now (see counting.py): count, success, reward, length; count/KIND and
    success/KIND of missions."""


def throw_dice(logits: Float[Tensor, "B K"], generator: torch.Generator) -> Float[Tensor, "B K"]:
    """Exponential noise e. The argmax of p / e is a draw from p: how torch.multinomial draws, bit for bit."""
    return torch.empty_like(logits).exponential_(generator=generator)


Throw = Callable[[Tensor, torch.Generator], Tensor]


def sample_actions(
    logits: Float[Tensor, "B K"], generator: torch.Generator, throw: Throw = throw_dice
) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
    """Draw an action from softmax(logits) for each world; returns the actions and their log-probabilities."""
    log_probs = logits.log_softmax(-1)
    actions = (log_probs.exp() / throw(logits, generator)).argmax(-1, keepdim=True)  # (B, 1)
    return actions.squeeze(1), log_probs.gather(1, actions).squeeze(1)


class Player:
    """Worlds, an agent's memory of them, and the dice: everything that goes on between two rollouts.

    Memory is cleared where the worlds say that a visit begins: at each episode, unless they make longer visits.

    Example:
        >>> player = Player(worlds, agent, generator)
        >>> rollout = player.collect(agent, T=40, span=20)

    Args:
        levels: those to begin with, indices into the bank; None: the worlds draw them.
    """

    def __init__(
        self, worlds: GridWorlds, agent: Any, generator: torch.Generator, throw: Throw = throw_dice,
        levels: Int[Tensor, "B"] | None = None,
    ) -> None:  # fmt: skip
        self.worlds, self.generator, self.throw = worlds, generator, throw
        self.words = worlds.bank.max_mission_length  # the rest of a mission is padding
        self.observation = worlds.reset() if levels is None else worlds.reset(levels)
        self.state: ControllerState = agent.initial_state(worlds.num_envs)
        self.resets = torch.ones(worlds.num_envs, dtype=torch.bool, device=worlds.device)
        self.counter = Counter(worlds.num_envs, worlds.bank.step_limit, worlds.device)

    def _see(self) -> Observation:
        return self.observation._replace(mission=self.observation.mission[:, : self.words])

    def play(self, agent: Any, greedy: bool = False) -> tuple[AgentOutput, Tensor, Tensor, Step, Tensor]:
        """One step of every world: what the agent said, its actions, their log-probabilities, what came of it, and
        whether the episode is over.

        Args:
            greedy: take the likeliest actions instead of drawing them; then they have no log-probabilities, but 0.
        """
        out, self.state = act(agent, self._see(), self.state, self.resets)
        if greedy:
            actions, log_probs = out.logits.argmax(-1), torch.zeros_like(out.value)
        else:
            actions, log_probs = sample_actions(out.logits, self.generator, self.throw)
        step = self.worlds.step(actions)
        done = step.terminated | step.truncated
        self.observation, self.resets = step.observation, done & self.worlds.visit_begins
        return out, actions, log_probs, step, done

    @torch.no_grad()
    def collect(self, agent: Any, T: int, span: int) -> Rollout:
        """Play T steps with `agent`; keep its state at the start of every span.

        Args:
            T: steps to play in each world.
            span: gradients will run through this many steps; must divide T (checked by the trainer's config).
        """
        kept: list[tuple[Tensor, ...]] = []
        states: list[ControllerState] = []
        for t in range(T):
            if t % span == 0:
                states.append(self.state)
            seen, resets, kind = self._see(), self.resets, self.worlds.mission_kind
            out, actions, log_probs, step, done = self.play(agent)
            kept.append((*seen, resets, actions, log_probs, out.value, step.reward, done, kind, step.success))

        out, _ = act(agent, self._see(), self.state, self.resets)
        stacked = (torch.stack(column) for column in zip(*kept, strict=True))  # T × (B, …) -> (T, B, …)
        *seen, resets, actions, log_probs, values, rewards, dones, kinds, success = stacked
        episodes = self.counter.add(dones, success, rewards, kinds)
        steps = Observation(*seen), resets, actions, log_probs, values, rewards, dones
        return Rollout(*steps, last_value=out.value, states=tuple(states), episodes=episodes)

    def moving(self) -> dict[str, Tensor]:
        """The tensors that it puts others in the place of while it plays. (Worlds and dice change where they are.)"""
        rest = {"resets": self.resets, "length": self.counter.length, "waiting": self.counter.waiting}
        return named("observation.", self.observation) | named("memory.", self.state) | rest

    def put(self, moving: dict[str, Tensor]) -> None:
        """Go on from these."""
        self.observation = Observation(**part_of(moving, "observation."))
        self.state = ControllerState(**part_of(moving, "memory."))
        self.resets, self.counter.length, self.counter.waiting = (moving[k] for k in ("resets", "length", "waiting"))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly here, as plain tensors."""
        worlds = {f"worlds.{k}": v for k, v in self.worlds.state_dict().items()}
        return worlds | self.moving() | {"dice": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        here = {k: v.to(self.worlds.device) for k, v in saved.items() if k != "dice"}
        self.worlds.load_state_dict(part_of(here, "worlds."))
        self.put(here)
        self.generator.set_state(saved["dice"].cpu())
