"""The state of B worlds: a grid each, and a block of registers with one row per quantity.

A register block is one int64 tensor [R, B] so that a world is replaced by copying one column, while each quantity
is a contiguous row. `unpack` names the rows; the names are views, so writing to the block changes the state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .cells import EMPTY, SLOT_SHIFT, WALL, flat_index, inside, padded_cells


class State(NamedTuple):
    """Everything that a step reads. Cells and places are explained in cells.py; -1 is nowhere."""

    grid: Int[Tensor, "B P"]  # int32, padded with walls
    # what a step changes
    position: Int[Tensor, "B"]  # the agent's cell, as an index into its own padded grid
    direction: Int[Tensor, "B"]
    carrying: Int[Tensor, "B"]  # the carried object's cell value, EMPTY for none
    steps: Int[Tensor, "B"]
    origin: Int[Tensor, "B"]  # where the carried object was before it was picked up, until the next drop action
    gone: Int[Tensor, "B"]  # bit mask of the boxes destroyed since the last drop action
    done: Int[Tensor, "4 B"]  # atoms of the mission that are complete
    # what belongs to the level
    level: Int[Tensor, "B"]
    max_steps: Int[Tensor, "B"]
    carried_from: Int[Tensor, "B"]  # where the object lies that the agent holds from the first step on
    see_through: Int[Tensor, "B"]
    rule: Int[Tensor, "B"]
    target: Int[Tensor, "B"]
    trap: Int[Tensor, "B"]
    kind: Int[Tensor, "4 B"]
    strict: Int[Tensor, "4 B"]
    first: Int[Tensor, "4 B"]
    second: Int[Tensor, "4 B"]


OF_ATOMS = ("done", "kind", "strict", "first", "second")  # quantities with four rows


def unpack(grid: Int[Tensor, "B P"], registers: Int[Tensor, "R B"]) -> State:
    """Names for the rows of a register block."""
    parts = registers.split([4 if name in OF_ATOMS else 1 for name in State._fields[1:]])
    return State(grid, *(part if len(part) == 4 else part[0] for part in parts))


class Memory(NamedTuple):
    """The tensors that steps change: a saved state."""

    grid: Int[Tensor, "B P"]
    registers: Int[Tensor, "R B"]
    episode: Int[Tensor, "B"]  # how many have begun
    finished: Bool[Tensor, "B"]  # those that wait for a reset; with autoreset, only those that never began


def blank_memory(starts: Starts, B: int) -> Memory:
    """Of B worlds that wait for their first reset."""
    grid = starts.grid.new_zeros(B, starts.grid.shape[1])
    registers = starts.registers.new_zeros(len(starts.registers), B)
    return Memory(grid, registers, registers.new_zeros(B), registers.new_ones(B, dtype=torch.bool))


class Starts(NamedTuple):
    """A bank's levels as they are copied into worlds, on one device."""

    grid: Int[Tensor, "n P"]
    registers: Int[Tensor, "R n"]
    contents: Int[Tensor, "n S"]  # int32: what each slot's box leaves behind
    mission: Int[Tensor, "n L"]


def pack_starts(tables: dict[str, Tensor], device: torch.device) -> Starts:
    """Lay out a bank's levels for copying: grids padded with walls, first states as register columns."""
    tables = {name: table.to(device) for name, table in tables.items()}
    n, height, width = tables["cells"].shape
    grid = torch.full((n, padded_cells(width, height)), WALL, dtype=torch.int32, device=device)
    inside(grid, width, width, height).copy_(tables["cells"])

    def place(name: str) -> Tensor:
        x, y = tables[name].long()[:, :2].unbind(1)
        return torch.where(x < 0, -1, flat_index(x, y, width))

    zero = torch.zeros(n, dtype=torch.int64, device=device)
    columns = {
        "position": place("agent"),
        "direction": tables["agent"][:, 2],
        "carrying": zero + EMPTY,
        "origin": zero - 1,
        "level": torch.arange(n, device=device),
        **{name: place(name) for name in ("carried_from", "target", "trap")},
        **{name: tables[name].t() for name in OF_ATOMS},
        **{name: tables[name] for name in ("max_steps", "see_through", "rule")},
    }
    registers = torch.cat([columns.get(name, zero).long().reshape(-1, n) for name in State._fields[1:]])

    slots = torch.arange(tables["contents"].shape[1], device=device, dtype=torch.int32)
    contents = tables["contents"]
    contents = torch.where(contents == EMPTY, contents + (slots << SLOT_SHIFT), contents)  # see simulation.py: traces
    return Starts(grid, registers, contents, tables["mission"])


def begin(memory: Memory, rows: Int[Tensor, "m"], levels: Int[Tensor, "m"], starts: Starts) -> None:
    """Put the first states of these levels into the worlds with these numbers."""
    memory.grid.index_copy_(0, rows, starts.grid.index_select(0, levels))
    memory.registers.index_copy_(1, rows, starts.registers.index_select(1, levels))


def begin_under_mask(memory: Memory, which: Bool[Tensor, "B"], levels: Int[Tensor, "B"], starts: Starts) -> None:
    """The same where `which` is true. Nobody has to know how many these are, so no device has to be waited for."""
    grid, registers, *_ = memory
    torch.where(which[:, None], starts.grid.index_select(0, levels), grid, out=grid)
    torch.where(which, starts.registers.index_select(1, levels), registers, out=registers)
