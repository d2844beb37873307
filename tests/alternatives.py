"""Right answers to the exercises, written another way: a loop, another library call, other intermediate layouts."""

import alternatives_agents
import alternatives_learning
import alternatives_modules
from another_way import RIGHT

__all__ = ["FILES", "RIGHT"]

FILES = (alternatives_agents, alternatives_modules, alternatives_learning)
