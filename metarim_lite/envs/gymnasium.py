"""The worlds as a gymnasium `VectorEnv`, for trainers that speak gymnasium and numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ..config import whole_numbers
from ..errors import unknown
from .cells import ACTIONS
from .engine import GridWorlds
from .levels import LevelBank
from .missions import MISSION_LENGTH, VOCABULARY
from .simulation import Observation
from .vision import VIEW

Seen, Info = dict[str, np.ndarray], dict[str, Any]


class VectorWorlds(VectorEnv):
    """B worlds behind gymnasium's interface; observations are a dict of numpy arrays.

    >>> envs = VectorWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", range(100)), num_envs=4)
    >>> observation, info = envs.reset(seed=0)
    >>> observation["image"].shape, observation["mission"].shape
    ((4, 7, 7, 3), (4, 72))

    Autoreset as gymnasium defines it:

    - "SameStep": the step that ends an episode returns the next episode's first observation, and the last one of
      the old episode in `info["final_obs"]`, its success in `info["final_info"]["success"]` (with the masks
      `info["_final_obs"]` and `info["_final_info"]`).
    - "NextStep": the step that ends an episode returns its last observation; the next step ignores the action of
      that world, returns the first observation of its next episode, reward 0.
    - "Disabled": finished worlds are reset by `reset(options={"reset_mask": mask})` before the next step.

    `info["success"]` tells where a mission was completed.

    Raises:
        UserError: what GridWorlds raises; a mode that is none of the three.
    """

    metadata: Info = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self, bank: LevelBank, num_envs: int, device: str | torch.device = "cpu", seed: int = 0,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
    ):  # fmt: skip
        try:
            self.mode = AutoresetMode(autoreset_mode)
        except ValueError:
            raise unknown("autoreset mode", autoreset_mode, (mode.value for mode in AutoresetMode)) from None
        self.bank, self.num_envs, self.device = bank, num_envs, device
        self.worlds = GridWorlds(bank, num_envs, device, seed, autoreset=False)
        self.metadata = {**self.metadata, "autoreset_mode": self.mode}
        self.render_mode = "rgb_array"
        self.single_observation_space = spaces.Dict(
            direction=spaces.Discrete(4),
            image=spaces.Box(0, 255, (VIEW, VIEW, 3), np.uint8),
            mission=spaces.Box(0, len(VOCABULARY) - 1, (MISSION_LENGTH,), np.int64),
        )
        self.single_action_space = spaces.Discrete(len(ACTIONS))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | Sequence[int] | None = None, options: Info | None = None) -> tuple[Seen, Info]:
        """Begin new episodes.

        Args:
            seed: of the draws of levels from now on; of a list, the first.
            options: {"levels": int array [B]} chooses the levels; {"reset_mask": bool array [B]} begins new episodes
                in these worlds only.
        """
        options = options or {}
        if seed is not None:
            seed = next(iter(seed), None) if isinstance(seed, (list, tuple)) or getattr(seed, "ndim", 0) else seed
            self.worlds = GridWorlds(self.bank, self.num_envs, self.device, seed, autoreset=False)
        if options.get("reset_mask") is not None:
            self.worlds.renew(torch.as_tensor(options["reset_mask"], device=self.worlds.device))
            return _numpy(self.worlds.observe()), {}
        return _numpy(self.worlds.reset(options.get("levels"))), {}

    def step(self, actions: np.ndarray) -> tuple[Seen, np.ndarray, np.ndarray, np.ndarray, Info]:
        """One action in every world; see the class for what happens where an episode ends.

        Raises:
            UserError: what `GridWorlds.step` raises; actions that are no whole numbers.
        """
        worlds, actions = self.worlds, whole_numbers("actions", actions).to(self.worlds.device)
        next_step = self.mode == AutoresetMode.NEXT_STEP
        waited = worlds.finished & next_step
        step = worlds.step_unfinished(actions) if next_step else worlds.step(actions)
        terminated, truncated = step.terminated & ~waited, step.truncated & ~waited
        observation, success = _numpy(step.observation), step.success.cpu().numpy()
        info = {"success": success, "_success": np.ones_like(success)}
        renewed = waited
        if self.mode == AutoresetMode.SAME_STEP:
            renewed = terminated | truncated
            info |= self._final(renewed.cpu().numpy(), observation, success)
        if bool(renewed.any()):
            worlds.renew(renewed)
            observation = _numpy(worlds.observe())
        reward = step.reward.cpu().numpy().astype(np.float64)
        return observation, reward, terminated.cpu().numpy(), truncated.cpu().numpy(), info

    def _final(self, ended: np.ndarray, observation: Seen, success: np.ndarray) -> Info:
        """What gymnasium says of episodes that ended, each with the mask of the worlds that it speaks of."""
        if not ended.any():
            return {}
        last = np.full(self.num_envs, None, dtype=object)
        for b in ended.nonzero()[0]:
            last[b] = {name: value[b] for name, value in observation.items()}
        told = {"success": success, "_success": ended}  # a success is always an end
        return {"final_obs": last, "_final_obs": ended, "final_info": told, "_final_info": ended}

    def render(self) -> tuple[np.ndarray, ...]:
        """A picture of every world."""
        return tuple(self.worlds.frame(b).numpy() for b in range(self.num_envs))


def _numpy(observation: Observation) -> Seen:
    return {name: value.cpu().numpy() for name, value in observation._asdict().items()}
