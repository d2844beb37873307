"""Runs that survive: a folder, checkpoints that are never half a file, one run on several processes."""

from .checkpoints import load_agent, save_agent, shipped_agents

__all__ = ["load_agent", "save_agent", "shipped_agents"]
