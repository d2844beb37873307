"""What README.md says that is known elsewhere: launch links, lessons, results, how to cite. `metarim build` writes it
between marks that are there already:

    <!-- lessons: by metarim build -->
    ...
    <!-- /lessons -->
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from ..experiments.claims import CLAIMS, LEAST_RUNS, MEASURES
from ..experiments.conditions import CONDITIONS, training_condition
from ..experiments.meta_shipped import HEADING, judged, row_of_claim, shipped_rows
from ..experiments.shipped import shipped_run
from ..experiments.studies import shipped_study
from ..files import read_text
from ..runs import shipped_agents
from .launch import home, launch_links

STUDIES = ("copying", "adding", "bouncing-balls", "digits")


def written(root: Path) -> str | None:
    """README.md as a build writes it; None where there is none.

    Raises:
        UserError: the address in pyproject.toml is none.
    """
    try:
        text = read_text(root / "README.md")
    except FileNotFoundError:
        return None
    parts: dict[str, Callable[[Path], str]] = {"launch": launch, "lessons": lessons, "results": results, "cite": cite}
    for name, part in parts.items():
        begin, end = f"<!-- {name}: by metarim build -->\n", f"<!-- /{name} -->"
        if begin in text and end in text:
            before, rest = text.split(begin, 1)
            content = part(root)
            text = before + begin + (content + "\n" if content else "") + end + rest.split(end, 1)[1]
    return text


def launch(root: Path) -> str:
    """Links that launch the first lesson, if the repository has an address."""
    lessons = sorted((root / "notebooks" / "_source").glob("*.py"))
    return launch_links(home(root).address, f"notebooks/{lessons[0].stem}.ipynb") if lessons else ""


def lessons(root: Path) -> str:
    """A table of the lessons, each with the question it answers, as its first cell puts it."""
    lines = ["| lesson | question | exercises |", "|---|---|---|"]
    for source in sorted((root / "notebooks" / "_source").glob("*.py")):
        first = read_text(source).split("# %%")[1]
        title = re.search(r"^# # (.+)$", first, re.MULTILINE)
        question = re.search(r"\*\*(.+?)\*\*", first.replace("\n# ", " "))
        has_exercises = (root / "solutions" / "_source" / source.name).is_file()
        exercises = f"[exercises](exercises/{source.stem}.ipynb)" if has_exercises else ""
        named = f"[{title[1] if title else source.stem}](notebooks/{source.stem}.ipynb)"
        lines.append(f"| {named} | {question[1] if question else ''} | {exercises} |")
    return "\n".join(lines)


def results(root: Path) -> str:
    """What came out for us: shipped agents, the RIM paper's sequence tasks, and the study of fast and slow."""
    return "\n\n".join([_agents(), _sequences(), _study()])


def _agents() -> str:
    lines = ["| agent that comes with the package | success on levels it never met | made by |", "|---|---|---|"]
    for name in shipped_agents():
        run = shipped_run(name)
        found = run.held_out
        success = f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}], {found['episodes']:,} levels"
        lines.append(f"| `{name}` | {success} | `{run.command}` |")
    return "\n".join([*lines, "", "95 % intervals over levels. One run each: this compares no methods."])


def _sequences() -> str:
    lines = ["| sequence task | measured | RIM | LSTM of the table |", "|---|---|---|---|"]
    for name in STUDIES:
        table = shipped_study(name)
        rim, lstm = (next(row for row in table.rows if row.setting.startswith(kind)) for kind in ("RIM", "LSTM"))
        for split in (list(rim.tests)[0], [s for s in rim.tests if "curtain" not in s][-1]):
            numbers = (
                f"{fmean(of):.3f} [{min(of):.3f}, {max(of):.3f}]" for of in (rim.tests[split], lstm.tests[split])
            )
            lines.append(f"| {name}, {split} | {table.metric} | {' | '.join(numbers)} |")
    about = (
        "Means of three seeds [lowest, highest]; the first line of each task is as in training, the second is farthest "
        "from it. Whole tables, with the paper's numbers, what was tried and what is not known: "
        "`metarim study copying --shipped`, and so on; without `--shipped` they are made again, which takes hours."
    )
    return "\n".join([*lines, "", about])


def _study() -> str:
    """Where the study of fast and slow stands: the comparisons for which there are enough runs."""
    lines = [
        "Do fast modules and slow attention help? A study asks that by rules that were written before its first run. "
        "`metarim study meta --shipped` prints all its claims with their rules, `metarim report study` writes a page.",
        "",
    ]
    rows = shipped_rows()
    decided = [line for line in judged(rows) if line["seeds"] >= LEAST_RUNS]
    if not decided:
        return "\n".join([*lines, "It has no runs yet, so all is undecided."])
    lines += [*HEADING, *map(row_of_claim, decided)]
    waiting = sorted({claim.number for claim in CLAIMS} - {line["claim"] for line in decided})
    left = f" Too few runs for a verdict: {', '.join(f'claim {number}' for number in waiting)}." if waiting else ""
    used = dict.fromkeys(line["measure"] for line in decided)
    numbers = "; ".join(f"*{name.replace('_', ' ')}*, {MEASURES[name].about}" for name in used)
    here = dict.fromkeys(line["condition"] for line in decided)
    places = dict.fromkeys(name for place in here for name in (training_condition(place), place))
    where = " ".join(f"*{name}*: {CONDITIONS[name].about}" for name in places)
    runs = f"{len(rows)} runs so far; 95 % intervals over seeds.{left}"
    beside = "What is to be said against these verdicts stands on the page of `metarim report study`: three verdicts "
    beside += "were made again with other seeds; one was given again (claim 10), one taken back (claim 8), one the new "
    beside += "seeds alone left open (claim 3)."
    return "\n".join([*lines, "", runs, "", f"Where: {where} The numbers: {numbers}.", "", beside])


def cite(root: Path) -> str:
    """An entry for a bibliography, with the version, and the address if there is one."""
    place = home(root)
    lines = [
        "@software{metarim_lite,",
        "  title = {metarim-lite: recurrent independent mechanisms that learn fast and slow},",
    ]
    lines += [f"  version = {{{place.version}}},"] + ([f"  url = {{{place.address}}},"] if place.address else [])
    return "\n".join(["```bibtex", *lines, "}", "```"])
