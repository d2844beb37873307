"""GridWorlds: B worlds that step together, on any torch device."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from ..config import seed_number, whole_number, whole_numbers
from ..errors import UserError, unknown
from ..flat import fill
from ..machine import check_device
from ..recording import record
from .cells import ACTIONS, COLOURS, MARGIN, TYPE, TYPES, flat_index, inside, make_cell, row_stride
from .levels import LevelBank
from .lottery import make_lottery, make_salt
from .missions import mission_kinds
from .rendering import draw_view, draw_world
from .simulation import Observation, Step, advance, look, make_fixed
from .state import Memory, begin, begin_under_mask, blank_memory, unpack
from .vision import make_image, view_cells

logger = logging.getLogger(__name__)


class GridWorlds:
    """B worlds from a bank of levels, stepping together exactly as minigrid's would.

    >>> bank = LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(100))
    >>> worlds = GridWorlds(bank, num_envs=16, seed=0)
    >>> observation = worlds.reset()
    >>> step = worlds.step(torch.full((16,), 2))  # everybody forward
    >>> step.observation.image.shape, step.reward.dtype
    (torch.Size([16, 7, 7, 3]), torch.float32)

    Which level a world plays in its e-th episode is a hash of (seed, world, e): it does not depend on the device, on
    the other worlds, or on what was played before.

    On an accelerator the host runs ahead of the device, and reading any value would make it wait: there nothing is
    counted or checked by value, and finished worlds are replaced under a mask instead of row by row.

    Args:
        bank: the levels.
        num_envs: B.
        device: where the state lives and where actions are expected.
        seed: of the draws of levels.
        autoreset: start the next episode in the step that ends one. Without it, a step is refused as soon as any
            world is finished; on other devices than a CPU, where looking would mean waiting, a finished world stays
            as it is instead: its step gives reward 0 and says terminated.
        first: number of the first world, where these are some of many.
        visits: episodes that a world plays of one level id in a row before the next id is drawn.

    Raises:
        UserError: no bank, fewer than one world, a seed beyond 64 bits, a device that torch does not have.
    """

    def __init__(
        self, bank: LevelBank, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, autoreset: bool = True,
        first: int = 0, visits: int = 1,
    ):  # fmt: skip
        if not isinstance(bank, LevelBank):
            raise UserError(f"worlds need a LevelBank, got {bank!r}; make one with LevelBank.generate")
        self.num_envs = B = whole_number("num_envs", num_envs, at_least=1, at_most=2**31 - 1)
        self.bank, self.seed, self.autoreset = bank, seed_number(seed), autoreset
        self.device = device = check_device(device)
        self._fixed = make_fixed(bank.tables, B, device)
        self._kinds = mission_kinds(bank.tables).to(device)
        salt = make_salt(self.seed, B, device, whole_number("first", first, at_least=0))
        self._lottery = make_lottery([bank.task], [salt], whole_number("visits", visits, at_least=1))
        self._live_in(blank_memory(self._fixed.starts, B))
        self._begun = False
        self._may_look = self.device.type == "cpu"
        self._advance, self._look, self._begin = advance, look, begin_under_mask

    @classmethod
    def side_by_side(
        cls, banks: Sequence[LevelBank], counts: Sequence[int], seeds: Sequence[int],
        device: str | torch.device = "cpu", visits: int = 1,
    ) -> GridWorlds:  # fmt: skip
        """Worlds of several banks as one batch, in the order of the banks: each plays what it would play alone.

        Args:
            counts: how many worlds play each bank; 0 where others do.
            seeds: of the draws from each bank.
        """
        worlds = cls(LevelBank.concat(banks), sum(counts), device, visits=visits)
        salts = [make_salt(seed_number(seed), n, worlds.device) for n, seed in zip(counts, seeds, strict=True)]
        worlds._lottery = make_lottery([bank.task for bank in banks], salts, visits)
        return worlds

    def _live_in(self, memory: Memory) -> None:
        self._memory, self.state = memory, unpack(memory.grid, memory.registers)

    def reset(self, levels: Int[Tensor, "B"] | None = None) -> Observation:
        """Begin a new episode in every world.

        Args:
            levels: whole numbers [B], which level of the bank each world plays; None draws them. Later episodes are
                drawn.

        Raises:
            UserError: levels that are no whole numbers, of the wrong shape or out of range.
        """
        self.renew(torch.ones_like(self._memory.finished), levels)
        self._memory.finished.fill_(False)
        self._begun = True
        return self.observe()

    def step(self, actions: Int[Tensor, "B"]) -> Step:
        """One action in every world.

        Args:
            actions: int64 [B] in 0..6: left, right, forward, pickup, drop, toggle, done. On a CPU the range is
                checked; on other devices, where looking would mean waiting, other numbers act as "done".

        Raises:
            UserError: actions of the wrong shape, dtype, device or range; worlds that were never reset, or that are
                finished with autoreset off. Nothing has changed then.
        """
        self.check_actions(actions)
        refuse = self._may_look and not self.autoreset
        if refuse and self._memory.finished.any():
            b = int(self._memory.finished.nonzero()[0])
            raise UserError(f"world {b} is finished and autoreset is off; call reset() before the next step()")
        return self._step(actions, None if refuse or self.autoreset else self._memory.finished)

    def step_unfinished(self, actions: Int[Tensor, "B"]) -> Step:
        """`step` with autoreset off, where finished worlds are no error: they stay as they are, whatever their
        action, and give reward 0 and terminated.

        Raises:
            UserError: as `step`, but for finished worlds.
        """
        self.check_actions(actions)
        return self._step(actions, self._memory.finished)

    def _step(self, actions: Tensor, held: Tensor | None) -> Step:
        if held is not None:
            actions = torch.where(held, ACTIONS.index("done"), actions)  # writes to no grid
        changed, done, reward, terminated, truncated, success = self._advance(self.state, actions, self._fixed)
        registers, atoms = self._memory.registers[: len(changed)], self.state.done[: len(done)]
        if held is not None:
            changed, done = torch.where(held, registers, changed), torch.where(held, atoms, done)
            reward, success = reward * ~held, success & ~held
            terminated = terminated | held
        registers.copy_(changed)
        atoms.copy_(done)
        if self.autoreset:
            self.renew(terminated | truncated)
        else:
            self._memory.finished.copy_(terminated | truncated)
        return Step(self.observe(), reward, terminated, truncated, success)

    def compile(self, mode: str | None = None) -> bool:
        """Run steps through `torch.compile` from now on: the same numbers, after half a minute of compiling.

        Where torch finds no compiler, one line is logged and steps stay as they are.

        Args:
            mode: torch.compile's, for example "reduce-overhead".

        Returns:
            whether steps are compiled now.
        """
        trial = self.fork()
        trial.reset()
        try:
            made = partial(torch.compile, mode=mode, fullgraph=True, dynamic=False)
            go = made(advance)  # flat grids, since to a view older versions of torch would write a whole copy back
            trial._advance = lambda s, *rest: go(s._replace(grid=s.grid.view(-1)), *rest)
            if self.device.type != "cpu":  # there, torch's own gathers are faster than compiled ones
                trial._look, trial._begin = made(look), made(begin_under_mask)
            trial.step(torch.zeros(self.num_envs, dtype=torch.int64, device=self.device))
        except Exception as error:  # whatever a compiler may throw: none installed, device not supported
            logger.warning("worlds are not compiled: %s", str(error).splitlines()[0])
            return False
        self._advance, self._look, self._begin = trial._advance, trial._look, trial._begin
        return True

    def record(self) -> RecordedWorlds:
        """These worlds' steps as one CUDA graph: on a GPU several times as fast, with the same results.

        >>> recorded = worlds.record()
        >>> step = recorded.step(actions)  # as worlds.step(actions); both may be mixed

        Elsewhere than on a GPU one line is logged, and the recorded step is the plain one. No dice are involved:
        levels are drawn by a hash (lottery.py), so a replay draws as a plain step would.
        """
        return RecordedWorlds(self)

    def observe(self) -> Observation:
        """What the agents see now."""
        return self._look(self.state, self._fixed)

    def fork(self) -> GridWorlds:
        """An independent copy of the worlds as they are now: same levels ahead, same answers to the same actions."""
        other = copy.copy(self)
        other._live_in(Memory(*(tensor.clone() for tensor in self._memory)))
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """The worlds' state as plain tensors (copies), for a checkpoint. The bank is not in it."""
        memory = {name: tensor.clone() for name, tensor in self._memory._asdict().items()}
        return memory | {"begun": torch.tensor(self._begun)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go back to a state that `state_dict` gave, of worlds with the same bank and number.

        Raises:
            UserError: a tensor is missing, unknown, or of another shape or dtype. Nothing has changed then.
        """
        fill(self.state_dict(), state, "the state of these worlds", by="bank or num_envs")
        for name, tensor in self._memory._asdict().items():
            tensor.copy_(state[name])
        self._begun = bool(state["begun"])

    @property
    def levels(self) -> Int[Tensor, "B"]:
        """Which level of the bank each world plays now."""
        return self.state.level.clone()

    @property
    def task(self) -> Int[Tensor, "B"]:
        """Which of `bank.level_ids` each world plays now."""
        return self.bank.task.to(self.device)[self.state.level]

    def mission_text(self, b: int) -> str:
        """The mission of world b, as minigrid words it.

        Raises:
            UserError: there is no such world.
        """
        self.check_world(b)
        return self.bank.mission_text(self.state.level[b])

    def check_world(self, b: int) -> None:
        """Raises UserError where there is no world b."""
        if not 0 <= b < self.num_envs:
            raise UserError(f"world {b} does not exist; worlds are 0..{self.num_envs - 1}")

    def agent_place(self, b: int) -> tuple[int, int, int]:
        """(x, y, direction) of the agent of world b, in minigrid's coordinates."""
        y, x = divmod(int(self.state.position[b]) - MARGIN, row_stride(self.bank.width))
        return x, y - MARGIN, int(self.state.direction[b])

    def cells(self, b: int) -> UInt8[Tensor, "w h 3"]:
        """The whole grid of world b as (type, colour, state), as minigrid's `grid.encode()`: cells[x, y]."""
        width, height = self.bank.tables["size"][int(self.state.level[b])].tolist()
        cells = inside(self.state.grid[b], self.bank.width, width, height).t().contiguous()  # (w, h)
        return cells.view(torch.uint8).view(width, height, 4)[..., :3].clone().cpu()

    def edit(self, b: int, x: int, y: int, kind: str = "empty", colour: str = "red", state: int = 0) -> None:
        """Put something into cell (x, y) of world b: what if it were there? No mission speaks of the new thing.

        Args:
            kind: one of TYPES; "empty" takes away what is there.
            state: of a door: 0 open, 1 closed, 2 locked.

        Raises:
            UserError: a cell outside the level or under the agent, unknown kind or colour.
        """
        width, height = self.bank.tables["size"][int(self.state.level[b])].tolist()
        if not (0 <= x < width and 0 <= y < height) or (x, y) == self.agent_place(b)[:2]:
            raise UserError(f"cell ({x}, {y}) cannot be edited; choose one of {width} x {height} without the agent")
        for name, value, known in (("kind", kind, TYPES[1:10]), ("colour", colour, COLOURS)):
            if value not in known:
                raise unknown(f"{name} of cell", value, known)
        self.state.grid[b, flat_index(x, y, self.bank.width)] = make_cell(kind, colour, state)
        features = self._fixed.features
        if TYPE[kind] not in features.types:  # until now, steps had nothing to do with such things
            self._fixed = self._fixed._replace(features=features._replace(types=features.types | {TYPE[kind]}))

    def frame(self, b: int, tile_size: int = 32, agent_view: bool = False) -> UInt8[Tensor, "h w 3"]:
        """A picture of world b, pixel for pixel minigrid's `get_frame` (with `agent_view`, `agent_pov=True`).

        Raises:
            UserError: there is no such world, or tiles have no pixels.
        """
        self.check_world(b)
        whole_number("tile_size", tile_size, at_least=1)
        s, one, vision = self.state, slice(b, b + 1), self._fixed.vision
        seen, lit = view_cells(s.grid[one], s.position[one], s.direction[one], vision, s.see_through[one].bool())
        if agent_view:
            return draw_view(make_image(seen, lit, s.carrying[one], vision)[0], int(lit), tile_size)
        return draw_world(self.cells(b), self.agent_place(b), int(lit), tile_size)

    @property
    def mission_kind(self) -> Int[Tensor, "B"]:
        """Of each world's mission, the number of its kind in `missions.MISSION_KINDS`."""
        return self._kinds.index_select(0, self.state.level)

    @property
    def visit_begins(self) -> Bool[Tensor, "B"]:
        """Worlds whose episode is the first of a visit. Without longer visits, all."""
        return (self._memory.episode - 1) % self._lottery.visits == 0

    @property
    def finished(self) -> Bool[Tensor, "B"]:
        """Worlds that wait for a reset (with autoreset off)."""
        return self._memory.finished.clone()

    def renew(self, which: Bool[Tensor, "B"], levels: Int[Tensor, "B"] | None = None) -> None:
        """Begin the next episode in these worlds only.

        Args:
            levels: which level of the bank each of these worlds plays (the other numbers are not used); None draws.

        Raises:
            UserError: not a bool tensor [B] on the worlds' device; levels as in `reset`.
        """
        if which.dtype != torch.bool or which.shape != (self.num_envs,) or which.device.type != self.device.type:
            raise UserError(f"renew needs a bool tensor of shape ({self.num_envs},) on {self.device}, got {which!r}")
        rows = which.nonzero()[:, 0] if self._may_look else slice(None)
        if levels is None:
            levels = self._lottery.draw(rows, self._memory.episode[rows])
        else:
            levels = self._check_levels(levels)[rows]
        begins, where = (begin, rows) if self._may_look else (self._begin, which)
        begins(self._memory, where, levels, self._fixed.starts)
        self._memory.episode.add_(which)
        if not self.autoreset:  # else none waits
            self._memory.finished.logical_and_(~which)

    def check_actions(self, actions: Tensor) -> None:
        """Raises UserError for what `step` refuses, but for finished worlds."""
        if not isinstance(actions, Tensor) or actions.dtype != torch.int64 or actions.shape != (self.num_envs,):
            found = f"{actions.dtype} {tuple(actions.shape)}" if isinstance(actions, Tensor) else repr(actions)
            raise UserError(f"actions must be an int64 tensor of shape ({self.num_envs},), got {found}")
        if actions.device != self._memory.episode.device:
            raise UserError(f"actions are on {actions.device}, the worlds on {self.device}; move them there")
        if self._may_look:
            lowest, highest = (int(extreme) for extreme in actions.aminmax())
            if lowest < 0 or highest >= len(ACTIONS):
                wrong = lowest if lowest < 0 else highest
                raise UserError(f"action {wrong} is out of range; actions are 0..6: {', '.join(ACTIONS)}")
        if not self._begun:
            raise UserError("the worlds were never reset; call reset() before step()")

    def _check_levels(self, levels: Tensor) -> Tensor:
        levels = whole_numbers("levels", levels)
        if levels.shape != (self.num_envs,):
            raise UserError(f"levels must be an int64 tensor of shape ({self.num_envs},), got {tuple(levels.shape)}")
        if levels.min() < 0 or levels.max() >= len(self.bank):
            raise UserError(f"levels must be in 0..{len(self.bank) - 1}, got {int(levels.min())}..{int(levels.max())}")
        return levels.to(self.device)


class RecordedWorlds:
    """What `GridWorlds.record` gives: the same worlds, stepped by a graph.

    `reset`, `renew`, `edit` and `load_state_dict` of the worlds change what the graph works on, and so may be called
    at any time. A fork of the worlds is other memory: record it anew.
    """

    def __init__(self, worlds: GridWorlds) -> None:
        self.worlds, self._fixed = worlds, worlds._fixed
        self._actions = torch.zeros(worlds.num_envs, dtype=torch.int64, device=worlds.device)
        start = worlds.state_dict()
        if not start["begun"]:
            worlds.reset()
        self._replay = record("steps of worlds", lambda: worlds.step(self._actions), worlds.device)
        worlds.load_state_dict(start)

    def step(self, actions: Int[Tensor, "B"]) -> Step:
        """`GridWorlds.step`. On a GPU all that it gives holds until the next call, which overwrites it: clone what is
        to be kept.

        Raises:
            UserError: what `GridWorlds.step` raises.
        """
        self.worlds.check_actions(actions)
        self._actions.copy_(actions)
        if self.worlds._fixed is not self._fixed:  # a thing was put in that the recorded step knows nothing of
            return self.worlds.step(self._actions)
        return self._replay()
