"""The exercises of the course, one file a lesson or two. A file of your own, `lesson9.py`, is found by its name."""

from importlib import import_module
from pkgutil import iter_modules

from ..declaring import Exercise

LESSONS = tuple(
    import_module(f".{module.name}", __name__)
    for module in sorted(iter_modules(__path__), key=lambda module: module.name)
    if module.name.startswith("lesson")
)
ALL = tuple(
    sorted(
        (
            e
            for lesson in LESSONS
            for e in vars(lesson).values()
            if isinstance(e, Exercise) and e.reference.__module__ == lesson.__name__
        ),
        key=lambda e: [int(part) for part in e.number.split(".")],
    )
)
