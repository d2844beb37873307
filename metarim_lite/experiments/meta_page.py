"""The study of fast and slow as one HTML page, for somebody who knows neither paper.

    metarim report study                    what is shipped
    metarim report study runs/study-meta    what a folder holds

All numbers and verdicts are those of `meta_shipped.report`; here they get a picture, and sentences around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from ..analysis.plots import curves_in_panels
from ..analysis.verdicts import NOT_SUPPORTED, RULES, SUPPORTED, UNDECIDED
from ..errors import UserError
from ..models import Agent, AgentConfig
from ..models.controller import count_parameters
from .claims import BOUND, CLAIMS, MEASURES, Claim, rules_digest
from .conditions import CONDITIONS, HELD_OUT, SETTINGS, TUNING_SEEDS, WORLDS, afterwards
from .meta_plan import Tuning
from .meta_shipped import about_rows, compact, curves_by_setting, interval_in_words, judged, tables_of_condition
from .studies import shipped_study
from .study_settings import STUDIES

Line = dict[str, Any]
MARKS = {SUPPORTED: "✔", NOT_SUPPORTED: "✘", UNDECIDED: "?"}
REACH = 0.4  # of the axis of differences, to both sides; longer intervals are cut, their numbers are not
STYLE = """
:root{color-scheme:light dark;--ink:#1B1F24;--quiet:#57606A;--paper:#fff;--line:#D0D7DE;--band:#0072B21A}
@media(prefers-color-scheme:dark){:root{--ink:#E6E9EC;--quiet:#A8B1BA;--paper:#1B1F24;--line:#444C56;--band:#56B4E92E}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;margin:0 auto;
padding:12px 16px 60px}h1{line-height:1.2}h2{margin-top:2em;line-height:1.25}code{font-size:13px;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px}td,th{text-align:left;padding:4px 10px 4px 0;
border-bottom:1px solid var(--line);vertical-align:top}.quiet{color:var(--quiet);font-size:14px}
.figure svg{width:100%;height:auto;background:#fff;border-radius:8px}svg.interval{width:200px;height:22px;flex:none}
.pair{display:flex;flex-wrap:wrap;gap:2px 14px;align-items:center;padding:5px 0;border-bottom:1px solid var(--line)}
.pair>b{flex:1 1 230px}.pair>span{flex:1 1 230px;font-size:14px}summary{cursor:pointer}
"""
INTRODUCTION = """
<p>An agent sees a small part of a grid world, reads a mission such as <i>put the red ball next to the box</i>, and
has to remember what it saw. Its memory can be one large recurrent network (here an <b>LSTM</b>), or six small ones
that compete for the input, of which four are active at each step: <b>recurrent independent mechanisms</b> (RIM; Goyal
et al., arXiv 1909.10893). <b>Meta-RIM</b> (Madan et al., arXiv 2105.08710) lets the modules of a RIM learn fast,
from short pieces of experience, and the attention that selects them slowly, from long ones. The papers say that each
step of this ladder helps. This study asks when that is so, and which part of the change does it.</p>
<p>What would count as <i>yes</i> was written down before the first run: what is compared, by which number, and how
large a difference has to be. A verdict is <b>✔ supported</b>, <b>✘ not supported</b>, or <b>? undecided</b>, which
says that the runs there are cannot tell; it is not a polite <i>no</i>.</p>
"""
HOW_TO_READ = f"""
<p>A <b>setting</b> is a way to build and train an agent. All settings play the same levels for as many frames; then
they are judged on {HELD_OUT:,} levels of each task that nobody trained on. Each line below is one difference
between two settings. The dot is the difference of the interquartile means over runs (the mean without the best and the
worst quarter), the bar its 95 % interval by a bootstrap over runs. Right of the middle, the first setting is better.
The shaded band, ±{BOUND}, holds the differences that are too small to matter. What is compared is one number of each
run:</p><ul>{"".join(f"<li><b>{escape(name)}</b>: {escape(of.about)}</li>" for name, of in MEASURES.items())}</ul>
"""
LIMITATIONS = (
    "Small worlds and a few million frames. The papers train longer, in larger levels. What is not seen here may be "
    "there.",
    "What the papers leave open (how often each clock ticks, for how long a slow span lasts, several sizes) was "
    "chosen by us. Another choice may give another answer; claim 12 looks at two of them.",
    "A search of rates, where one was made, is small: three or nine tries, on two seeds. A method that needs another "
    "rate than those that were tried is judged too hard.",
    "Seeds are few. An interval over five to thirteen runs is itself uncertain, and the bootstrap makes it somewhat "
    "too narrow.",
    "Many comparisons are made, each at 95 %. Of thirty in which nothing differs, one or two will seem to.",
    "Our RIM learns the mix slower than an LSTM, for a reason that was not found (metarim_lite.experiments.search "
    "tells what was tried). A comparison between a RIM and an LSTM says as much about that as about modules.",
    "Claim 8 was supported by the seeds that were planned, 21 to 25 (Meta-RIM − RIM +.095 [.003, .241]). Made again "
    "with 31 to 35 it was not (−.008 [−.191, .148]); the tables have all ten. Two more verdicts were drawn by lot and "
    "made again with seeds 31 to 35. Claim 10, that the modules of a Meta-RIM specialise, is supported again (.131 "
    "[.069, .161], planned seeds .159 [.109, .209]). Claim 3, not supported by Meta-RIM − a low rate, −.080 [−.175, "
    ".014], is undecided by the new seeds alone (+.015 [−.151, .124]) and not supported by all of them. The other "
    "verdicts were not checked so: one that hangs on a limit near 0 may go the way of claim 8.",
    "The first line of claim 12 was supported for some hours. It was undecided with the planned seeds (+.098 [−.004, "
    ".198]); five more runs of Meta-RIM, made for claims 3 and 10, moved it; with as many of the other side it hung on "
    "a limit of .004; two more of Meta-RIM, made for claims 1 to 6, and it is undecided again. In pairs of one seed "
    "Meta-RIM is ahead in ten of ten.",
    "In shift, the area counts where an agent begins and not only how fast it learns: over the fifteen runs, who has "
    "more success before has the larger area (correlation .94); agents that did not learn the old tasks count, too.",
    "Claim 8 asks that an agent which forgets less be no worse in the end. That lets one through which learnt less "
    "and lost less. This was seen when the numbers were in; the rule was left as it was.",
    "The rules compare sets of runs, though runs of one seed share levels, dice and, of two RIMs, all first "
    "parameters. Compared in pairs, differences are often narrower; that is no verdict of this study. Of three "
    "sentences that pairs of five seeds suggested, fresh seeds kept one (lesson 07).",
    "On a GPU there are more worlds, so fewer updates of as many frames, on larger batches. Runs of the two devices "
    "are never averaged together, and a verdict on one of them need not hold on the other.",
)


def study_page(rows: Sequence[Line], tunings: dict[str, Tuning] | None = None) -> str:
    """The page as HTML, without a file beside it.

    Args:
        rows: of the study: shipped ones, or lines of a folder's results.
        tunings: as of `meta_shipped.judged`.
    """
    lines = judged(rows, tunings)
    kept = [compact(row) for row in rows if row["seed"] not in TUNING_SEEDS]
    parts = [
        "<h1>When do fast modules and slow attention help?</h1>",
        INTRODUCTION,
        f"<p>{escape(about_rows(rows))}</p>",
        "<h2>The claims and what became of them</h2>",
        _overview(lines),
        "<h2>How to read the rest</h2>",
        HOW_TO_READ,
        *(_claim(claim, [line for line in lines if line["claim"] == claim.number]) for claim in CLAIMS),
        *_conditions(kept),
        "<h2>Sequence tasks: the tables of the RIM paper, made again</h2>",
        *(_sequence_study(name) for name in STUDIES),
        "<h2>What this study cannot say</h2>",
        "<ul>" + "".join(f"<li>{escape(words)}</li>" for words in (*_of_these_runs(kept), *LIMITATIONS)) + "</ul>",
        "<h2>Make it again</h2>",
        "<p><code>metarim study meta --tune</code>, then <code>metarim study meta</code>; either goes on where it was "
        f"stopped. Below each claim stands the command for its runs alone. Rules {rules_digest()}.</p>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    title = "<title>When do fast modules and slow attention help?</title>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}{title}<style>{STYLE}</style></head>\n<body>\n' + (
        "\n".join(parts) + "\n</body></html>\n"
    )


def _overview(lines: Sequence[Line]) -> str:
    rows = []
    for claim in CLAIMS:
        verdicts = dict.fromkeys(
            (line["condition"], line["device"], line["claim_verdict"])
            for line in lines
            if line["claim"] == claim.number
        )
        words = "<br>".join(f"{_marked(v)} <span class=quiet>in {_where(on, d)}</span>" for on, d, v in verdicts)
        rows.append(f'<tr><td><a href="#claim{claim.number}">{claim.number}</a></td>'
                    f"<td>{escape(claim.sentence)}</td><td>{words}</td></tr>")  # fmt: skip
    return f'<div class="wide"><table><tr><th></th><th>claim</th><th>verdict</th></tr>{"".join(rows)}</table></div>'


def _where(condition: str, device: str | None) -> str:
    return escape(condition + (f", on {device}" if device else ""))


def _marked(verdict: str) -> str:
    return f"<b>{MARKS[verdict.split(':')[0]]}</b> {escape(verdict)}"


def _claim(claim: Claim, lines: Sequence[Line]) -> str:
    pairs, without = [], []
    for line in lines:
        what = f"{_where(line['condition'], line['device'])}, by {escape(line['measure'])}"
        if line["effect"] is None:
            without.append(f"{escape(line['comparison'])} ({what})")
            continue
        words = f"{escape(interval_in_words(line))} · {_runs(line)}<br>{_marked(line['verdict'])}"
        name = f"<b>{escape(line['comparison'])} <span class=quiet>{what}</span></b>"
        pairs.append(f'<div class="pair">{name}{interval_svg(line)}<span>{words}</span></div>')
    if without:
        pairs.append(f"<p class=quiet><b>?</b> Undecided, for want of runs: {'; '.join(without)}.</p>")
    rules = dict.fromkeys((c.measure, c.rule, c.smallest) for c in claim.comparisons)
    words = [
        f"<li>{escape(f'{m}: {MEASURES[m].about}. {RULES[rule].format(smallest=x)}')}</li>" for m, rule, x in rules
    ]
    commands = [f"<li><code>{escape(command)}</code></li>" for command in dict.fromkeys(x["command"] for x in lines)]
    return "\n".join([
        f'<h2 id="claim{claim.number}">{claim.number}. {escape(claim.sentence)}</h2>', *pairs,
        f"<details><summary class=quiet>the rule, and the commands that make these runs</summary><ul class=quiet>"
        f"{''.join(words)}{''.join(commands)}</ul></details>",
    ])  # fmt: skip


def _runs(line: Line) -> str:
    counts = list(line["runs"].values())
    words = f"{counts[0]} runs of each" if len(set(counts)) == 1 else f"{' and '.join(map(str, counts))} runs"
    return f"{words}, {line['frames']:,} frames"


def interval_svg(line: Line) -> str:
    """The difference of a line of `claims.judge` as a dot with a bar, between -REACH and REACH."""

    def x(value: float) -> float:
        return round(100 + 96 * float(np.clip(value, -REACH, REACH)) / REACH, 1)

    label = escape(f"{line['comparison']}: {interval_in_words(line)}")
    left, right = x(line["low"]), x(line["high"])
    return (
        f'<svg class="interval" viewBox="0 0 200 22" role="img" aria-label="{label}">'
        f'<rect x="{x(-BOUND)}" width="{x(BOUND) - x(-BOUND):.1f}" height="22" fill="var(--band)"/>'
        '<path d="M100 0V22" stroke="var(--quiet)"/>'
        f'<path d="M{left} 11H{right}" stroke="#0072B2" stroke-width="4"/>'
        f'<circle cx="{x(line["effect"])}" cy="11" r="6" fill="#D55E00"/></svg>'
    )


def _conditions(rows: Sequence[Line]) -> Iterator[str]:
    for device in dict.fromkeys(row["device"] for row in rows):
        for condition, about in CONDITIONS.items():
            here = [row for row in rows if (row["condition"], row["device"]) == (condition, device)]
            if not here:
                continue
            yield f"<h2>All runs: {_where(condition, device)}</h2><p>{escape(about.about)}</p>"
            if all("curve" in row for row in here):
                yield from _curves(curves_by_setting(here))
            yield "".join(html_of_report(tables_of_condition(condition, here)))
            names = dict.fromkeys(row["setting"] for row in here)
            known = [(name, SETTINGS[name].about) for name in names if name in SETTINGS]
            yield "<ul class=quiet>" + "".join(f"<li>{escape(n)}: {escape(words)}</li>" for n, words in known) + "</ul>"
            for name in afterwards(condition):
                if curves := curves_by_setting(here, name):
                    yield f"<h3>{escape(name)}</h3><p>{escape(CONDITIONS[name].about)}</p>"
                    yield from _curves(curves)


def _curves(curves: dict[str, list]) -> Iterator[str]:
    svg, words = curves_in_panels(curves)
    yield f'<div class="figure" role="img" aria-label="{escape(words)}">{svg}</div>'
    yield f"<p class=quiet>{escape(words)}</p>"


def _sequence_study(name: str) -> str:
    return "".join([f'<h3 id="{name}">{escape(name)}</h3>', *html_of_report(str(shipped_study(name)))])


def _of_these_runs(rows: Sequence[Line]) -> list[str]:
    """Limitations that follow from which runs there are."""
    words = []
    missing = sorted(set(CONDITIONS) - {row["condition"] for row in rows} - {n for n, c in CONDITIONS.items() if c.of})
    if missing:
        words.append(
            f"No run was made yet of: {', '.join(missing)}. Claims that need them are undecided for that reason."
        )
    untuned = sum(not row["tuned"] for row in rows)
    if untuned:
        words.append(
            f"{untuned} of {len(rows)} runs have the rates that their method comes with, and no search of their own. "
            "Those rates were found in a larger search for an LSTM, a RIM and a Meta-RIM; for others they are a guess."
        )
    sizes = (f"{count_parameters(Agent(AgentConfig(controller=name))):,} ({name})" for name in ("rim", "lstm"))
    words.append(f"Agents are small; unless a setting says otherwise, they have {' or '.join(sizes)} parameters.")
    used = dict.fromkeys(row["device"] for row in rows)
    devices = ", ".join(f"{WORLDS[d]:,} worlds on a {'GPU' if d == 'cuda' else d.upper()}" for d in used)
    return words + ([f"Runs had {devices}."] if devices else [])


def html_of_report(text: str) -> Iterator[str]:
    """Markdown as our own reports write it, paragraphs, tables and lists, as HTML.

    Raises:
        UserError: a table without its second line.
    """
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            if len(lines) < 2 or not lines[1].startswith("|---"):
                raise UserError(f"a table begins {lines[0]!r} and has no line of |--- under it")
            cells = [[escape(cell.strip()) for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
            rows = ["".join(f"<{tag}>{cell}</{tag}>" for cell in row)
                    for tag, row in zip(["th"] + ["td"] * len(cells), cells, strict=False)]  # fmt: skip
            yield f'<div class="wide"><table>{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>'
        elif all(line.startswith("- ") for line in lines):
            yield "<ul>" + "".join(f"<li>{escape(line[2:])}</li>" for line in lines) + "</ul>"
        else:
            yield f"<p>{escape(' '.join(lines))}</p>"
