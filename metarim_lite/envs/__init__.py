"""Worlds as tensors: BabyAI's and MiniGrid's levels, many at once, equal to minigrid step for step.

- minigrid makes the levels; a `LevelBank` holds them as small tables, cached on disk, split by seed.
- `GridWorlds` steps B of them together, on any device: about ten tensors, two pure functions, no loop over worlds.
- `compare_minigrid` steps both engines side by side; `Bot` is minigrid's own, planning from our states.
- `demonstrate` lets that bot play a bank, for an agent to imitate.
- `envs.gymnasium.VectorWorlds` is the same behind gymnasium's interface.

Every level with its rooms, step limit and kinds of instruction, every quirk of minigrid and how it is treated:
`print(level_table_markdown())`, or LEVELS.md beside this file. What is refused, and why, is in `catalogue.py`.
"""

from .bot import Bot
from .catalogue import level_table, level_table_markdown, supported
from .cells import ACTIONS, COLOURS, TYPES
from .compare import Comparison, compare_minigrid
from .demonstrations import Demonstrations, demonstrate
from .engine import GridWorlds, Observation, Step
from .generation import make_minigrid
from .levels import LevelBank
from .missions import MISSION_LENGTH, VOCABULARY, decode_mission, encode_mission

__all__ = [
    "ACTIONS",
    "COLOURS",
    "MISSION_LENGTH",
    "TYPES",
    "VOCABULARY",
    "Bot",
    "Comparison",
    "Demonstrations",
    "GridWorlds",
    "LevelBank",
    "Observation",
    "Step",
    "compare_minigrid",
    "decode_mission",
    "demonstrate",
    "encode_mission",
    "level_table",
    "level_table_markdown",
    "make_minigrid",
    "supported",
]
