"""The RIM paper's sequence tasks: data from a seed, the loss, and the metric that the paper reports."""

from .adding import Adding
from .bouncing_balls import BouncingBalls
from .copying import COPYING_SMALL, Copying
from .digits import Digits
from .protocol import Batch, Task

TASKS: dict[str, type] = {
    "copying": Copying,
    "adding": Adding,
    "bouncing-balls": BouncingBalls,
    "digits": Digits,
}

__all__ = ["COPYING_SMALL", "TASKS", "Adding", "Batch", "BouncingBalls", "Copying", "Digits", "Task"]
