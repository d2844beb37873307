"""minigrid's own BabyAI bot, planning from our states: for demonstrations, and to reach success in comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..envs.cells import ACTIONS, DOOR_STATES, TYPE, inside, kind, slot, state
from ..envs.generation import make_minigrid, objects_of

if TYPE_CHECKING:
    from ..envs.engine import GridWorlds

DROP = ACTIONS.index("drop")


class Bot:
    """Plays the mission of one world.

    >>> from metarim_lite.envs import GridWorlds, LevelBank
    >>> worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", range(1)), 1, autoreset=False)
    >>> _ = worlds.reset()
    >>> bot, action, success = Bot(worlds, 0), None, False
    >>> while not success:
    ...     action = bot.act(action)
    ...     success = bool(worlds.step(torch.tensor([action])).success)

    It explores: it plans over what it has seen so far. Only where a level of minigrid's own names a place (a goal, a
    target door) does it know from the start where that is. It gives up now and then, for example when a box that it
    needs was destroyed, or when it holds something from the start. Make a new one for each episode; a new one may
    also go on where another gave up.
    """

    def __init__(self, worlds: GridWorlds, b: int):
        self.worlds, self.b = worlds, b
        level = int(worlds.state.level[b])
        level_id = worlds.bank.level_ids[int(worlds.bank.task[level])]
        self.env = make_minigrid(level_id)
        self.env.reset(seed=int(worlds.bank.seeds[level]))
        self.things = objects_of(self.env)
        self.copy_state()
        self.planner = Planner(self.env)

    def act(self, last_action: int | None = None) -> int | None:
        """The next action, from the world as it is now.

        Args:
            last_action: what was done since the last call, by whomever; None in the first call.

        Returns:
            0..6, or None when the bot gives up.
        """
        self.copy_state()
        if last_action == DROP and hasattr(self.env, "update_objs_poss"):
            self.env.update_objs_poss()
        return self.planner.plan(last_action)

    def copy_state(self) -> None:
        """Make the minigrid environment equal to our world."""
        env, s, b = self.env, self.worlds.state, self.b
        cells = inside(s.grid[b], self.worlds.bank.width, env.width, env.height).flatten().tolist()
        for thing in self.things:
            thing.cur_pos = (-1, -1)
        for index, cell in enumerate(cells):
            if kind(cell) == TYPE["empty"]:
                env.grid.grid[index] = None
            elif slot(cell):
                env.grid.grid[index] = self._thing(cell)
                env.grid.grid[index].cur_pos = (index % env.width, index // env.width)
        carried = int(s.carrying[b])
        env.carrying = self._thing(carried) if kind(carried) != TYPE["empty"] else None
        x, y, direction = self.worlds.agent_place(b)
        env.agent_pos, env.agent_dir = (x, y), direction
        env.step_count = int(s.steps[b])

    def _thing(self, cell: int) -> Any:
        thing = self.things[slot(cell) - 1]
        if thing.type == "door":
            is_now = DOOR_STATES[state(cell)]
            thing.is_open, thing.is_locked = is_now == "open", is_now == "locked"
        return thing


class _Subgoals(list):
    """The bot's stack of subgoals. Sometimes two of them call for each other for ever; then it has no plan."""

    added = 0

    def append(self, subgoal: Any) -> None:
        self.added += 1
        assert self.added <= 100
        super().append(subgoal)


class Planner:
    """minigrid's bot for one of its environments, BabyAI or not, from the environment's present state on."""

    def __init__(self, env: Any):
        from minigrid.utils.baby_ai_bot import BabyAIBot, GoNextToSubgoal

        class AlsoToPlaces(BabyAIBot):
            def _process_instr(self, instr: Any) -> None:
                if isinstance(instr, tuple):
                    self.stack.append(GoNextToSubgoal(self, instr))
                else:
                    super()._process_instr(instr)

        env.instrs, self.last = mission_of(env)
        self.bot = AlsoToPlaces(env)
        self.bot.stack = self.stack = _Subgoals(self.bot.stack)

    def plan(self, last_action: int | None) -> int | None:
        """The next action; None where the bot runs into one of its own assertions or dead ends."""
        from minigrid.utils.baby_ai_bot import DisappearedBoxError

        self.stack.added = 0
        try:
            action = int(self.bot.replan(last_action))
        except (AssertionError, AttributeError, DisappearedBoxError, IndexError, KeyError, TypeError, ValueError):
            return None
        return self.last if action == ACTIONS.index("done") else action


def mission_of(env: Any) -> tuple[Any, int]:
    """What an environment wants, in BabyAI's words, and what remains to be done after that.

    Returns:
        one of BabyAI's instructions, or a place (x, y) to face; and the action that then completes the episode.
    """
    from minigrid import envs
    from minigrid.envs.babyai.core.verifier import BeforeInstr, ObjDesc, OpenInstr, PickupInstr, PutNextInstr

    done, forward = ACTIONS.index("done"), ACTIONS.index("forward")
    if hasattr(env, "update_objs_poss"):  # a BabyAI level
        return env.instrs, done
    if not hasattr(env, "room_from_pos"):
        env.room_from_pos = lambda x, y: None  # only descriptions with a location ask for it
    if isinstance(env, (envs.GoToDoorEnv, envs.GoToObjectEnv)):
        return tuple(env.target_pos), done
    if isinstance(env, envs.MemoryEnv):
        return tuple(env.success_pos), forward
    if isinstance(env, envs.UnlockEnv):
        instruction = OpenInstr(ObjDesc("door"))
    elif isinstance(env, envs.RedBlueDoorEnv):
        instruction = BeforeInstr(OpenInstr(ObjDesc("door", "red")), OpenInstr(ObjDesc("door", "blue")))
    elif isinstance(env, envs.FetchEnv):
        instruction = PickupInstr(ObjDesc(env.targetType, env.targetColor))
    elif isinstance(env, envs.PutNearEnv):
        target = ObjDesc(env.target_type, env.target_color)
        instruction = PutNextInstr(ObjDesc(env.move_type, env.moveColor), target)
    elif hasattr(env, "obj"):
        instruction = PickupInstr(ObjDesc(env.obj.type, env.obj.color))
    else:
        goals = [i for i, thing in enumerate(env.grid.grid) if thing is not None and thing.type == "goal"]
        return (goals[0] % env.width, goals[0] // env.width) if goals else (1, 1), forward
    instruction.reset_verifier(env)
    return instruction, done
