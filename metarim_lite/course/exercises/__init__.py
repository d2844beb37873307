"""The exercises of the course, one file a lesson, in the order of the lessons."""

from ..declaring import Exercise
from . import lesson3, lesson4

ALL = tuple(
    e
    for lesson in (lesson3, lesson4)
    for e in vars(lesson).values()
    if isinstance(e, Exercise) and e.reference.__module__ == lesson.__name__
)
