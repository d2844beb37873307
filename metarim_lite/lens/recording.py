"""Playing one episode and writing down what happens, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import as_whole, seed_number
from ..envs import VOCABULARY, GridWorlds, LevelBank, encode_mission
from ..errors import UserError
from ..models import act
from ..models.encoders import WORDS
from . import interventions as changes
from .interventions import EditCell, Intervention, SwapMission


def draw_action(probabilities: np.ndarray, luck: float) -> int:
    """The action whose share of [0, 1) holds `luck`: actions lie side by side, each as wide as its probability."""
    edges = np.cumsum(probabilities, dtype=np.float64)
    return int(min(np.searchsorted(edges, luck * edges[-1], side="right"), len(probabilities) - 1))


def check_words(agent: Any, bank: LevelBank) -> None:
    """Refuse an agent to which the missions of these levels would say something else, or nothing.

    Raises:
        UserError: it was made for another vocabulary than the levels.
    """
    reader = getattr(getattr(agent, "encoder", None), "mission", None)
    known, last = getattr(reader, "vocabulary_size", WORDS), int(bank.tables["mission"].max())
    if known != WORDS:
        raise UserError(
            f"the agent knows {known} words and those of this package know {WORDS}, so it would misread its mission; "
            "use an agent that was trained here"
        )
    if last >= len(VOCABULARY):
        raise UserError(
            f"a mission of these levels has word {last}, and the package knows {len(VOCABULARY)} words; "
            "use levels that it made"
        )


@torch.no_grad()
def play(
    agent: torch.nn.Module,
    bank: LevelBank,
    level: int,
    seed: int,
    interventions: Sequence[Intervention],
    greedy: bool,
) -> dict[str, Any]:
    """Play one episode to its end; returns the fields of a Trace. Arguments and errors as `Trace.record`."""
    asked, level, seed = level, as_whole(level), seed_number(seed)
    if level is None or not 0 <= level < len(bank):
        raise UserError(f"level {asked!r} is not in this bank; it holds levels 0 to {len(bank) - 1}")
    check_words(agent, bank)
    device = next((p.device for p in agent.parameters()), torch.device("cpu"))
    config = getattr(agent, "config", None)
    num_modules = config.num_modules if config is not None and config.controller == "rim" else None
    interventions = changes.check(interventions, num_modules)
    swaps = {s.text: encode_mission(s.text)[None].to(device) for s in interventions if isinstance(s, SwapMission)}
    luck = torch.Generator().manual_seed(seed)
    worlds = GridWorlds(bank.select([level]), 1, device=device, autoreset=False)  # all copies share this one level
    seen = worlds.reset(levels=torch.tensor([0], device=device))
    state, steps, copies, views = None, [], [worlds.fork()], [seen]
    over = False
    while not over:
        t = len(steps)
        edits = [one for one in interventions if isinstance(one, EditCell) and one.start == t]
        for edit in edits:
            worlds.edit(0, edit.x, edit.y, edit.kind, edit.colour)
        if edits:
            seen = worlds.observe()
            copies[-1], views[-1] = worlds.fork(), seen
        swapped = changes.mission_at(interventions, t)
        told = seen.mission if swapped is None else swaps[swapped]  # (1, L)
        starts = torch.tensor([t == 0], device=device)
        options = {"record": True, "interventions": changes.in_force(interventions, t)}
        out, state = act(agent, seen._replace(mission=told), state, starts, **options)
        chances = out.logits[0].double().softmax(-1).float().cpu().numpy()  # (1, 7) -> (7)
        u = torch.rand((), generator=luck, dtype=torch.float64).item()
        action = int(chances.argmax()) if greedy else draw_action(chances, u)
        result = worlds.step(torch.tensor([action], device=device))
        over = bool(result.terminated | result.truncated)
        steps.append((told, chances, action, out, state, result))
        seen = result.observation
        copies.append(worlds.fork())
        views.append(seen)
    told, chances, actions, outs, states, results = zip(*steps, strict=True)
    return dict(
        level=bank.level_ids[int(bank.task[level])],
        index=level,
        seed=seed,
        mission=worlds.mission_text(0),
        controller=config.controller if config else type(agent).__name__,
        greedy=greedy,
        interventions=interventions,
        worlds=tuple(copies),
        images=_joined([v.image for v in views]),
        directions=_joined([v.direction for v in views]),
        mission_tokens=_joined(told),
        probabilities=np.stack(chances),
        actions=np.array(actions),
        values=_joined([o.value for o in outs]),
        rewards=_joined([r.reward for r in results]),
        success=bool(results[-1].success),
        truncated=bool(results[-1].truncated),
        hidden_norms=_hidden_norms(states),
        agent=agent,
        **_module_records(outs),
    )


def _joined(pieces: Sequence[Tensor]) -> np.ndarray:
    """Tensors that lead with one world [1, …], one a step -> numpy [T, …]."""
    return torch.cat(list(pieces)).cpu().numpy()


def _hidden_norms(states: Sequence[Any]) -> np.ndarray:
    """Hidden states [1, N, H] or [1, H], one a step -> [T, N] or [T, 1]; no state at all -> [T, 0]."""
    if states[0] is None:
        return np.zeros((len(states), 0), np.float32)
    norms = torch.cat([s.h.norm(dim=-1) for s in states]).cpu().numpy()  # (T, N) or (T)
    return norms.reshape(len(states), -1)


def _module_records(outs: Sequence[Any]) -> dict[str, np.ndarray | None]:
    if outs[0].diagnostics is None:
        return {}
    records = [o.diagnostics for o in outs]
    return dict(
        active=_joined([d.active for d in records]),  # (1, N) each -> (T, N)
        input_attention=_joined([d.input_attention for d in records]),  # (T, N)
        communication=_joined([d.communication for d in records]),  # (T, A, N, N)
    )
