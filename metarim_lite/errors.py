"""One kind of error for mistakes a user can mend, and help with misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake the user can mend. Its text is one sentence: the value, what was expected, what to do.

    The command line prints the sentence alone and exits with `exit_status`; in Python it is a `ValueError`.
    """

    exit_status = 2


class Diverged(UserError):
    """A run whose loss is no longer finite. What else was to be done can go on."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a closed set, with the nearest names that are.

    >>> str(unknown("method", "meta-rin", ["lstm", "rim", "meta-rim"]))
    "unknown method 'meta-rin'; did you mean 'meta-rim' or 'rim'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    if near:
        hint = "did you mean " + " or ".join(repr(n) for n in near) + "?"
    else:
        hint = "known: " + ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return UserError(f"unknown {kind} {str(name)!r}; {hint}")
