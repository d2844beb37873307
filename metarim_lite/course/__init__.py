"""The course: checks of exercises, building of notebooks from their sources, a student's self-check."""

from .checks import check, solved_or_reference
from .declaring import exercise
from .errors import CheckFailed, NotAttempted, NoVerdict
from .figures import show
from .predicting import predict
from .probing import once_written

__all__ = [
    "CheckFailed",
    "NoVerdict",
    "NotAttempted",
    "check",
    "exercise",
    "once_written",
    "predict",
    "show",
    "solved_or_reference",
]
