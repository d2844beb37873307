"""Calling a student's function with care: what it may not do, and a sentence for each thing it did."""

from __future__ import annotations

import builtins
import contextlib
import copy
import dis
import inspect
import io
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import SKELETON, CheckFailed, NotAttempted

ASKS = "your function calls input(), and nobody is there to answer; all that it needs comes as its arguments."


class Output(NamedTuple):
    """A thing that an answer must return, its shape written in the letters of the course."""

    name: str
    shape: tuple[str, ...]  # e.g. ("B", "N", "2")
    entries: str = "number"  # or "whole", "flag", "text"
    container: str = "tensor"  # or "array" (numpy), "plain" (one number or word)

    def sizes(self, letters: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(size_of(word, letters) for word in self.shape)


def size_of(word: str, letters: Mapping[str, int]) -> int:
    """The size that an axis's letter, number or sum ("T+1") stands for."""
    return int(eval(word, {"__builtins__": {}}, dict(letters)))


class Case(NamedTuple):
    """One set of inputs, by argument name, with the sizes of their letters."""

    letters: dict[str, int]
    inputs: dict[str, Any]
    extreme: bool = False  # True: values so large that a naive formula overflows
    directions: tuple[Tensor, ...] | None = None  # one for each output, where its gradient is asked for

    def copied(self) -> dict[str, Any]:
        return {name: copy.deepcopy(value) for name, value in self.inputs.items()}


class Answered(NamedTuple):
    """What an answer gave for one case: what it returned, and the gradient of (outputs · directions) by argument, or
    why there is none. Plain arrays: it may come from another process."""

    result: Any
    gradients: dict[str, Tensor | None] = {}
    cut: str = ""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever a student's code does to generators, default dtype and gradient mode ends with the block."""
    python, numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=gpus), torch.enable_grad():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_default_dtype(dtype)


def probe(function: Callable[..., Any], case: Case, outputs: tuple[Output, ...]) -> Answered:
    """Let an answer work on a case; nothing here knows what is right.

    Raises:
        CheckFailed: it raises something or changes its arguments.
        NotAttempted: nobody has written it.
    """
    given = case.copied()
    result = run(function, given)
    for name, value in given.items():
        if not _same(value, case.inputs[name]):
            raise CheckFailed(
                f"your function changes its argument `{name}` in place; make a new tensor instead "
                f"(`a = a * b`, not `a *= b`)."
            )
    if case.directions is None:
        return Answered(result)
    try:
        return Answered(result, _gradients(function, case, outputs))
    except CheckFailed as failure:
        return Answered(result, cut=str(failure))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def run(function: Callable[..., Any], given: Mapping[str, Tensor]) -> Any:
    """`function(**given)` by position, its prints kept back unless it fails.

    Raises:
        CheckFailed: it raises something, with the line, or asks for input.
        NotAttempted: nobody has written it.
    """
    printed, questions = io.StringIO(), []

    def asked(*_: Any) -> str:
        questions.append(1)
        raise EOFError("nobody answers input()")

    keyboard, builtins.input = builtins.input, asked
    try:
        with contextlib.redirect_stdout(printed):
            result = function(*given.values())
    except (Exception, SystemExit) as error:
        if unwritten(function, error):
            raise NotAttempted from None
        if questions:
            raise CheckFailed(ASKS) from None
        if printed.getvalue():
            print(printed.getvalue()[:2000])
        if "numpy() on Tensor that requires grad" in str(error):
            raise CheckFailed("your function goes through numpy, where gradients end; stay with torch.") from None
        raise CheckFailed(f"your function raises {_first_line(error)}{_where(function, error)}") from None
    finally:
        builtins.input = keyboard
    if questions:
        raise CheckFailed(ASKS)
    return result


def unwritten(function: Callable[..., Any], error: BaseException) -> bool:
    """Whether `error` comes from the exercise's own `raise NotImplementedError`, in the cell of `function`.

    torch raises NotImplementedError, too (a softmax of whole numbers, say): that is an answer, and a wrong one. Its
    traceback ends in torch, or at a call; ours at a `raise` with the exercise's own words, or without any.
    """
    if type(error) is not NotImplementedError or error.args not in ((), (SKELETON,)):
        return False
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    raised = any(i.offset == last.tb_lasti and i.opname == "RAISE_VARARGS" for i in dis.get_instructions(code))
    return raised and code.co_filename in _cells(function)


@contextlib.contextmanager
def once_written(function: Callable[..., Any]) -> Iterator[None]:
    """For an example beside an exercise: while `function` is not written, or fails, a line says so, and the cells below
    go on: it is the check's part to say what is wrong."""
    try:
        yield
    except Exception as error:
        name = getattr(function, "__name__", "function")
        if unwritten(function, error):
            print(f"Your {name} is not written yet.")
        else:
            print(f"Your {name} does not work yet: {_first_line(error)}. The check below says more.")


def as_values(result: Any, case: Case, outputs: tuple[Output, ...], ours: bool = False) -> tuple[Any, ...]:
    """`result` as a tuple of tensors (or words) that fit `outputs`.

    Args:
        ours: it comes from a reference or a known mistake, which may be of any size.

    Raises:
        CheckFailed: a sentence for the first thing that does not fit.
    """
    names = ", ".join(o.name for o in outputs)
    if len(outputs) == 1 and not isinstance(result, (tuple, list)):
        result = result if result is None else (result,)
    if result is None:
        raise CheckFailed(f"your function returns None; it should return ({names}). Is the `return` missing?")
    if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
        what = f"{len(result)} things" if isinstance(result, (tuple, list)) else f"one {type(result).__name__}"
        kind = "tensors" if all(o.container == "tensor" for o in outputs) else "things"
        raise CheckFailed(f"your function returns {what}; it should return the {len(outputs)} {kind} ({names}).")
    wanted = [output.sizes(case.letters) for output in outputs]
    if all(type(r) is Tensor for r in result) and [tuple(r.shape) for r in result] == wanted[::-1] != wanted:
        raise CheckFailed(f"your function returns its tensors in the wrong order; it should return ({names}).")
    return tuple(_fitting(got, *pair, case, ours) for got, *pair in zip(result, outputs, wanted, strict=True))


