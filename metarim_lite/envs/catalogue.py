"""Which of minigrid's registered levels are supported, why the others are not, and what to know about each."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..errors import UserError, unknown

_REFUSED = {
    "MiniGrid-Dynamic-Obstacles": "its obstacles move by themselves, with random numbers drawn at every step",
    "MiniGrid-WFC": "it is made by wave function collapse, which needs packages that minigrid does not install",
}


@functools.cache
def registered() -> tuple[str, ...]:
    """Every id that minigrid registers, sorted."""
    import gymnasium
    import minigrid  # noqa: F401  (importing it registers its levels)

    return tuple(sorted(i for i in gymnasium.registry if i.startswith(("BabyAI-", "MiniGrid-"))))


def refusal(level_id: str) -> str | None:
    """Why a registered level is not supported; None when it is."""
    return next((reason for prefix, reason in _REFUSED.items() if level_id.startswith(prefix)), None)


def supported(prefix: str = "") -> tuple[str, ...]:
    """The ids of the supported levels that start with `prefix`.

    >>> len(supported("BabyAI-"))
    96
    """
    return tuple(i for i in registered() if i.startswith(prefix) and refusal(i) is None)


def check_level_id(level_id: str) -> None:
    """
    Raises:
        UserError: an id that minigrid does not register (with the nearest that it does), or one that is not supported
            (with the reason).
    """
    if level_id not in registered():
        raise unknown("level", level_id, supported())
    if reason := refusal(level_id):
        raise UserError(f"level {level_id!r} is not supported: {reason}; see metarim_lite.envs.supported()")


# Where minigrid surprises, and what we do. Quirks of generation come with the levels, which minigrid makes itself;
# quirks of stepping are followed in rules.py. Each is compared with minigrid in tests/test_bots_comparison.py.
QUIRKS = (
    (
        ("BabyAI-Unlock-v0", "BabyAI-GoToImpUnlock-v0"),
        "compare numpy integers by identity, so keys may land in the locked room and some episodes cannot be solved",
        "comes with the level",
    ),
    (("BabyAI-UnlockPickup",), "72 steps, by a slip in the source", "comes with the level"),
    (("BabyAI-SynthS5R2",), "two by three rooms with 18 distractors", "comes with the level"),
    (
        ("BabyAI-SynthS5R2",),
        "with a few seeds its rooms are so full that minigrid looks for a place for the agent for ever",
        "such seeds are left out of a bank, with a warning",
    ),
    (("BabyAI-PickupDist",), "'a grey object' also describes the walls", "walls are left out: nobody can pick one up"),
    (
        ("BabyAI-PutNextS5N2Carrying", "BabyAI-PutNextS6N3Carrying", "BabyAI-PutNextS7N4Carrying"),
        "the reset observation shows the carried object on the floor; a drop in the first step cannot succeed",
        "followed: it leaves the floor at the first step, and instructions remember empty hands until then",
    ),
    (("BabyAI-OpenDoorColor",), "the target is always the right-hand door", "comes with the level"),
    (("BabyAI-GoToObjDoor",), "may succeed at the first step, whatever the action", "followed"),
    (("BabyAI-GoToRedBall",), "'go to a red ball' when a distractor is one too", "comes with the level"),
    (
        ("BabyAI-OpenDoorsOrderN2Debug", "BabyAI-OpenDoorsOrderN4Debug"),
        "in 'X, then Y' the toggle that completes X is also judged by Y, which is strict: such missions always fail",
        "followed",
    ),
    (
        ("BabyAI-GoTo", "BabyAI-Synth", "BabyAI-Boss", "BabyAI-MiniBoss"),
        "'go to D' looks where D was at the last drop action: a target picked up or destroyed counts at its old place",
        "followed",
    ),
    (("MiniGrid-Memory",), "the action pickup is read as toggle", "followed"),
    (("MiniGrid-GoToDoor", "MiniGrid-GoToObject"), "any toggle ends the episode", "followed"),
    (("MiniGrid-PutNear",), "a failed drop ends the episode as well", "followed"),
    (("MiniGrid-Playground",), "no mission and no reward", "followed"),
)


class LevelFacts(NamedTuple):
    """One row of the table of levels."""

    level: str
    size: str  # width x height in cells
    rooms: str  # columns x rows; empty where the level has no grid of rooms
    steps: str  # the step limit, or its range over the sampled seeds
    kinds: str  # instruction kinds, or what ends the episode
    quirks: tuple[str, ...]


def level_table(prefix: str = "", seeds: int = 20) -> list[LevelFacts]:
    """What every supported level is like, looked up in levels that minigrid makes with the first few seeds.

    >>> level_table("BabyAI-OneRoomS8")[0][:5]
    ('BabyAI-OneRoomS8-v0', '8x8', '1x1', '64', 'pick up')
    """
    return [_facts(level_id, seeds) for level_id in supported(prefix)]


def _facts(level_id: str, seeds: int) -> LevelFacts:
    from .generation import generate_levels, make_minigrid, stack_levels
    from .missions import KINDS

    env = make_minigrid(level_id)
    tables = stack_levels(generate_levels(level_id, range(seeds)))
    limits = tables["max_steps"]
    low, high = int(limits.min()), int(limits.max())
    used = (tables["done"] == 0) & (tables["first"] != 0)
    kinds = [KINDS[k] for k in sorted(set(tables["kind"][used].tolist()))]
    rules = {0: "reach the goal", 1: "done beside", 2: "put near", 3: "reach the match", 4: "red, then blue door"}
    endings = kinds or [rules[int(tables["rule"][0])]]
    if (tables["done"][:, 2:] == 0).any():
        endings.append("in order")
    if (tables["done"][:, (1, 3)] == 0).any():
        endings.append("and")
    if tables["strict"].any():
        endings.append("strict")
    return LevelFacts(
        level_id,
        f"{env.width}x{env.height}",
        f"{env.num_cols}x{env.num_rows}" if hasattr(env, "num_cols") else "",
        str(low) if low == high else f"{low}..{high}",
        ", ".join(endings),
        tuple(text for ids, text, _ in QUIRKS if level_id.startswith(ids)),
    )


def level_table_markdown(prefix: str = "", seeds: int = 20) -> str:
    """`level_table` and the quirks with our treatment, as two Markdown tables for the documentation."""
    lines = ["| level | size | rooms | steps | ends by |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(facts[:5]) + " |" for facts in level_table(prefix, seeds)]
    lines += ["", "| levels | quirk of minigrid | here |", "|---|---|---|"]
    lines += [f"| {', '.join(ids)} | {text} | {treatment} |" for ids, text, treatment in QUIRKS]
    lines += ["", "| not supported | reason |", "|---|---|"]
    lines += [f"| {prefix}… | {reason} |" for prefix, reason in _REFUSED.items()]
    return "\n".join(lines) + "\n"
