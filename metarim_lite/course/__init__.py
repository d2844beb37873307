"""The course: checks of exercises, building of notebooks from their sources, a student's self-check."""

from .checks import check, solved_or_reference
from .errors import CheckFailed, NotAttempted

__all__ = ["CheckFailed", "NotAttempted", "check", "solved_or_reference"]
