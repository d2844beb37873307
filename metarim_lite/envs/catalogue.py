"""Which of minigrid's registered levels are supported, and why the others are not."""

from __future__ import annotations

import functools
import os

from ..errors import UserError, unknown

REFUSED = {
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
    return next((reason for prefix, reason in REFUSED.items() if level_id.startswith(prefix)), None)


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
            (with the reason); BABYAI_DONE_ACTIONS is set.
    """
    if os.environ.get("BABYAI_DONE_ACTIONS"):
        raise UserError("BABYAI_DONE_ACTIONS is set, which changes when minigrid's missions succeed; unset it")
    if level_id not in registered():
        raise unknown("level", level_id, supported())
    if reason := refusal(level_id):
        raise UserError(f"level {level_id!r} is not supported: {reason}; see metarim_lite.envs.supported()")