def _fitting(got: Any, output: Output, sizes: tuple[int, ...], case: Case, ours: bool) -> Any:
    """One output as a tensor, or a word as it is; raises CheckFailed where it does not fit."""
    if output.container == "plain":
        return _plain(got, output)
    wanted = Tensor if output.container == "tensor" else np.ndarray
    if type(got) is not wanted:
        kind = "torch.Tensor" if wanted is Tensor else "numpy array"
        raise CheckFailed(f"`{output.name}` is a {type(got).__name__}; it should be a {kind}.")
    if tuple(got.shape) != sizes and not ours:
        letters = ", ".join(output.shape)
        raise CheckFailed(f"`{output.name}` has shape {list(got.shape)}; it should be [{letters}] = {list(sizes)}.")
    if wanted is np.ndarray:
        if got.dtype.kind not in {"number": "f", "whole": "iu", "flag": "b"}[output.entries]:
            raise CheckFailed(f"`{output.name}` is {got.dtype}; it should hold {ENTRIES[output.entries]}.")
        got = torch.from_numpy(got.copy())
    tensors = [value for value in case.inputs.values() if isinstance(value, Tensor)]
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(()))
    if wanted is Tensor and output.entries == "number" and got.dtype != like.dtype:
        raise CheckFailed(f"`{output.name}` is {got.dtype}; the inputs are {like.dtype}, and so should it be.")
    if _entries(got) != output.entries:
        raise CheckFailed(f"`{output.name}` is {got.dtype}; it should hold {ENTRIES[output.entries]}.")
    if got.layout != like.layout or got.device != like.device:  # comparing them would fail, not the answer
        what = got.device if got.layout == like.layout else got.layout
        raise CheckFailed(f"`{output.name}` is a tensor of the kind {what}; make it one like the inputs.")
    if not torch.isfinite(got).all() and not ours:
        hint = " for large scores; does your softmax overflow? torch.softmax does not." if case.extreme else "."
        raise CheckFailed(f"`{output.name}` contains NaN or infinity{hint}")
    return got


ENTRIES = {"number": "floating-point numbers", "whole": "whole numbers", "flag": "True and False"}


def _entries(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "flag"
    return "number" if tensor.is_floating_point() else "whole"


def _plain(got: Any, output: Output) -> Any:
    """One number or word, whatever kind of number it is; raises CheckFailed for anything else."""
    if output.entries == "text":
        if type(got) is not str:
            raise CheckFailed(f"`{output.name}` is a {type(got).__name__}; it should be a word, a str.")
        return got
    if type(got) in (Tensor, np.ndarray) and got.ndim == 0:
        got = got.item()
    if isinstance(got, np.generic):
        got = got.item()
    if type(got) not in (int, float):
        raise CheckFailed(f"`{output.name}` is a {type(got).__name__}; it should be one number.")
    try:
        value = torch.tensor(float(got), dtype=torch.float64)
    except OverflowError:  # a whole number of hundreds of digits
        value = torch.tensor(float("inf"))
    if not torch.isfinite(value):
        raise CheckFailed(f"`{output.name}` is NaN or infinite.")
    return value


def _gradients(function: Callable[..., Any], case: Case, outputs: tuple[Output, ...]) -> dict[str, Tensor | None]:
    """The gradient of (outputs · directions), by argument; raises CheckFailed where it was cut."""
    given = case.copied()
    inputs = {n: x.requires_grad_() for n, x in given.items() if isinstance(x, Tensor) and x.is_floating_point()}
    result = as_values(run(function, given), case, outputs)
    total = torch.zeros(())
    for output, direction, tensor in zip(outputs, case.directions, result, strict=True):
        if output.entries != "number":
            continue
        if not tensor.requires_grad:
            raise CheckFailed(
                f"no gradient flows back from `{output.name}`: it was cut by `.detach()`, `.data`, "
                f"`torch.no_grad()` or a detour through numpy."
            )
        total = total + (direction * tensor).sum()
    try:
        return dict(zip(inputs, torch.autograd.grad(total, list(inputs.values()), allow_unused=True), strict=True))
    except Exception as error:  # of an operation that has no gradient, or of the student's own `backward`
        raise CheckFailed(f"the values are right, but no gradient can be computed: {_first_line(error)}") from None


def close(a: Any, b: Any, rtol: float, atol: float) -> bool:
    """Of one shape, and equal up to the rounding that another order of operations may cause."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return type(a) is type(b) is str and a == b
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol)


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text[:200]}".rstrip(": ")


def _where(function: Callable[..., Any], error: BaseException) -> str:
    """The student's own line that raised, when the traceback has one."""
    files = _cells(function)
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f" (at the line `{lines[-1].strip()}`)" if lines and lines[-1] else ""


def _cells(function: Callable[..., Any]) -> set[str]:
    """What tracebacks call the cells (or files) that an answer was written in: that of a function, wrapped or not, or
    of a class and its methods."""
    kind = function if isinstance(function, type) else type(function)
    parts = map(inspect.unwrap, [function, getattr(function, "func", None), *vars(kind).values()])
    return {part.__code__.co_filename for part in parts if hasattr(part, "__code__")}
