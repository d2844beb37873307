"""Runs beside each other: a table of what their lines of metrics say. Pure functions of recorded lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from .statistics import wilson

Lines = Sequence[dict[str, Any]]


def report_table(runs: dict[str, Lines], diverged: Mapping[str, str] | None = None) -> str:
    """A Markdown table with a row for each run.

    Success and reward are those of the episodes in the last tenth of training, success with a 95 % interval (of the
    episodes, not of seeds); of imitation the share of the bot's actions that are the agent's likeliest. `held out` is
    the last evaluation on held-out levels, with the share `seen` of them that are identical to training levels, where
    there are some. For sequence tasks: loss and tests at the last report. Of a run that diverged all this is what was
    last reported, and the first column says where it diverged.

    Args:
        runs: name -> the lines of its metrics.jsonl; none where it diverged before its first report.
        diverged: name -> where it diverged, such as "12,800 frames".

    Raises:
        UserError: no runs, or agents and sequence tasks at once.
    """
    row_of = _agent_row if of_agents(runs) else _sequence_row
    rows = [row_of(name, lines) if lines else {"run": name} for name, lines in runs.items()]
    for row in rows:
        where = (diverged or {}).get(row["run"])
        row["run"] += f" (diverged at {where})" if where else ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [columns, ["---"] * len(columns), *([row.get(column, "") for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


def of_agents(runs: dict[str, Lines]) -> bool:
    """Whether these are runs of agents; False: of sequence tasks. Runs without lines count as neither.

    Raises:
        UserError: no runs, or both at once.
    """
    kinds = {"frames" in lines[-1] for lines in runs.values() if lines}
    if not kinds and runs:
        return True
    if len(kinds) != 1:
        raise UserError(
            "the runs are of agents and of sequence tasks; report on them apart" if kinds else "no run to report on"
        )
    return kinds.pop()


def _agent_row(name: str, lines: Lines) -> dict[str, str]:
    end, last = lines[-1], [line for line in lines if line["frames"] > 0.9 * lines[-1]["frames"]]
    last = [line for line in last if line["episodes"]]
    episodes = sum(line["episodes"] for line in last)
    row = {"run": name, "frames": f"{end['frames']:,}"}
    if episodes:
        solved = sum(round(line["success"] * line["episodes"]) for line in last)
        reward = sum(line["reward"] * line["episodes"] for line in last) / episodes
        row |= {"success": str(wilson(solved, episodes)), "reward": f"{reward:.3f}"}
    ended: dict[str, int] = {}
    won: dict[str, float] = {}
    for line in last:
        for key in (key for key in line if key.startswith("episodes/")):
            kind, count = key.removeprefix("episodes/"), line[key]
            ended[kind] = ended.get(kind, 0) + count
            won[kind] = won.get(kind, 0) + line[f"success/{kind}"] * count
    row |= {kind: f"{won[kind] / count:.3f}" for kind, count in ended.items()}
    held_out = [line for line in lines if "held_out_success" in line]
    if held_out:
        seen = held_out[-1].get("held_out_seen")
        row["held out"] = f"{held_out[-1]['held_out_success']:.3f}" + (f" ({seen:.1%} seen)" if seen else "")
    for ending, column, digits in (("/accuracy", "acts as the bot", 3), ("/entropy", "entropy", 2)):
        values = [value for key, value in end.items() if key.endswith(ending)]
        if values:
            row[column] = f"{values[0]:.{digits}f}"
    return row | {"frames/s": f"{end['frames'] / end['seconds']:,.0f}", "hours": f"{end['seconds'] / 3600:.2f}"}


def _sequence_row(name: str, lines: Lines) -> dict[str, str]:
    end = lines[-1]
    tests = {key.removeprefix("test/"): f"{value:.3f}" for key, value in end.items() if key.startswith("test/")}
    row = {"run": name, "updates": f"{end['update']:,}", "loss": f"{end['loss']:.4f}"} | tests
    return row | {"updates/s": f"{end['update'] / end['seconds']:,.1f}", "hours": f"{end['seconds'] / 3600:.2f}"}
