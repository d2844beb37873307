"""A page that replays an episode: one file, no server, no network.

Each step is the same drawing the widgets show. Two neighbouring steps share most of their lines, so the page
stores every different line once, and a step is a list of line numbers: small, and nothing is drawn twice in two
languages.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from ..files import replace_file, user_path
from .page import STYLE, caption, last_step, picture_html


def write_replay(trace: Any, path: str | Path, beside: Any = None) -> Path:
    """Write the replay page of `trace` to `path` and return the path; `beside` is a second run, shown next to it.

    Raises UserError when the folder does not exist or cannot be written.
    """
    path = user_path(path)
    replace_file(path, replay_page(trace, beside), mend="choose a folder you may write to")
    return path


def replay_page(trace: Any, beside: Any = None) -> str:
    """The page as a string: steps 0 … T, a slider, buttons, arrow keys."""
    shown = range(last_step(trace, beside) + 1)
    lines, steps = shared_lines([picture_html(trace, t, beside) for t in shown])
    captions = [caption(trace, t, beside) for t in shown]
    return _PAGE.format(
        title=html.escape(f"Replay: {trace.mission}"),
        style=STYLE,
        first="".join(lines[i] for i in steps[0]),
        caption=html.escape(captions[0]),
        last=shown[-1],
        lines=_for_script(lines),
        steps=_for_script(steps),
        captions=_for_script(captions),
    )


def shared_lines(drawings: list[str]) -> tuple[list[str], list[list[int]]]:
    """Every different line once, and each drawing as the numbers of its lines.

    >>> shared_lines(["a\\nb", "a\\nc"])
    (['a', 'b', 'c'], [[0, 1], [0, 2]])
    """
    numbers: dict[str, int] = {}
    steps = [[numbers.setdefault(line, len(numbers)) for line in drawing.split("\n")] for drawing in drawings]
    return list(numbers), steps


def _for_script(value: object) -> str:
    """JSON that can stand inside <script>: nothing in it ends the script or starts a comment."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/").replace("<!", "\\u003c!")


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --metarim-below: 152px; }}
  * {{ box-sizing: border-box; }}
  body {{ margin: 0; padding: 12px; font: 16px/1.4 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
    background: #eef1f4; color: #1b1f24; }}
  main {{ max-width: 1240px; margin: auto; }}
  {style}
  .controls {{ display: flex; flex-wrap: wrap; gap: 8px; align-items: center; padding: 8px 0;
    position: sticky; bottom: 0; background: #eef1f4; }}
  button {{ font: inherit; min-width: 44px; min-height: 40px; padding: 4px 10px; border: 1.5px solid #59636e;
    border-radius: 8px; background: #fff; color: #1b1f24; cursor: pointer; }}
  button:hover {{ background: #e4f1f9; }}
  button:focus-visible, input:focus-visible {{ outline: 3px solid #0072b2; outline-offset: 2px; }}
  #play {{ min-width: 92px; }}
  .along {{ display: flex; flex: 1 1 240px; gap: 8px; align-items: center; min-width: 0; }}
  input[type=range] {{ flex: 1; min-width: 60px; accent-color: #0072b2; }}
  output {{ min-width: 4.5em; text-align: right; font-variant-numeric: tabular-nums; }}
  #caption {{ min-height: 2.8em; margin: 2px 0; font-size: 14px; }}
  .keys {{ color: #59636e; font-size: 13px; margin: 0; }}
  kbd {{ border: 1px solid #59636e; border-radius: 4px; padding: 0 5px; font: inherit; }}
  @media (prefers-color-scheme: dark) {{
    body, .controls {{ background: #16191d; color: #e6e9ec; }} .keys {{ color: #a8b1ba; }}
    button {{ background: #262b31; color: #e6e9ec; border-color: #a8b1ba; }} button:hover {{ background: #33414d; }}
  }}
</style>
<script>
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const dress = () => document.documentElement.classList.toggle("metarim-dark", dark.matches);
  dark.addEventListener("change", dress); dress();
</script>
</head>
<body>
<main>
<div id="picture">{first}</div>
<div class="controls">
  <button id="start" aria-label="first step" title="first step (Home)">|◀</button>
  <button id="back" aria-label="one step back" title="one step back (left arrow)">‹</button>
  <button id="play" title="play or pause (space)">▶ play</button>
  <button id="next" aria-label="one step on" title="one step on (right arrow)">›</button>
  <button id="end" aria-label="last step" title="last step (End)">▶|</button>
  <span class="along">
    <input id="slider" type="range" min="0" max="{last}" value="0" step="1" aria-label="step">
    <output id="count" for="slider">0 / {last}</output>
  </span>
</div>
<p id="caption" aria-live="polite">{caption}</p>
<p class="keys"><kbd>←</kbd> <kbd>→</kbd> one step · <kbd>space</kbd> play or pause ·
  <kbd>Home</kbd> <kbd>End</kbd> first and last step</p>
<noscript><p>This page needs JavaScript to move on; above is the first step.</p></noscript>
</main>
<script id="lines" type="application/json">{lines}</script>
<script id="steps" type="application/json">{steps}</script>
<script id="captions" type="application/json">{captions}</script>
<script>
"use strict";
const find = id => document.getElementById(id);
const lines = JSON.parse(find("lines").textContent), steps = JSON.parse(find("steps").textContent);
const captions = JSON.parse(find("captions").textContent);
const last = steps.length - 1;
let now = 0, timer = null;
function show(t) {{
  now = Math.max(0, Math.min(last, t));
  find("picture").innerHTML = steps[now].map(i => lines[i]).join("");
  find("slider").value = now;
  find("count").textContent = now + " / " + last;
  find("caption").textContent = captions[now];
}}
function pause() {{
  clearInterval(timer); timer = null;
  find("play").textContent = "▶ play"; find("caption").setAttribute("aria-live", "polite");
}}
function play() {{
  if (now === last) show(0);
  find("play").textContent = "⏸ pause"; find("caption").setAttribute("aria-live", "off");
  timer = setInterval(() => {{ if (now === last) pause(); else show(now + 1); }}, 700);
}}
function go(t) {{ pause(); show(t); }}
find("start").onclick = () => go(0);
find("back").onclick = () => go(now - 1);
find("play").onclick = () => timer ? pause() : play();
find("next").onclick = () => go(now + 1);
find("end").onclick = () => go(last);
find("slider").oninput = event => go(Number(event.target.value));
addEventListener("keydown", event => {{
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const moves = {{ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last}};
  if (event.key in moves) {{ event.preventDefault(); go(moves[event.key]); }}
  else if (event.key === " " && event.target.tagName !== "BUTTON") {{ event.preventDefault(); find("play").click(); }}
}});
</script>
</body>
</html>
"""
