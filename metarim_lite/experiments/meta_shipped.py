"""What came out of the study of fast and slow: its rows, kept compactly with the package, and read as claims.

    metarim study meta --shipped            claims with their verdicts, and all settings side by side
    metarim study meta --shipped --json     one line for each comparison of each claim, see `claims.judge`

A row is a run. Its numbers are rounded once, before anything is judged by them, so that a folder and what is shipped of
it say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.comparison import comparison_table
from ..analysis.statistics import performance_profile
from ..analysis.verdicts import RULES
from ..errors import UserError
from ..files import read_text, replace_file
from .claims import CLAIMS, MEASURES, Claim, judge, rules_digest
from .conditions import CONDITIONS, SETTINGS, TUNING_SEEDS, afterwards
from .meta_plan import K_TUNED, OF_K, Tuning, read_tunings
from .shipped import DATA

Line = dict[str, Any]
SHIPPED = DATA / "meta-study.json"
DIGITS = 4
NOT_KEPT = ("run", "command", "reward", "length", "episodes", "training_success", "threads", "seconds")
HEADING = ("| claim | verdict | A − B | difference | runs | where, by which number |", "|---" * 6 + "|")
ON = {"cuda": ", on a GPU"}  # runs of a device are compared with each other only, and those of a CPU are the usual ones
ABOVE = (0.5, 0.9, 0.98)  # success at the end, in the table of shares


def compact(row: Line) -> Line:
    """What a shipped row keeps of a line of results.jsonl."""
    kept = {name: _rounded(value) for name, value in row.items() if name not in NOT_KEPT}
    if "frames_per_second" in kept:
        kept["frames_per_second"] = round(row["frames_per_second"] or 0)
    return kept


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def shipped_rows(path: Path | None = None) -> list[Line]:
    """The rows that come with the package; none where the study was not made yet.

    Raises:
        UserError: the file is damaged.
    """
    path = path or SHIPPED
    if not path.is_file():
        return []
    try:
        rows = json.loads(read_text(path))["rows"]
        [_key(row) for row in rows]
        return rows
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the table {str(path)!r} is damaged ({error}); ship the study again") from None


def ship_rows(rows: Sequence[Line], path: Path | None = None) -> list[Line]:
    """Put the runs of a folder among the rows that are shipped, each in the place of the one that it repeats.

    Where a setting has been changed since, the shipped runs of the old one go: a row mixes no two of them.

    Returns:
        All rows that are shipped now.
    """
    path = path or SHIPPED
    new = {_key(row): compact(row) for row in rows if row["seed"] not in TUNING_SEEDS}
    current = {_key(row)[:3]: row["settings"] for row in new.values()}
    kept = {
        _key(row): row
        for row in shipped_rows(path)
        if current.get(_key(row)[:3], row["settings"]) == row["settings"]
    }  # fmt: skip
    ordered = sorted((kept | new).values(), key=_place)
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in ordered)
    replace_file(path, f'{{"rules": "{rules_digest()}", "rows": [\n{text}\n]}}\n')
    return ordered


def _key(row: Line) -> tuple[str, str, str, int]:
    return row["condition"], row["setting"], row["device"], row["seed"]


def _place(row: Line) -> tuple[Any, ...]:
    condition, name, device, seed = _key(row)
    orders = [list(CONDITIONS), list(SETTINGS)]
    at = [order.index(x) if x in order else len(order) for order, x in zip(orders, (condition, name), strict=True)]
    return (*at, name, device, seed)


def judged(rows: Sequence[Line], tunings: dict[str, Tuning] | None = None) -> list[Line]:
    """The lines of `claims.judge` for these rows.

    Args:
        tunings: what was chosen for each kind of device; default: what comes with the package. The runs of the k that
            was chosen are those of "rim, k tuned" (see `meta_plan.stand_in`).
    """
    tunings = read_tunings() if tunings is None else tunings
    chosen = {(on, condition, OF_K[k]) for on, tuning in tunings.items() for condition, k in tuning.k.items()}
    kept = [compact(row) for row in rows]
    again = [row for row in kept if (row["device"], row["condition"], row["setting"]) in chosen]
    return judge([*kept, *(row | {"setting": K_TUNED} for row in again)])


def report(rows: Sequence[Line], tunings: dict[str, Tuning] | None = None) -> str:
    """Claims with their verdicts, then all settings side by side in each condition, in Markdown."""
    lines = judged(rows, tunings)
    parts = [about_rows(rows)]
    parts += [_claim(claim, [line for line in lines if line["claim"] == claim.number]) for claim in CLAIMS]
    rows = [compact(row) for row in rows if row["seed"] not in TUNING_SEEDS]
    for device in dict.fromkeys(row["device"] for row in rows):
        for condition, about in CONDITIONS.items():
            here = [row for row in rows if (row["condition"], row["device"]) == (condition, device)]
            if here:
                parts += [f"## {condition}, on {device}: {about.about}", tables_of_condition(condition, here)]
    return "\n\n".join(parts)


def about_rows(rows: Sequence[Line]) -> str:
    """One paragraph: how many runs there are, of what, and how their rates were chosen."""
    if not rows:
        return "No run of this study is shipped yet. metarim study meta makes them; below is what is claimed."
    tuned = sum(row["tuned"] for row in rows)
    rates = f"{tuned} with the rates that a search found for their method, the others with the method's own"
    trained = [name for name, condition in CONDITIONS.items() if not condition.of]
    counts = [f"{sum(row['condition'] == name for row in rows)} of {name}" for name in trained]
    words = f"{len(rows)} runs ({', '.join(counts)}), {rates}. Rules {rules_digest()}."
    others = sorted({row["rules"] for row in rows} - {rules_digest()})
    return words + (f" Some runs were made when the rules were {', '.join(others)}." if others else "")


def _claim(claim: Claim, lines: Sequence[Line]) -> str:
    table = ["| condition | device | measure | A − B | difference | runs | verdict |", "|---" * 7 + "|"]
    for line in lines:
        counts = ", ".join(map(str, dict.fromkeys(line["runs"].values())))
        cells = [
            line["condition"],
            line["device"] or "–",
            line["measure"],
            line["comparison"],
            interval_in_words(line),
            counts,
        ]
        table.append("| " + " | ".join([*cells, line["verdict"]]) + " |")
    together = dict.fromkeys((line["condition"], line["device"], line["claim_verdict"]) for line in lines)
    words = [f"{on}{f' on {device}' if device else ''}: {verdict}" for on, device, verdict in together]
    rules = dict.fromkeys((c.measure, c.rule, c.smallest) for c in claim.comparisons)
    rules = [f"- {m}, {rule}: {MEASURES[m].about}. {RULES[rule].format(smallest=x)}" for m, rule, x in rules]
    parts = [f"## {claim.number}. {claim.sentence}", "\n".join(table), "\n".join(rules)]
    return "\n\n".join([*parts, f"The claim as a whole: {'; '.join(words)}."])


def curves_by_setting(
    rows: Iterable[Line], afterwards: str = ""
) -> dict[str, list[tuple[Sequence[float], Sequence[float]]]]:
    """Setting -> of each run where held-out success was measured, and what it was; 0 from a divergence on.

    Args:
        afterwards: a condition that trained agents go through, such as "shift": the curves there, where there are any.
    """
    found: dict[str, list[tuple[Sequence[float], Sequence[float]]]] = {}
    for row in rows:
        curve = (row.get(afterwards) or {} if afterwards else row).get("curve")
        if curve is None:
            continue
        frames, success = list(curve["frames"]), list(curve["success"])
        if "diverged" in row:
            frames, success = [*frames, frames[-1] + 1, row["planned"]], [*success, 0.0, 0.0]
        found.setdefault(row["setting"], []).append((frames, success))
    return found


def interval_in_words(line: Line) -> str:
    """The difference of a line of `claims.judge` with its interval, "–" where there is none."""
    if line["effect"] is None:
        return "–"
    words = f"{line['effect']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"
    return words + (" of a gain of {:+.3f} [{:+.3f}, {:+.3f}]".format(*line["gain"]) if "gain" in line else "")


def row_of_claim(line: Line) -> str:
    """A line of `claims.judge` as a row of a Markdown table under `HEADING`."""
    where = f"{line['condition']}, {line['measure'].replace('_', ' ')}" + ON.get(line["device"], "")
    claim = f"{line['claim']} {line['name']}"
    cells = [claim, line["verdict"], line["comparison"], interval_in_words(line), line["seeds"], where]
    return "| " + " | ".join(map(str, cells)) + " |"


def tables_of_condition(condition: str, rows: Sequence[Line]) -> str:
    """All settings that were run in a condition, on one device, side by side, in Markdown."""
    return _sequence_table(rows) if CONDITIONS[condition].kind == "sequence" else _table(condition, rows)


def _table(condition: str, rows: Sequence[Line]) -> str:
    """All settings that were run in a condition, side by side, and what became of their agents."""
    lines = [row | {"method": row["setting"], "varied": {}, "level": condition} for row in rows]
    by_setting: dict[str, list[Line]] = {}
    for row in rows:
        by_setting.setdefault(row["setting"], []).append(row)
    later = afterwards(condition)
    names = ["setting", *(f"runs above {share}" for share in ABOVE), *later, "updates"]
    table = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name, own in by_setting.items():
        cells = [name, *_shares(own), *(_mean_after(other, own) for other in later), _updates(own[0])]
        table.append("| " + " | ".join(cells) + " |")
    return comparison_table(lines, next(iter(by_setting))) + "\n\n" + "\n".join(table)


def _shares(rows: Sequence[Line]) -> list[str]:
    """Performance profile of success at the end, at a few places."""
    ends = np.array([row["success"]["value"] for row in rows])
    if len(ends) < 2:
        return [f"{float(ends[0] > share):.2f}" for share in ABOVE]
    profile = performance_profile(ABOVE, ends, rng=np.random.default_rng(0))
    return [f"{share:.2f} [{low:.2f}, {high:.2f}]" for share, low, high in zip(*profile, strict=True)]


def _mean_after(condition: str, rows: Sequence[Line]) -> str:
    """Of what a condition that takes these agents says."""
    key = "area" if CONDITIONS[condition].kind == "adapt" else "mean"
    numbers = [row[condition][key] for row in rows if row.get(condition)]
    return f"{np.mean(numbers):.3f} ({len(numbers)})" if numbers else "–"


def _updates(row: Line) -> str:
    return ", ".join(f"{group} {count:,}" for group, count in row["updates"].items())


def _sequence_table(rows: Sequence[Line]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    table = ["| " + " | ".join(["setting", "runs", *names]) + " |", "|---" * (len(names) + 2) + "|"]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row["measures"] for row in rows if row["setting"] == setting]
        means = [[of[name] for of in own if name in of] for name in names]
        cells = [setting, str(len(own)), *(f"{np.mean(of):.3f}" if of else "–" for of in means)]
        table.append("| " + " | ".join(cells) + " |")
    return "\n".join([*table, "", "Means over runs; one that diverged has an average performance of 0 and no other."])
