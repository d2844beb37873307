"""Worlds as tensors: BabyAI's and MiniGrid's levels, many at once, equal to minigrid step for step.

- minigrid makes the levels; a `LevelBank` holds them as small tables, cached on disk, split by seed.
- `GridWorlds` steps B of them together, on any device: about ten tensors, two pure functions, no loop over worlds. On a
  GPU, `worlds.record()` makes one CUDA graph of a step.
- `envs.gymnasium.VectorWorlds` is the same behind gymnasium's interface.

Every level with its rooms, step limit and kinds of instruction, every quirk of minigrid and how it is treated, and what
is refused and why: LEVELS.md beside this file.
"""

from .cells import ACTIONS, COLOURS, TYPES
from .engine import GridWorlds
from .generation import make_minigrid, supported
from .levels import LevelBank
from .missions import MISSION_LENGTH, VOCABULARY, decode_mission, encode_mission
from .simulation import Observation, Step

__all__ = [
    "ACTIONS", "COLOURS", "MISSION_LENGTH", "TYPES", "VOCABULARY", "GridWorlds", "LevelBank", "Observation", "Step",
    "decode_mission", "encode_mission", "make_minigrid", "supported",
]  # fmt: skip
