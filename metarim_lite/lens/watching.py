"""Watch an agent learn: the training goes on in a thread, the pictures change, the kernel stays usable.

The training is that of `ml.train`, tick for tick and bit for bit: between two reports somebody looks, and looking
throws no dice and touches no parameter. So this file drives `training.Trainer`, which no other file of the lens knows.
"""

from __future__ import annotations

import base64
import copy
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import torch

from ..config import config_of, whole_number
from ..envs import LevelBank
from ..errors import UserError
from ..experiments.shipped import shipped_run
from ..files import user_path
from ..models import Agent, act
from ..runs import save_agent, shipped_agents
from ..runs.checkpoints import STATE
from ..runs.folder import run_folder
from ..runs.loop import looping
from ..runs.metrics import recorded_metrics
from ..training import Run, TrainConfig
from ..training.banks import held_out_bank, make_bank
from ..training.fitting import fitted
from ..training.trainer import Trainer, next_report
from .background import CLOSED, FAILED, FINISHED, RUNNING, Background, Budget
from .charts import row_png
from .controls import live, whole
from .learning import (
    Learning,
    episode_html,
    gradients_svg,
    modules_svg,
    sentence,
    status_html,
    success_svg,
)
from .page import styled
from .trace import Trace

LOOKS, EPISODES = 0.03, 0.02  # shares of the training's time that looks and recorded episodes may take
PANEL = {"flex": "1 1 400px", "max_width": "434px", "min_width": "0", "margin": "0"}


def watch(
    config: TrainConfig | None = None,
    *,
    earlier: Any = (),
    bank: LevelBank | None = None,
    held_out: LevelBank | None = None,
    level: int = 0,
    folder: str | Path | None = None,
) -> Watch:
    """Train in the background of a notebook, and show how it goes. Show the result as the last line of a cell.

    Example:
        >>> watching = ml.watch(ml.TrainConfig(method="meta-rim"), earlier="meta-rim-gotolocal")
        >>> watching                # pictures that change; buttons stop the training and let it go on
        >>> watching.wait().agent   # in a later cell: waits for the end

    Levels are made before it returns, which takes a minute the first time. Whoever watches a second training in the
    same kernel stops the first one, which can go on. Without a folder nothing is written to disk.

    Args:
        config: what to train and how, as for `ml.train`.
        earlier: success curves to be drawn pale behind: the name of a shipped agent, the folder of a run, a `Run`, or
            several of these.
        bank: train on these levels instead.
        held_out: levels for the evaluations of `config.evaluate_every`.
        level: which level of the bank the recorded episodes play.
        folder: where to keep the run, as `ml.train` does: what was stopped, closed or killed goes on when the same
            folder is watched again (or given to `ml.train`).

    Raises:
        UserError: as `ml.train`; a curve that there is not, a level that the bank has not.
    """
    return Watch(config_of(TrainConfig, config), earlier, bank, held_out, level, folder)


