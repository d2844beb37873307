"""A mission played by a person, with an agent's opinion beside: the state behind the Stepper, without any widget."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..envs import ACTIONS, GridWorlds, LevelBank
from ..errors import UserError, unknown
from ..models import act
from .recording import check_words, draw_action
from .view import AGENT_COLUMN, AGENT_ROW, PORTABLE, names_of

AHEAD = 12  # levels made at once: that takes twice as long as one


class Opinion(NamedTuple):
    """What an agent would do now, having seen all that the player has seen."""

    probabilities: np.ndarray
    """float32 [7], of ACTIONS."""
    value: float


class Moment(NamedTuple):
    """All that undo brings back."""

    worlds: GridWorlds
    seen: Any
    mind: Any
    opinion: Opinion | None
    reward: float
    over: bool
    success: bool


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
        opinion: of the agent that looks on (`ask`), None without one.
        message: one sentence on how things stand.
    """

    def __init__(self, level_id: str, seed: int = 0) -> None:
        self.agent: Any = None
        self.ahead: LevelBank | None = None
        self.deal(seed, level_id)

    def deal(self, seed: int, level_id: str | None = None) -> None:
        """Play the level that minigrid makes from `seed`. Raises UserError as `LevelBank.generate` does; nothing has
        changed then."""
        level_id = level_id or self.level_id
        bank = self._level_of(seed, level_id)
        self.bank, self.level_id, self.seed = bank, level_id, int(bank.seeds[0])
        self.restart()

    def _level_of(self, seed: int, level_id: str) -> LevelBank:
        """A bank of this one level. Whoever goes on from seed to seed gets it from a few that were made at once."""
        at_hand = self.ahead.seeds.tolist() if self.ahead is not None and level_id == self.level_id else []
        if seed not in at_hand:
            goes_on = bool(at_hand) and seed == self.seed + 1
            self.ahead = LevelBank.generate(level_id, seeds=range(seed, seed + AHEAD) if goes_on else [seed])
            at_hand = self.ahead.seeds.tolist()
        return self.ahead.select([at_hand.index(seed)])

    def restart(self) -> None:
        """The same level from its beginning."""
        worlds = GridWorlds(self.bank, 1, autoreset=False)
        seen = worlds.reset(levels=torch.zeros(1, dtype=torch.int64))
        self.max_steps = int(self.bank.tables["max_steps"][0])
        self.luck = torch.Generator().manual_seed(self.seed)
        self.history = [Moment(worlds, seen, *self._think(seen, None, True), 0.0, False, False)]
        self.message = f"Your mission: {self.mission}. You have {self.max_steps} steps."

    @property
    def now(self) -> Moment:
        return self.history[-1]

    @property
    def steps(self) -> int:
        return len(self.history) - 1

    @property
    def worlds(self) -> GridWorlds:
        return self.now.worlds

    @property
    def view(self) -> np.ndarray:
        return self.now.seen.image[0].numpy()

    @property
    def opinion(self) -> Opinion | None:
        return self.now.opinion

    @property
    def reward(self) -> float:
        return self.now.reward

    @property
    def over(self) -> bool:
        return self.now.over

    @property
    def success(self) -> bool:
        return self.now.success

    @property
    def mission(self) -> str:
        return self.worlds.mission_text(0)

    def frame(self) -> np.ndarray:
        """uint8 [h, w, 3], the world as it stands, about 350 pixels wide."""
        return np.asarray(self.worlds.frame(0, tile_size=max(12, min(32, 352 // self.bank.width))))

    def ask(self, agent: Any) -> None:
        """Let this agent look on from now on (None: nobody). It is shown all that was seen since the beginning. Raises
        UserError when it knows other words."""
        if agent is not None:
            check_words(agent, self.bank)
        self.agent, mind = agent, None
        for i, moment in enumerate(self.history):
            mind, opinion = self._think(moment.seen, mind, i == 0)
            self.history[i] = moment._replace(mind=mind, opinion=opinion)

    def act(self, action: str) -> None:
        """Take one action by its name. After the end nothing moves; the message says what to do.

        Raises UserError when there is no such action.
        """
        if action not in ACTIONS:
            raise unknown("action", action, ACTIONS)
        if self.over:
            self.message = self._ending() + " The episode is over: press “restart” or “new level”."
            return
        before = self.now
        worlds = before.worlds.fork()
        step = worlds.step(torch.tensor([ACTIONS.index(action)]))
        over = bool(step.terminated | step.truncated)
        mind = self._think(step.observation, before.mind, False)
        reward = before.reward + float(step.reward)
        self.history.append(Moment(worlds, step.observation, *mind, reward, over, bool(step.success)))
        self.message = self._ending() if over else f"Step {self.steps} of {self.max_steps}."
        if not over and same_world(before.worlds, worlds):
            self.message += f" Nothing happened: {why_nothing(action, before.seen.image[0].numpy())}."

    def let_agent_act(self) -> None:
        """The agent that looks on takes one action, drawn from its probabilities. Raises UserError without one."""
        if self.opinion is None:
            raise UserError("Nobody looks on; choose an agent first.")
        luck = torch.rand((), generator=self.luck, dtype=torch.float64).item()
        action = ACTIONS[draw_action(self.opinion.probabilities, luck)]
        self.act(action)
        if not self.over:
            self.message = f"The agent chose “{action}”. {self.message}"

    def undo(self) -> None:
        """Back to before the last action, the agent's memory too. Raises UserError at the beginning."""
        if not self.steps:
            raise UserError("There is nothing to undo: this is the beginning.")
        self.history.pop()
        self.message = f"Undone: this is step {self.steps} of {self.max_steps} again."

    @torch.no_grad()
    def _think(self, seen: Any, mind: Any, begins: bool) -> tuple[Any, Opinion | None]:
        """The agent's memory after it saw this, and what it thinks of it."""
        if self.agent is None:
            return None, None
        out, mind = act(self.agent, seen, mind, torch.tensor([begins]))
        return mind, Opinion(out.logits[0].softmax(-1).numpy(), float(out.value[0]))

    def _ending(self) -> str:
        if self.success:
            return (
                f"✓ Mission accomplished in {self.steps} steps: "
                f"reward {self.reward:.3f} = 1 − 0.9 · {self.steps} / {self.max_steps}."
            )
        if self.steps >= self.max_steps:
            return f"✗ Out of time after {self.steps} steps: reward 0."
        return f"✗ Mission failed after {self.steps} steps: reward 0."


def same_world(a: GridWorlds, b: GridWorlds) -> bool:
    """Do both hold the same things, in the same places and hands?"""
    same_grid = torch.equal(a.state.grid, b.state.grid)
    return same_grid and a.agent_place(0) == b.agent_place(0) and torch.equal(a.state.carrying, b.state.carrying)


def why_nothing(action: str, view: np.ndarray) -> str:
    """Why this action changes nothing where this is seen (uint8 [7, 7, 3], before the action)."""
    kind, colour, state = names_of(view[AGENT_COLUMN, AGENT_ROW - 1])
    held, held_colour, _ = names_of(view[AGENT_COLUMN, AGENT_ROW])
    full = held in PORTABLE
    thing = {"empty": "nothing", "floor": "nothing", "unseen": "nothing", "wall": "a wall"}.get(
        kind, f"a {state} {colour} door" if kind == "door" else f"a {colour} {kind}"
    )
    if action == "forward":
        return f"{thing} is in the way"
    if action == "pickup":
        if full:
            return f"your hands are full with the {held_colour} {held}"
        return f"there is {thing} in front of you" + ("" if thing == "nothing" else ", which cannot be picked up")
    if action == "drop":
        return f"there is {thing} in front of you, and no room" if full else "you carry nothing"
    if action == "toggle":
        if kind == "door" and state == "locked":
            return f"the door is locked, and opens to one who carries the {colour} key"
        return f"there is {thing} in front of you, and only doors and boxes open"
    return "“done” only says that you are done"
