"""What a failed check raises: one sentence, and no traceback above it in a notebook."""

from __future__ import annotations

from ..errors import UserError

SKELETON = "your code goes here"  # what an exercise that nobody has written raises NotImplementedError with


class CheckFailed(AssertionError):
    """An exercise's answer is wrong; the text names the likely mistake."""

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this before it builds its own traceback. The student's mistake
        # is in the sentence; the frames of the checker would only bury it.
        return [f"{type(self).__name__}: {self}"]


class NotAttempted(CheckFailed):
    """The exercise's body is still its own `raise NotImplementedError`."""


class NoVerdict(UserError):
    """A notebook could not be run, through no fault of an answer: nothing is known about its exercises."""

    exit_status = 3


class NoKernel(NoVerdict):
    """Not even a kernel could be started."""
