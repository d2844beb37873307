"""Is everything there that the course needs? One line each, the same on every machine that is set up."""

from __future__ import annotations

import sys
from importlib import metadata

from ..doctor import TRIED, version_numbers, works

# distribution -> the oldest version that will do, and the command that mends it
NEEDED = (
    ("torch", (2, 6)),
    ("minigrid", (3, 2)),
    ("matplotlib", (3,)),
    ("ipywidgets", (7, 7)),
)


def setup_check() -> bool:
    """Print a line per requirement, with what to do about those that are missing; True when all are there."""
    lines = [(f"python {_text((3, 11))} or newer", sys.version_info[:2] >= (3, 11), "install a newer Python")]
    lines += [
        (f"{name} {_text(oldest)} or newer", _new_enough(name, oldest), _mend(name, oldest)) for name, oldest in NEEDED
    ]
    lines += [(what, *works(attempt)) for what, attempt in TRIED.items()]
    for what, there, mend in lines:
        print(f"{what:<34} {'yes' if there else 'NO: ' + mend}")
    ready = all(there for _, there, _ in lines)
    print("\nYou are set up." if ready else "\nMend the lines that say NO, restart the kernel, run this cell again.")
    return ready


def _new_enough(name: str, oldest: tuple[int, ...]) -> bool:
    try:
        return version_numbers(metadata.version(name)) >= oldest
    except metadata.PackageNotFoundError:
        return False


def _mend(name: str, oldest: tuple[int, ...]) -> str:
    return f"pip install -U '{name}>={_text(oldest)}'"


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
