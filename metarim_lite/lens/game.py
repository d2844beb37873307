"""A mission played by a person: the state behind the Stepper, without any widget."""

from __future__ import annotations

import numpy as np
import torch

from ..envs import ACTIONS, GridWorlds, LevelBank
from ..errors import unknown


class Game:
    """One world, one player.

    Example:
        >>> game = Game("BabyAI-GoToLocal-v0", seed=3)
        >>> game.act("forward")
        >>> game.steps, game.over, game.message
        (1, False, 'Step 1 of 64.')

    Attributes:
        steps: actions taken.  reward: earned so far.  over: the episode has ended.  success: the mission is done.
        view: uint8 [7, 7, 3], what the agent sees, as in minigrid.
        message: one sentence on how things stand.
    """

    def __init__(self, level_id: str, seed: int = 0) -> None:
        self.level_id = level_id
        self.deal(seed)

    def deal(self, seed: int) -> None:
        """Play the level that minigrid makes from `seed`. Raises UserError as `LevelBank.generate` does."""
        self.bank = LevelBank.generate(self.level_id, seeds=[seed])
        self.seed = int(self.bank.seeds[0])
        self.restart()

    def restart(self) -> None:
        """The same level from its beginning."""
        self.worlds = GridWorlds(self.bank, 1, autoreset=False)
        seen = self.worlds.reset(levels=torch.zeros(1, dtype=torch.int64))
        self.view: np.ndarray = seen.image[0].numpy()
        self.steps, self.reward, self.over, self.success = 0, 0.0, False, False
        self.max_steps = int(self.bank.tables["max_steps"][0])
        self.message = f"Your mission: {self.mission}. You have {self.max_steps} steps."

    @property
    def mission(self) -> str:
        return self.worlds.mission_text(0)

    def frame(self) -> np.ndarray:
        """uint8 [h, w, 3], the world as it stands, about 350 pixels wide."""
        return np.asarray(self.worlds.frame(0, tile_size=max(12, min(32, 352 // self.bank.width))))

    def act(self, action: str) -> None:
        """Take one action by its name. After the end nothing moves; the message says what to do.

        Raises UserError when there is no such action.
        """
        if action not in ACTIONS:
            raise unknown("action", action, ACTIONS)
        if self.over:
            self.message = self._ending() + " The episode is over: press “restart” or “new level”."
            return
        step = self.worlds.step(torch.tensor([ACTIONS.index(action)]))
        self.view = step.observation.image[0].numpy()
        self.steps += 1
        self.reward += float(step.reward)
        self.success = bool(step.success)
        self.over = bool(step.terminated | step.truncated)
        self.message = self._ending() if self.over else f"Step {self.steps} of {self.max_steps}."

    def _ending(self) -> str:
        if self.success:
            return (
                f"✓ Mission accomplished in {self.steps} steps: "
                f"reward {self.reward:.3f} = 1 − 0.9 · {self.steps} / {self.max_steps}."
            )
        if self.steps >= self.max_steps:
            return f"✗ Out of time after {self.steps} steps: reward 0."
        return f"✗ Mission failed after {self.steps} steps: reward 0."
