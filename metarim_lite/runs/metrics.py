"""The lines of metrics.jsonl, read back; what each key of a line means stands in folder.py.

A line is on the disk before the checkpoint that counts it, and `state.json` holds, beside the number of `lines` that
it counts, the last `line` itself. So of the two files one may be older than the other, after a kill, a full disk or a
power cut, and the run goes on all the same:

    more lines than the checkpoint counts   they belong to work that was lost, and are cut off
    the last one is missing, or torn        it is taken from the checkpoint
    more are missing                        the run goes on without them, which is said once

`lines` is always the number of lines there are; the counter `reports` is the number of reports that were made. The two
differ by the lines that were lost.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_file, replace_file, user_path, write_json

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
DIVERGED = "diverged.json"
Line = dict[str, Any]


def record_divergence(folder: Path, where: str, told: str) -> None:
    """Leave in a run's folder that it diverged, for whoever reads its metrics later. A run that goes on takes it away.

    Args:
        where: such as "12,800 frames".
        told: the sentence that says so.
    """
    write_json(folder / DIVERGED, {"at": where, "told": told})


def recorded_divergence(folder: Path) -> str:
    """Where a run diverged, such as "12,800 frames"; "": it did not, or goes on.

    Raises:
        UserError: diverged.json is damaged.
    """
    path = folder / DIVERGED
    try:
        return str(json.loads(read_file(path))["at"])
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{str(path)!r} is damaged; delete it and start the run again") from None


def recorded_metrics(folder: Path) -> list[Line]:
    """The lines of a run's metrics.jsonl, as they are now, while it goes on or after. One that diverged may have none.

    Raises:
        UserError: the folder holds no run, or one without a report yet.
    """
    folder = user_path(folder)
    if recorded_divergence(folder) and not (folder / METRICS).is_file():
        return []
    path = folder / METRICS
    if not path.is_file():
        raise UserError(f"{str(folder)!r} holds no run with a report; name folders that metarim train made")
    found = read_file(path).split(b"\n")[:-1]  # a last line without its end is still being written
    lines = [line for text in found if (line := _line(path, text)) is not None]
    if len(lines) < len(found):
        raise _damaged(path)
    if not lines:
        raise UserError(f"the run in {str(folder)!r} has not reported yet; wait for its first report")
    return lines


def read_metrics(folder: Path, count: int, last: Line | None) -> list[Line]:
    """The first `count` lines of metrics.jsonl, as far as they are there; the file then holds these alone.

    Args:
        count: how many lines the checkpoint counts.
        last: the last of them, where the checkpoint has it.

    Raises:
        UserError: a line is not one of metrics, though whole lines follow it.
    """
    path = folder / METRICS
    found = [_line(path, text) for text in (read_file(path) if path.exists() else b"").split(b"\n")[:count]]
    have = found.index(None) if None in found else len(found)
    if any(line is not None for line in found[have:]):
        raise _damaged(path)
    lines = [line for line in found[:have] if line is not None]
    if have < count:
        spared = last is not None and json.dumps(last) not in map(json.dumps, lines[-1:])
        lines += [last] if spared else []
        without = "the run goes on without them" + ", but for the last, which the checkpoint has" * spared
        what = "it is taken from the checkpoint" if have + spared == count else without
        log.warning("%s lacked lines %d to %d, which the checkpoint counts: %s", path, have + 1, count, what)
    replace_file(path, "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def _line(path: Path, text: bytes) -> Line | None:
    """A line of metrics; None: it is not whole.

    Raises:
        UserError: it is whole, and none of metrics.
    """
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict):
        raise _damaged(path)
    return line


def _damaged(path: Path) -> UserError:
    return UserError(f"{str(path)!r} is damaged (not lines of JSON); start the run in a new folder")
