"""A widget that shows the policy field at any step of a trace."""

from __future__ import annotations

from typing import Any

import ipywidgets

from .charts import row_png
from .controls import alarm, bundle, button, guarded, row, whole
from .drawing import whole_step
from .field import CLEARED, WITH_MEMORY, policy_field
from .field_drawing import field_html, panel_svg
from .page import styled


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
            self.field.t, 0, last, description="step", continuous_update=False,
            layout={"flex": "1 1 150px", "width": "auto", "min_width": "150px"}, style={"description_width": "auto"},
        )  # fmt: skip
        self.buttons = {
            "back": button("back", "one step back", lambda: self.go(self.t - 1), self._tell),
            "next": button("next", "one step on", lambda: self.go(self.t + 1), self._tell),
        }
        controls = row(*self.buttons.values(), self.slider, width="min(100%, 888px)")
        self.widget = whole([ipywidgets.HTML(styled("")), controls, self.screen])
        show = guarded(self._show, self._tell)
        self.slider.observe(lambda change: show(change["new"]), names="value")
        self._show(self.field.t)

    def go(self, t: int) -> None:
        """Show step t; before the first and after the last step it stays where it is. Raises UserError for a t that is
        no whole number."""
        self.slider.value = max(0, min(self.slider.max, whole_step(t, self.slider.max)))

    def _show(self, t: int) -> None:
        self.field = self.field if self.field.t == t else policy_field(self.agent, self.trace, t)
        self.t = t
        self.screen.value = field_html(self.field)

    def _tell(self, words: str) -> None:
        self.screen.value = alarm(words)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still = row_png([panel_svg(self.field, which) for which in (WITH_MEMORY, CLEARED)])
        return bundle(self.widget, f"Policy field. {self.field}", still)
