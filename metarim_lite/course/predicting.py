"""A prediction: asked for before an experiment, laid beside what happened after it.

In a lesson:

    my_prediction = predict("", among="abc")  # your letter between the quotes

and, where the experiment is over, `my_prediction.happened("c")`. Nobody has to predict: an empty one runs on, too.
A notebook is shipped without the outputs of every cell from the first `predict(` on (withheld.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What a student expects, out of `among`; an empty `said` says nothing yet."""

    said: str
    among: tuple[str, ...]

    def happened(self, what: str) -> None:
        """Print what was predicted beside what happened.

        Raises:
            UserError: `what` is not one of the answers that were offered.
        """
        if what not in self.among:
            raise UserError(f"what happened is {what!r}; the answers to choose from are {_listed(self.among)}.")
        print("you predicted:", self.said or "nothing yet")
        print("what happened:", what)


def predict(said: str, among: Sequence[str]) -> Prediction:
    """A prediction, such as `predict("b", among="abc")`; capitals and blanks around it do not matter.

    Args:
        said: one of `among`, or "" for none.
        among: the answers to choose from, letters or words.

    Raises:
        UserError: `said` is something else.
    """
    offered = tuple(among)
    meant = said.strip().lower() if isinstance(said, str) else said
    if meant and meant not in offered or not isinstance(meant, str):
        raise UserError(f"your prediction is {said!r}; choose {_listed(offered)}, in quotes, or leave it empty.")
    return Prediction(meant, offered)


def _listed(offered: Sequence[str]) -> str:
    *others, last = (repr(answer) for answer in offered)
    return f"{', '.join(others)} or {last}" if others else last
