"""Worlds as tensors: BabyAI's and MiniGrid's levels, many at once, equal to minigrid step for step."""

from .catalogue import supported
from .cells import ACTIONS, COLOURS, TYPES
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
    "GridWorlds",
    "LevelBank",
    "Observation",
    "Step",
    "decode_mission",
    "encode_mission",
    "make_minigrid",
    "supported",
]
