"""The drawings as HTML: the one that fits the place it is shown in, one run or two, in light and in dark.

Which form of a step is seen is decided where it is seen, by the width of its place: both are there, one is hidden.
In a dark theme each colour of a drawing has another one (`DARK`), by a style that overrides what the elements say.
"""

from __future__ import annotations

from html import escape
from typing import Any

from .drawing import describe, step_svg
from .svg import (
    BLUE,
    BLUE_TINT,
    BORDER,
    FAINT,
    GREEN,
    GREEN_TINT,
    GREY_TINT,
    INK,
    PAPER,
    QUIET,
    RED_TINT,
    VERMILLION,
    XMLNS,
)  # fmt: skip

# What becomes of each colour of a drawing in a dark theme. The world's picture stays as it is.
DARK = {
    INK: "#E6E9EC", QUIET: "#A8B1BA", FAINT: "#4A525B", PAPER: "#1B1F24", BORDER: "#343B43", BLUE: "#56B4E9",
    GREEN: "#2EC49A", VERMILLION: "#FF7466", BLUE_TINT: "#14303F", GREEN_TINT: "#123A2F", GREY_TINT: "#262B31",
    RED_TINT: "#43291B",
}  # fmt: skip
_DARK_PAGE = ":is(body[data-jp-theme-light=false],body.vscode-dark,html[theme=dark],.metarim-dark)"
_IN_THE_DARK = f"{_DARK_PAGE} .metarim-room"
_PROBLEM = "#B3261E"  # 6.5:1 on white
_ROOM = "max-height:max(340px,calc(100vh - var(--metarim-below,316px)))"
STYLE = (
    ".metarim-room{container-type:inline-size}.metarim-room svg{display:block;margin:auto}"
    f".metarim-wide svg{{{_ROOM}}}.metarim-narrow{{display:none}}"
    ".metarim-pair{display:flex;flex-wrap:wrap;gap:6px;justify-content:center}"
    ".metarim-pair>div{flex:1 1 380px;min-width:0;max-width:600px}"
    "@container(max-width:640px){.metarim-wide{display:none}.metarim-narrow{display:block}}"
    f".metarim-panel{{--ink:{INK};--quiet:{QUIET};--paper:{PAPER};--tint:{BLUE_TINT};--edge:{BLUE};"
    "background:var(--paper);color:var(--ink);line-height:1.35;border:1px solid #8a939c55;border-radius:12px;"
    "padding:10px 16px;max-width:1080px}.metarim-panel svg{max-height:330px}"
    ".metarim-mission{font-size:19px;font-weight:650}.metarim-sights{display:flex;flex-wrap:wrap;gap:2px 16px}"
    ".metarim-sight{flex:1 1 200px;max-width:330px;min-width:0}.metarim-sight img{width:100%}"
    ".metarim-keyboard,.metarim-field{container-type:inline-size}.metarim-fold{display:none}"
    ".metarim-fields{display:flex;flex-wrap:wrap;gap:8px}"
    ".metarim-fields>div{flex:1 1 300px;max-width:440px;min-width:0}"
    ".metarim-keys{font-size:13px;line-height:1.4;padding:1px 8px;border:1px dashed #8a939c;border-radius:6px}"
    "@container(max-width:640px){.metarim-wordy{display:none}.metarim-fold{display:block}.metarim-mission{font-size:17px}"
    ".metarim-fields svg{max-height:max(220px,calc((100vh - 330px)/2))}"
    ".metarim-sight{flex:1 1 110px;max-width:170px;margin:0 auto}"
    ".metarim-view{order:-1;flex:0 0 100%;max-width:100%}.metarim-view svg{max-width:236px!important}"
    ".metarim-view .metarim-quiet{max-width:236px;margin:2px auto 4px}.metarim-status{font-size:14px;padding:3px 10px}}"
    ".metarim-quiet{font-size:13px;color:var(--quiet);margin:2px 0 4px}"
    ".metarim-status{font-size:16px;font-weight:650;margin:4px 0 0;padding:5px 12px;border-radius:6px;"
    "background:var(--tint);border-left:5px solid var(--edge)}"
    f".metarim-good{{--tint:{GREEN_TINT};--edge:{GREEN}}}.metarim-alarm{{--tint:{RED_TINT};--edge:{VERMILLION}}}"
    f".metarim-still{{--tint:{GREY_TINT};--edge:{QUIET}}}"
    f".metarim-problem{{color:{_PROBLEM};font-weight:650}}{_DARK_PAGE} .metarim-problem{{color:{DARK[VERMILLION]}}}"
    f"{_IN_THE_DARK} .metarim-still{{--tint:{DARK[GREY_TINT]};--edge:{DARK[QUIET]}}}"
    f"{_IN_THE_DARK}.metarim-panel{{--ink:{DARK[INK]};--quiet:{DARK[QUIET]};--paper:{DARK[PAPER]}}}"
    f"{_IN_THE_DARK} .metarim-plain{{--tint:{DARK[BLUE_TINT]};--edge:{DARK[BLUE]}}}"
    f"{_IN_THE_DARK} .metarim-good{{--tint:{DARK[GREEN_TINT]};--edge:{DARK[GREEN]}}}"
    f"{_IN_THE_DARK} .metarim-alarm{{--tint:{DARK[RED_TINT]};--edge:{DARK[VERMILLION]}}}"
    + "".join(
        f'{_IN_THE_DARK} [{kind}="{light}"]{{{kind}:{dark}}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
)


def picture_html(trace: Any, t: int, beside: Any = None) -> str:
    """Step t of a trace as HTML; with `beside`, step t of another trace next to it, which stays at its end when it is
    the shorter one. t is 0 … `last_step(trace, beside)`."""
    if beside is None:
        drawn = _both(trace, t, "wide", "narrow")
    else:
        halves = [_both(one, min(t, one.num_steps), "half", "brief") for one in (trace, beside)]
        drawn = [
            '<div class="metarim-pair">',
            *(line for half in halves for line in ("<div>", *half, "</div>")),
            "</div>",
        ]
    return "\n".join(['<div class="metarim-room">', *drawn, "</div>"]).replace(XMLNS, "")


def _both(trace: Any, t: int, wide: str, narrow: str) -> list[str]:
    """The step in a form for wide places and in one for narrow ones."""
    forms = (("wide", wide), ("narrow", narrow))
    drawn = ((kind, step_svg(trace, t, form=form)) for kind, form in forms)
    return [line for kind, svg in drawn for line in (f'<div class="metarim-{kind}">', svg, "</div>")]


def last_step(trace: Any, beside: Any = None) -> int:
    """The last step there is to see: T, of the longer run where there are two."""
    return trace.num_steps if beside is None else max(trace.num_steps, beside.num_steps)


def caption(trace: Any, t: int, beside: Any = None) -> str:
    """What `picture_html` shows, as sentences."""
    if beside is None:
        return describe(trace, t)
    left, right = (describe(one, min(t, one.num_steps)) for one in (trace, beside))
    return f"Left ({trace.controller}): {left} Right ({beside.controller}): {right}"


def styled(content: str) -> str:
    """`content` with the styles that its classes need."""
    return f"<style>{STYLE}</style>{content}"


def sentence_html(words: str, alarm: bool = False) -> str:
    """One sentence under a drawing; `alarm`: something went wrong, or could not be done."""
    role = ' role="alert" class="metarim-problem"' if alarm else ""
    return f'<p{role} style="font-size:14px;line-height:1.35;margin:0">{escape(words)}</p>'
