"""Keep freed memory instead of giving it back: tensors of the same sizes are made again at the next step.

The C library hands large freed blocks back to the system and faults them in anew, page by page, at the next
allocation. For programs that make the same tensors thousands of times a second this costs between a third of
the time and nearly all of it (on virtual machines with slow page faults).
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # numbers from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed, for this process. False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**24}
    return all([mallopt(option, value) == 1 for option, value in settings.items()])
