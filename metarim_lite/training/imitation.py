"""Imitation: learn from what minigrid's bot did instead of from reward. A quick start for harder levels.

A demonstration, read by the agent, is a rollout whose actions somebody else chose. So all of training stays as it
is, spans and clocks too; in place of a `Player` there is a `Reader`, in place of PPO's loss a cross-entropy:

    L = −E[log π(a_bot)] + c_v E[(V − R)²] / 2 − c_e H

The critic learns the bot's returns, so that reinforcement learning can begin where imitation ended (ours).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..bots import Demonstrations
from ..envs import Observation
from ..envs.lottery import draw, make_salt
from ..errors import UserError
from ..flat import named, part_of
from ..models import ControllerState, act
from .ppo import PPOConfig, Spans
from .rollouts import Rollout


class Reader:
    """B readers of demonstrations, side by side: each reads one episode after the other, from rollout to rollout.

    Which episode a reader takes next is a hash of (seed, reader, episodes begun), as in `GridWorlds`; `first` is the
    number of the first reader.

    Example:
        >>> reader = Reader(demonstrate(bank), agent, B=64)
        >>> rollout = reader.collect(agent, T=40, span=20)   # rollout.actions are the bot's
    """

    def __init__(self, shown: Demonstrations, agent: Any, B: int, seed: int = 0, first: int = 0) -> None:
        device = next(agent.parameters()).device
        self.shown = shown.to(device)
        self.begins = self.shown.begins
        self.salt = make_salt(seed, B, device, first)
        self.begun = torch.zeros(B, dtype=torch.int64, device=device)
        self.episode = draw(self.salt, self.begun, len(shown.lengths))
        self.offset = torch.zeros_like(self.begun)  # steps of this episode that are read
        self.state: ControllerState = agent.initial_state(B)

    @torch.no_grad()
    def collect(self, agent: Any, T: int, span: int) -> Rollout:
        """Read T steps of B demonstrations with `agent`; keep its state at the start of every span.

        Returns:
            a Rollout with the bot's actions and rewards, and the agent's values and log-probabilities of these
            actions. Its `episodes` is empty: how the bot fared says nothing about the agent.
        """
        shown, kept = self.shown, []
        for _ in range(T):
            begin, length = self.begins[self.episode], shown.lengths[self.episode]
            done = self.offset == length - 1
            kept.append((begin + self.offset, self.offset == 0, done, self.episode))
            self.begun = self.begun + done
            self.offset = torch.where(done, 0, self.offset + 1)
            self.episode = torch.where(done, draw(self.salt, self.begun, len(shown.lengths)), self.episode)
        step, resets, dones, episode = (torch.stack(column) for column in zip(*kept, strict=True))  # (T, B)
        observation = shown.seen(step, episode)

        outputs, states = [], []
        for t in range(0, T, span):
            states.append(self.state)
            part = Observation(*(x[t : t + span] for x in observation))
            out, self.state = agent(part, self.state, resets[t : t + span])
            outputs.append(out)
        logits, values = (torch.cat([getattr(out, name) for out in outputs]) for name in ("logits", "value"))
        actions = shown.actions[step].long()
        ahead = shown.seen(self.begins[self.episode] + self.offset, self.episode)
        log_probs = logits.log_softmax(-1).gather(-1, actions[..., None])[..., 0]  # (T, B, 7) -> (T, B)
        rewards = shown.reward[episode] * dones
        last_value = act(agent, ahead, self.state, self.offset == 0)[0].value
        return Rollout(observation, resets, actions, log_probs, values, rewards, dones, last_value, tuple(states), {})

    def moving(self) -> dict[str, Tensor]:
        place = {"begun": self.begun, "episode": self.episode, "offset": self.offset}
        return place | named("memory.", self.state)

    def put(self, moving: dict[str, Tensor]) -> None:
        self.begun, self.episode, self.offset = (moving[k] for k in ("begun", "episode", "offset"))
        self.state = ControllerState(**part_of(moving, "memory."))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly here, as plain tensors."""
        return self.moving() | {"demonstrations": torch.tensor(self.shown.checksum())}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """
        Raises:
            UserError: other demonstrations were being read.
        """
        if int(saved["demonstrations"]) != self.shown.checksum():
            others = "belongs to other demonstrations than those of the bot now"
            raise UserError(f"the field 'demonstrations' of the checkpoint {others}; start the run in a new folder")
        self.put({name: x.to(self.begun.device) for name, x in saved.items()})


def imitation_loss(agent: Any, batch: Spans, config: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss above, of `agent` on a batch of spans of demonstrations, and numbers to watch.

    Args:
        config: `value` and `entropy` are c_v and c_e.
    """
    out, _ = agent(batch.observation, batch.state, batch.resets)
    log_pi = out.logits.log_softmax(-1)  # (span, M, 7)
    cross_entropy = -log_pi.gather(-1, batch.actions.unsqueeze(-1)).mean()
    value_loss = 0.5 * (out.value - batch.returns).square().mean()
    entropy = -(log_pi.exp() * log_pi).sum(-1).mean()
    loss = cross_entropy + config.value * value_loss - config.entropy * entropy
    watched = {
        "loss": loss.detach(),
        "cross_entropy": cross_entropy.detach(),
        "value_loss": value_loss.detach(),
        "entropy": entropy.detach(),
        "accuracy": (out.logits.argmax(-1) == batch.actions).float().mean(),
    }
    return loss, watched