class Watch:
    """A training in the background and its pictures; see `watch`.

    Attributes:
        learning: the numbers that the pictures show.
        buttons: "stop" and "go on".
    """

    running: weakref.ReferenceType[Watch] | None = None
    """The one whose training goes on in this kernel."""
    keeping: weakref.WeakValueDictionary[Path, Watch] = weakref.WeakValueDictionary()
    """Those of this kernel that are kept in a folder."""

    def __init__(
        self,
        config: TrainConfig,
        earlier: Any,
        bank: LevelBank | None,
        held_out: LevelBank | None,
        level: int,
        folder: str | Path | None = None,
    ) -> None:
        curves = earlier_curves(earlier)
        self.folder = None if folder is None else user_path(folder)
        self._free_folder()
        self.config = config = fitted(config, self.folder)
        bank = make_bank(config.levels, range(config.train_levels), progress=True) if bank is None else bank
        self.trainer = Trainer(config, bank, fresh=self.folder is None or not (self.folder / STATE).exists())
        if config.evaluate_every and held_out is None:
            held_out = held_out_bank(config.levels, config.evaluate_episodes, bank)
        self.held_out, self.bank = held_out, bank
        evaluated = [held_out.checksum()] if config.evaluate_every and held_out is not None else []
        self._checksums = {"levels": [self.trainer.levels_seen], "held_out": evaluated}
        self.level = whole_number("level", level, at_least=0, at_most=len(bank) - 1)
        self._looked_at = self._copy()
        has_modules = self.trainer.agent.config.controller == "rim"
        self.learning = Learning(
            config.method, config.level, config.frames, has_modules, earlier=curves, folder=str(self.folder or "")
        )
        self._trouble: Exception | None = None  # in looking: the training goes on

        def seconds() -> float:
            return self.trainer.counters["seconds"]

        self._looks, self._episodes = Budget(LOOKS, seconds), Budget(EPISODES, seconds)
        self._lock, self._shown = threading.RLock(), None
        self._make_widgets()
        self.background = Background(self._next, self._changed, self._inside)
        self._take_over()
        try:
            self.background.start()
        except BaseException:
            self.close()
            raise
        if self.folder is not None:
            Watch.keeping[self.folder.resolve()] = self
        self._draw()

    @property
    def agent(self) -> Agent:
        """The trained agent; while the training goes on, or after it failed, a copy of it as it was last looked at."""
        if self.background.state in (RUNNING, FAILED):
            with self._lock:
                return copy.deepcopy(self._looked_at)
        return self.trainer.agent

    @property
    def run(self) -> Run:
        """What `ml.train` would return, as far as it has come."""
        finished = self.background.state == FINISHED
        return Run(self.config, self.agent, list(self.learning.lines), self.folder, finished)

    def stop(self) -> None:
        """Let the training stop after this tick; it can go on."""
        self.background.stop()
        self._draw_status()

    def go_on(self) -> None:
        """Let a stopped training go on."""
        self._take_over()
        self.background.go_on()
        self._draw_status()

    def _take_over(self) -> None:
        """Two trainings would share the cores: the one that is running stops."""
        former = Watch.running() if Watch.running is not None else None
        if former is not None and former is not self:
            former.stop()
        Watch.running = weakref.ref(self)

    def _free_folder(self) -> None:
        """Whoever kept a run in this folder, in this kernel, ends: the new one goes on from there."""
        former = None if self.folder is None else Watch.keeping.get(self.folder.resolve())
        if former is not None:
            former.background.close(60)

    def close(self) -> None:
        """End the training for good, and take the widget away."""
        self.background.close(60)
        for widget in (
            *self.panels.values(),
            self.episode,
            self.status,
            self.style,
            *self.buttons.values(),
            self.widget,
        ):
            widget.close()

    def wait(self) -> Watch:
        """Until the training has finished or was stopped. Interrupting the kernel meanwhile stops it.

        Raises:
            what it failed with, such as Diverged; or what went wrong in drawing it.
        """
        self.background.wait()
        if self._trouble is not None:
            raise self._trouble
        return self

    # in the thread

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """With the folder, if there is one, and with the run's number of threads."""
        with run_folder(self.folder, self.config, ("frames", "agent.kernel"), self.config.threads) as self._kept:
            self._kept.resume(self.trainer, self._checksums)
            frames = self.trainer.counters["frames"]
            self._kept.begin(frames >= self.config.frames, "agent.safetensors")
            with self._lock:
                self.learning.lines, self.learning.frames = list(self._kept.metrics), frames
                self._looked_at.load_state_dict(self.trainer.agent.state_dict())
            yield

    def _next(self) -> bool:
        """Ticks up to the next report, or until somebody wants a stop; and a look."""
        trainer, config, learning = self.trainer, self.config, self.learning
        if trainer.counters["frames"] < config.frames:  # a run that was kept may have come to its end before
            with looping(trainer, "frames", "frames", config.frames, config.method, False, self.folder) as loop:
                line = next_report(trainer, self.held_out, replace(loop, stopped=self.background.asked))
            self._kept.report(line, trainer, **self._checksums)
            with self._lock:
                learning.lines.append(line)
                learning.frames = trainer.counters["frames"]
        if learning.frames >= config.frames and self.folder is not None:
            about = {"method": config.method, "level": config.level, "train_levels": str(config.train_levels)}
            save_agent(self.folder / "agent", trainer.agent, about)
        more = learning.frames < config.frames
        try:
            if self._looks.affords() or not more:
                with self._looks.spending():
                    self._look()
                    self._draw()
            if self._episodes.affords() or not more:
                with self._episodes.spending():
                    self._play_episode()
        except Exception as error:  # a picture is no reason to end a training; `wait` raises it
            self._trouble, learning.problem = error, f"{type(error).__name__}: {error}"
        return more

    @torch.no_grad()
    def _look(self) -> None:
        """Copy the agent, and see which of its modules are active in the worlds as they stand."""
        with self._lock:
            self._looked_at.load_state_dict(self.trainer.agent.state_dict())
        player, learning = self.trainer.player, self.learning
        if learning.has_modules and hasattr(player, "observation"):  # who imitates has no worlds
            out, _ = act(self._looked_at, player.observation, player.state, player.resets, record=True)
            with self._lock:
                learning.shares_from = learning.shares_from if learning.shares else learning.frames
                learning.shares.append(out.diagnostics.active.float().mean(0).cpu().numpy())

    def _play_episode(self) -> None:
        trace = Trace.record(self._looked_at, self.bank, self.level)
        with self._lock:
            self.learning.episode, self.learning.episode_frames = trace, self.learning.frames
        self.episode.value = episode_html(self.learning)

    def _changed(self) -> None:
        """It stopped, went on, finished or failed: say so, and leave a picture for pages without a kernel."""
        error = self.background.error
        if error is not None:
            said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.learning.problem = said
        try:
            self._draw()
            if self.background.state != RUNNING and self._shown is not None:
                self._shown.update(self._bundle(), raw=True)
        except Exception as trouble:
            self._trouble = self._trouble or trouble

    # drawing

    def _make_widgets(self) -> None:
        self.status = ipywidgets.HTML(layout={"margin": "0"})
        self.panels = {name: ipywidgets.HTML(layout=PANEL) for name in ("success", "modules", "gradients")}
        self.episode = ipywidgets.HTML(layout=PANEL)
        self.buttons = {
            "stop": ipywidgets.Button(description="stop", tooltip="stop after this tick"),
            "go on": ipywidgets.Button(description="go on", tooltip="go on from here"),
        }
        self.buttons["stop"].on_click(lambda _: self.stop())
        self.buttons["go on"].on_click(lambda _: self.go_on())
        row = ipywidgets.Layout(flex_flow="row wrap", display="flex")
        self.style = ipywidgets.HTML(styled(""))
        self.widget = whole([
            self.style,
            self.status,
            ipywidgets.Box(list(self.buttons.values()), layout=row),
            ipywidgets.Box([*self.panels.values(), self.episode], layout=row),
        ])  # fmt: skip
        self.widget.observe(lambda change: change["new"] is None and self.background.close(), names="comm")
        self.episode.value = episode_html(self.learning)

    def _draw(self) -> None:
        with self._lock:
            self._draw_status()
            for name, draw in (("success", success_svg), ("modules", modules_svg), ("gradients", gradients_svg)):
                self.panels[name].value = f'<div class="metarim-room">{draw(self.learning)}</div>'

    def _draw_status(self) -> None:
        with self._lock:
            state, asked = self.background.state, self.background.asked()
            self.learning.state, self.learning.asked = state, asked
            self.buttons["stop"].disabled = asked or state != RUNNING
            self.buttons["go on"].disabled = not asked or state in (FINISHED, FAILED, CLOSED)
            self.status.value = status_html(self.learning)

    def _copy(self) -> Agent:
        """An agent of the same sizes, on the same device, that is looked into: without compiling anything."""
        agent = self.trainer.agent
        with torch.random.fork_rng(devices=[]):
            twin = Agent(replace(agent.config, kernel="fused")).to(next(agent.parameters()).device)
        twin.load_state_dict(agent.state_dict())
        return twin

    def _ipython_display_(self) -> None:
        from IPython.display import display

        self._shown = display(self._bundle(), raw=True, display_id=True)

    def _bundle(self) -> dict[str, Any]:
        """The widget where there is a kernel; elsewhere a sentence and a picture, as they are now."""
        with self._lock:
            png = row_png([draw(self.learning) for draw in (success_svg, modules_svg, gradients_svg)])
            still = {"image/png": base64.b64encode(png).decode()}
            return {"text/plain": sentence(self.learning), **live(self.widget), **still}


def earlier_curves(earlier: Any) -> dict[str, list[dict[str, Any]]]:
    """The metrics of earlier runs by name.

    Args:
        earlier: names of shipped agents, folders of runs, a `Run` or a `Watch`; one or several.

    Raises:
        UserError: something else, a name that is not shipped, a folder without a run.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in earlier if isinstance(earlier, Sequence) and not isinstance(earlier, str) else [earlier]:
        if isinstance(one, Watch):
            one = one.run
        if isinstance(one, Run):
            name, lines = one.config.method, one.metrics
        elif isinstance(one, Path) or (isinstance(one, str) and one not in shipped_agents() and Path(one).exists()):
            name, lines = Path(one).name, recorded_metrics(Path(one))
        elif isinstance(one, str):
            name, lines = one, shipped_run(one).metrics
        else:
            raise UserError(f"{one!r} has no success curve; give a shipped agent's name, a run's folder or a Run")
        same = sum(known == name or known.startswith(f"{name} (") for known in found)
        found[f"{name} ({same + 1})" if same else name] = list(lines)
    return found
