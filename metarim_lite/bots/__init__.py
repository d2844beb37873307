"""Who plays without having learned: minigrid's own bot, and an oracle that sees everything.

- `compare_minigrid` lets them, and random players, step minigrid and our worlds side by side.
- `demonstrate` lets the bot play a bank of levels, for an agent to imitate.
"""

from .bot import Bot
from .compare import LevelComparison, compare_minigrid
from .demonstrations import Demonstrations, demonstrate
from .oracle import Oracle

__all__ = ["Bot", "LevelComparison", "Demonstrations", "Oracle", "compare_minigrid", "demonstrate"]
