"""`torch.compile` where it works, and a look at whether it can."""

from __future__ import annotations

import functools
import logging
import subprocess
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)
MOST = 64  # shapes that one function is compiled for; each takes seconds, and memory


class OrEager:
    """`torch.compile(function)` where a compiler works; else the function itself, said in one log line.

    It is compiled once for each shape of its first argument, so for each number of sequences. Each time it is a copy
    that is compiled, since PyTorch compiles one and the same function for 8 shapes and no more.
    """

    def __init__(self, function: Callable):
        self.function, self.fast = function, {}
        self.works: bool | None = None
        """None: it was not called yet."""

    def __call__(self, *args: Any) -> Any:
        key = args[0].shape, args[0].dtype, args[0].device
        if self.works is False or (key not in self.fast and len(self.fast) >= MOST):
            return self.function(*args)
        try:
            if key not in self.fast:
                self.fast[key] = torch.compile(_copy(self.function), dynamic=False)
            result, self.works = self.fast[key](*args), True
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a missing or broken compiler raises; a real mistake raises again below
            result, self.works = self.function(*args), False
            say_once(type(error).__name__)
        return result


def _copy(f: Callable) -> Callable:
    return types.FunctionType(f.__code__.replace(), f.__globals__, f.__name__, f.__defaults__, f.__closure__)


@functools.cache
def say_once(reason: str) -> None:
    log.warning("torch.compile does not work here (%s): running eagerly, same results", reason)


@functools.cache
def can_compile(device: str = "cpu") -> bool:
    """Whether this machine has what `torch.compile` needs on "cpu" or "cuda": a C++ compiler that reads Python's
    headers, and on CUDA triton. Looked up in about a second, where to compile something would take up to a minute;
    should it fail all the same, `OrEager` runs eagerly."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch.utils._triton import has_triton

        torch.compile(torch.sigmoid)  # compiles nothing yet, but raises where torch never does, as on some Pythons
        look = [get_cpp_compiler(), "-I" + sysconfig.get_path("include"), "-fsyntax-only", "-x", "c++", "-"]
        subprocess.run(look, input=b"#include <Python.h>\n", check=True, capture_output=True, timeout=30)
        kind = torch.device(device).type
        return kind == "cpu" or (kind == "cuda" and has_triton())
    except Exception:  # torch moves these names about, and says in many ways that there is no compiler
        return False
