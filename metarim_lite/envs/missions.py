"""Missions as numbers: a fixed vocabulary for the words, and the instruction as a small program of bit masks.

BabyAI's grammar, as minigrid generates it:

    go to D | open D | pick up D | put D next to D      (an atom)
    A and A | X, then X | X after you X                  (sequences of atoms)

Any such mission is a program of two *stages* of two *parts* each: stage 0 must be complete before stage 1 counts,
the two parts of a stage may be completed in any order. Each of the four atoms holds its kind, whether a wrong act
fails it (strict), and up to two sets of object slots, as bit masks. Parts that a mission does not have start done.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections import namedtuple
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import UserError

MISSION_LENGTH = 72  # the longest sentence of the grammar: four "put ... next to ..." with two "and" and a ", then"

_BABYAI = (
    ", a after and ball behind blue box door front go green grey in key left next object of on open pick purple put "
    "red right the then to up you your yellow"
)
_MINIGRID = (
    "at avoid end fetch find for from get goal hallway lava matching must near opening reach room rooms square "
    "traverse unlock use"
)
VOCABULARY = ("<pad>", *_BABYAI.split(), *_MINIGRID.split())
_TOKEN = {word: index for index, word in enumerate(VOCABULARY)}

GO_TO, OPEN, PICK_UP, PUT_NEXT = range(4)
KINDS = ("go to", "open", "pick up", "put next")
SEQUENCE, OTHER = 4, 5
MISSION_KINDS = (*KINDS, "sequence", "other")
"""Kinds of whole missions: a single atom, several of them, or a goal of minigrid's own that is no instruction."""

NO_RULE, DONE_NEAR, PUT_NEAR, REACH_OR_TRAP, RED_THEN_BLUE = range(5)
"""How minigrid's own levels end, where that is no instruction of BabyAI's (see `simulation.minigrid_rules`)."""


@functools.lru_cache(maxsize=65536)
def _tokens(text: str) -> tuple[int, ...]:
    words = re.findall(r"[^\s,]+|,", text.lower())
    for word in words:
        if word not in _TOKEN or word == "<pad>":
            near = difflib.get_close_matches(word, VOCABULARY, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see metarim_lite.VOCABULARY"
            raise UserError(f"the word {word!r} of mission {text!r} is not in the vocabulary{hint}")
    if len(words) > MISSION_LENGTH:
        raise UserError(f"a mission has at most {MISSION_LENGTH} words, got {len(words)}; shorten {text[:40]!r}...")
    return tuple(_TOKEN[word] for word in words)


def encode_mission(text: str) -> Int[Tensor, "L"]:
    """A mission as `MISSION_LENGTH` token numbers, int64, padded with 0.

    >>> encode_mission("go to the red ball")[:6].tolist() == [VOCABULARY.index(w) for w in
    ...     ("go", "to", "the", "red", "ball", "<pad>")]
    True

    Raises:
        UserError: a word that is not in `VOCABULARY` (with the nearest that are), too many words, not a text.
    """
    if not isinstance(text, str):
        raise UserError(f"a mission is a text such as 'go to the red ball', got {text!r}")
    tokens = _tokens(text)
    return torch.tensor(tokens + (0,) * (MISSION_LENGTH - len(tokens)))


def decode_mission(tokens: Int[Tensor, "L"]) -> str:
    """The text of a mission from its tokens: the inverse of `encode_mission`."""
    return " ".join(VOCABULARY[t] for t in tokens.tolist() if t).replace(" ,", ",")


class Atom(NamedTuple):
    """One part of an instruction. Without arguments, a part that the mission does not have."""

    kind: int = GO_TO  # or OPEN, PICK_UP, PUT_NEXT
    first: int = 0  # bit mask of slots: where to go, what to open, pick up or move
    second: int = -1  # bit mask of slots to put next to; all ones for other kinds
    strict: int = 0  # 1 where a wrong act fails the mission
    done: int = 1


Program = namedtuple("Program", Atom._fields)
"""A mission: each field of four atoms, in the order stage 0 part 0, stage 0 part 1, stage 1 part 0, stage 1 part 1."""


def program(*atoms: Atom) -> Program:
    """Of up to four atoms. One that is about nothing (`Atom(done=0)`) can never be completed."""
    atoms += (Atom(),) * (4 - len(atoms))
    return Program(*map(list, zip(*atoms, strict=True)))


def pack_instruction(instruction: Any, slot_of: dict[int, int]) -> Program:
    """minigrid's instruction object as a `Program`. Call it after the environment's reset.

    Args:
        instruction: one of minigrid's `Instr`, its object sets resolved.
        slot_of: `id(object)` to slot.

    Raises:
        UserError: a form that no registered level uses and that the verifier does not know.
    """
    from minigrid.envs.babyai.core import verifier as v

    stages = [instruction]
    if isinstance(instruction, v.BeforeInstr):
        stages = [instruction.instr_a, instruction.instr_b]
    elif isinstance(instruction, v.AfterInstr):
        stages = [instruction.instr_b, instruction.instr_a]
    if len(stages) == 2 and instruction.strict:
        raise UserError("a strict sequence of instructions is not supported; make only its parts strict")

    atoms = []
    for stage in stages:
        if isinstance(stage, v.AndInstr):
            atoms += [_pack_atom(part, slot_of, strict=False) for part in (stage.instr_a, stage.instr_b)]
        else:
            atoms += [_pack_atom(stage, slot_of, strict=getattr(stage, "strict", False)), Atom()]
    return program(*atoms)


def _pack_atom(atom: Any, slot_of: dict[int, int], strict: bool) -> Atom:
    from minigrid.envs.babyai.core import verifier as v

    if isinstance(atom, v.PutNextInstr):
        if strict:
            raise UserError("a strict 'put next to' is not supported; use strict 'open' or 'pick up'")
        return Atom(PUT_NEXT, _mask(atom.desc_move, slot_of), _mask(atom.desc_fixed, slot_of), done=0)
    kind = {v.GoToInstr: GO_TO, v.OpenInstr: OPEN, v.PickupInstr: PICK_UP}[type(atom)]
    # "a grey object" also describes the walls; that matters to nobody who can only pick up
    return Atom(kind, _mask(atom.desc, slot_of, walls_too=kind == PICK_UP), strict=int(strict), done=0)


def _mask(description: Any, slot_of: dict[int, int], walls_too: bool = False) -> int:
    """The slots of what is described, as bits."""
    bits = 0
    for thing in description.obj_set:
        if id(thing) in slot_of:
            bits |= 1 << slot_of[id(thing)]
        elif not (walls_too and thing.type == "wall"):
            raise UserError(f"a mission about a {thing.type} is not supported; use keys, balls, boxes and doors")
    return bits


def mission_kinds(tables: dict[str, Tensor]) -> Int[Tensor, "n"]:
    """For each level of a bank's tables, the number of its mission's kind in `MISSION_KINDS`."""
    atoms = (tables["done"] == 0).sum(1)  # (n, 4) -> (n,)
    kind = torch.where(atoms > 1, SEQUENCE, tables["kind"][:, 0].long())
    return torch.where((atoms == 1) & (tables["first"][:, 0] == 0), OTHER, kind)  # an atom about nothing: `program`
