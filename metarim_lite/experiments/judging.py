"""A run trained to its end and judged on held-out levels: one line of numbers, as results.jsonl of a sweep keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..analysis.curves import SHARES, area, frames_to
from ..config import from_dict
from ..errors import Diverged
from ..runs.checkpoints import STATE
from ..runs.metrics import recorded_metrics
from ..training.banks import held_out_bank
from ..training.evaluation import Evaluation, evaluate
from ..training.trainer import Run, TrainConfig, Trainer, train
from .commands import command_of


def train_and_judge(folder: Path, progress: bool, config: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Train, from the last checkpoint on if there is one, and play the held-out levels; the line (see `_line`).

    A run that diverges is a result, too, with its sentence as `diverged`.

    Args:
        config: of the run, as a dict.
        episodes: held-out levels of each id that the finished agent plays.

    Raises:
        UserError: what `train` refuses.
        KeyboardInterrupt: it was stopped before the end.
    """
    asked = from_dict(TrainConfig, config)
    try:
        run = train(asked, folder=folder, progress=progress)
    except Diverged as error:
        lines = recorded_metrics(folder) if (folder / STATE).exists() else []
        return {"diverged": str(error)} | _line(asked, lines, None)
    if not run.finished:
        raise KeyboardInterrupt
    judged, by_level = _judge(run, episodes)
    line = _line(asked, run.metrics, judged) | {"by_level": by_level}
    return line | ({"lost": run.lost} if run.lost else {})


def _judge(run: Run, episodes: int) -> tuple[Evaluation, dict[str, float]]:
    """On all held-out levels together; and success on those of each id."""
    held_out = held_out_bank(run.config.levels, episodes, run.config.train_levels)
    judged, level = evaluate(run.agent, held_out, len(held_out)), held_out.task.cpu().numpy()
    return judged, {name: float(judged.successes[level == n].mean()) for n, name in enumerate(held_out.level_ids)}


def _before(config: TrainConfig) -> float:
    """Success of the agent as it begins, on the levels that are played while training."""
    levels = held_out_bank(config.levels, config.evaluate_episodes, config.train_levels)
    begins = Trainer(replace(config, imitate=False), levels)  # nobody trains: the agent is the same
    return evaluate(begins.agent, levels, len(levels)).success.value


def _line(config: TrainConfig, lines: list[dict[str, Any]], judged: Evaluation | None) -> dict[str, Any]:
    """What results.jsonl keeps of a run, from its lines of metrics and the last evaluation; None: it diverged.

    frames             played at the end, or when the last checkpoint was written before the run diverged
    planned            frames asked for
    success            value, low, high; of a run that diverged 0
    by_level           success on the levels of each id (not of a run that diverged)
    reward, length     the same (not of a run that diverged)
    episodes           held-out levels played at the end
    seen               share of them that are identical to a training level
    curve              `frames` and held-out `success` there: at the beginning, while training, at the end; where there
                       are some, also the share `seen` of the levels played while training
    area               mean height of that curve between 0 and `frames`; up to `planned`, for a run that diverged
    frames_to          "0.5", "0.9", "0.98" -> frames after which the curve was first that high; null: never
    updates            of each group of parameters, as far as the metrics count them
    frames_by_clock    that each clock learned from, likewise
    training_success   of the episodes between the last two reports
    lost               only where a power cut took lines of the metrics: how many; the curve lacks what they held
    threads            of torch on the CPU
    seconds            of training, evaluations apart
    """
    last = lines[-1] if lines else {"frames": 0, "seconds": 0.0}
    points = {0: _before(config)}
    points |= {line["frames"]: line["held_out_success"] for line in lines if "held_out_success" in line}
    if judged is not None:
        points[last["frames"]] = judged.success.value
    frames, success = list(points), list(points.values())
    result: dict[str, Any] = {"frames": last["frames"], "planned": config.frames}
    if judged is None:
        result |= {"success": {"value": 0.0, "low": 0.0, "high": 0.0}, "episodes": 0}
    else:
        result |= {name: getattr(judged, name)._asdict() for name in ("success", "reward", "length")}
        result |= {"episodes": judged.episodes, "seen": judged.seen}
    seen = max((line.get("held_out_seen", 0.0) for line in lines), default=0.0)
    return result | {
        "curve": {"frames": frames, "success": success} | ({"seen": seen} if seen else {}),
        "area": area(frames, success, config.frames if judged is None else None),
        "frames_to": {str(share): frames_to(frames, success, share) for share in SHARES},
        "updates": counted(last, "updates/"),
        "frames_by_clock": counted(last, "frames/"),
        "training_success": last.get("success"),
        "threads": config.threads,
        "seconds": last["seconds"],
        "frames_per_second": last["frames"] / last["seconds"] if last["seconds"] else None,
        "command": command_of(config),
    }


def counted(line: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Counters of a line of metrics whose names begin so, without that beginning."""
    return {key.removeprefix(prefix): value for key, value in line.items() if key.startswith(prefix)}
