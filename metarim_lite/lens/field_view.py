"""A widget that shows the policy field at any step of a trace."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from ..errors import UserError
from .charts import row_png
from .field import CLEARED, WITH_MEMORY, policy_field
from .field_drawing import LEGEND, field_html, panel_svg


class FieldView:
    """What the memory adds: the policy field with the memory of a step, next to that with a cleared memory.

    Example:
        >>> FieldView(agent, trace, t=10)     # the agent that played the trace

    `view.field` is the field shown; `view.go(t)` shows another step. Raises UserError as `policy_field` does.
    """

    def __init__(self, agent: Any, trace: Any, t: int = 0) -> None:
        self.agent, self.trace, self.t = agent, trace, t
        self.field = policy_field(agent, trace, t)
        self.screen = ipywidgets.HTML(layout={"margin": "0"})
        last = trace.num_steps - 1
        self.slider = ipywidgets.IntSlider(
            self.field.t, 0, last, description="step", continuous_update=False, layout={"flex": "1 1 200px"}
        )
        self.buttons = {
            "back": self._button("◀", "one step back", lambda: self.go(self.t - 1)),
            "next": self._button("▶", "one step on", lambda: self.go(self.t + 1)),
        }
        row = ipywidgets.Layout(display="flex", flex_flow="row wrap", align_items="center", max_width="888px")
        self.widget = ipywidgets.VBox([ipywidgets.HBox([*self.buttons.values(), self.slider], layout=row), self.screen])
        self.slider.observe(lambda change: self._guarded(lambda: self._show(change["new"])), names="value")
        self._show(self.field.t)

    def go(self, t: int) -> None:
        """Show step t; before the first and after the last step it stays where it is."""
        self.slider.value = max(0, min(self.slider.max, t))

    def _show(self, t: int) -> None:
        self.field = self.field if self.field.t == t else policy_field(self.agent, self.trace, t)
        self.t = t
        self.screen.value = field_html(self.field) + f'<p style="font-size:13px;margin:2px 0">{escape(LEGEND)}</p>'

    def _button(self, label: str, tip: str, act: Callable[[], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=label, tooltip=tip, layout={"width": "48px"})
        button.on_click(lambda _: self._guarded(act))
        return button

    def _guarded(self, act: Callable[[], None]) -> None:
        """A callback's error is shown: a notebook would put it where nobody looks."""
        try:
            act()
        except UserError as error:
            self.screen.value = f'<p role="alert" style="font-size:15px">{escape(str(error))}</p>'
        except Exception as error:
            self.screen.value = f'<p role="alert" style="font-size:15px">{escape(repr(error))}</p>'

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        shown = self.widget._repr_mimebundle_(**options)
        data = shown[0] if isinstance(shown, tuple) else shown
        view = "application/vnd.jupyter.widget-view+json"
        still = row_png([panel_svg(self.field, which) for which in (WITH_MEMORY, CLEARED)])
        found = {"text/plain": f"Policy field. {self.field}", "image/png": base64.b64encode(still).decode()}
        return found | ({view: data[view]} if view in data else {})
