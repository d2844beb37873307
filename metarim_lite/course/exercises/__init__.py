"""The exercises of the course, one file a lesson, in the order of the lessons."""

from . import lesson3
from ..declaring import Exercise

ALL = tuple(e for lesson in (lesson3,) for e in vars(lesson).values() if isinstance(e, Exercise))
