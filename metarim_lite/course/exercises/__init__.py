"""The exercises of the course, one file a lesson or two, in the order of the lessons."""

from ..declaring import Exercise
from . import lesson1, lesson2, lesson3, lesson3_competition, lesson4, lesson5, lesson6, lesson7

LESSONS = (lesson1, lesson2, lesson3, lesson3_competition, lesson4, lesson5, lesson6, lesson7)
ALL = tuple(
    e
    for lesson in LESSONS
    for e in vars(lesson).values()
    if isinstance(e, Exercise) and e.reference.__module__ == lesson.__name__
)
