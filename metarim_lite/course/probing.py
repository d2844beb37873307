"""Calling a student's function with care: what it may not do, and a sentence for each thing it did."""

from __future__ import annotations

import builtins
import contextlib
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
    """A tensor that an answer must return, its shape written in the letters of the course."""

    name: str
    shape: tuple[str, ...]  # e.g. ("B", "N", "2")

    def sizes(self, letters: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(int(s) if s.isdigit() else letters[s] for s in self.shape)


class Case(NamedTuple):
    """One set of inputs, by argument name, with the sizes of their letters."""

    letters: dict[str, int]
    inputs: dict[str, Tensor]
    extreme: bool = False  # True: values so large that a naive formula overflows


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


def call(function: Callable[..., Any], case: Case, outputs: tuple[Output, ...]) -> tuple[Tensor, ...]:
    """The answer's outputs for `case`, once their type, shape, dtype and finiteness are right.

    Raises:
        CheckFailed: a sentence for the first thing that is wrong.
        NotAttempted: nobody has written it.
    """
    given = {name: tensor.clone() for name, tensor in case.inputs.items()}
    result = run(function, given)
    for name, tensor in given.items():
        if not torch.equal(tensor, case.inputs[name]):
            raise CheckFailed(
                f"your function changes its argument `{name}` in place; make a new tensor instead "
                f"(`a = a * b`, not `a *= b`)."
            )
    return as_tensors(result, case, outputs)


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
    """For an example beside an exercise: while nobody has written `function`, a line says so, and nothing fails."""
    try:
        yield
    except NotImplementedError as error:
        if not unwritten(function, error):
            raise
        print(f"Your {function.__name__} is not written yet.")


def as_tensors(result: Any, case: Case, outputs: tuple[Output, ...]) -> tuple[Tensor, ...]:
    """`result` as a tuple of tensors that fit `outputs`; raises CheckFailed for the first that does not."""
    names, like = ", ".join(o.name for o in outputs), next(iter(case.inputs.values()))
    if len(outputs) == 1 and isinstance(result, Tensor):
        result = (result,)
    if result is None:
        raise CheckFailed(f"your function returns None; it should return ({names}). Is the `return` missing?")
    if not isinstance(result, (tuple, list)) or len(result) != len(outputs):
        what = f"{len(result)} things" if isinstance(result, (tuple, list)) else f"one {type(result).__name__}"
        raise CheckFailed(f"your function returns {what}; it should return the {len(outputs)} tensors ({names}).")
    wanted = [output.sizes(case.letters) for output in outputs]
    if all(type(r) is Tensor for r in result) and [tuple(r.shape) for r in result] == wanted[::-1] != wanted:
        raise CheckFailed(f"your function returns its tensors in the wrong order; it should return ({names}).")
    for got, output, sizes in zip(result, outputs, wanted, strict=True):
        if type(got) is not Tensor:
            raise CheckFailed(f"`{output.name}` is a {type(got).__name__}; it should be a torch.Tensor.")
        if tuple(got.shape) != sizes:
            letters = ", ".join(output.shape)
            raise CheckFailed(f"`{output.name}` has shape {list(got.shape)}; it should be [{letters}] = {list(sizes)}.")
        if got.dtype != like.dtype:
            raise CheckFailed(f"`{output.name}` is {got.dtype}; the inputs are {like.dtype}, and so should it be.")
        if got.layout != like.layout or got.device != like.device:  # comparing them would fail, not the answer
            what = got.device if got.layout == like.layout else got.layout
            raise CheckFailed(f"`{output.name}` is a tensor of the kind {what}; make it one like the inputs.")
        if not torch.isfinite(got).all():
            hint = " for large scores; does your softmax overflow? torch.softmax does not." if case.extreme else "."
            raise CheckFailed(f"`{output.name}` contains NaN or infinity{hint}")
    return tuple(result)


def check_gradient(
    function: Callable[..., Any],
    reference: Callable[..., tuple[Tensor, ...]],
    case: Case,
    outputs: tuple[Output, ...],
    generator: torch.Generator,
) -> None:
    """Raises CheckFailed unless the gradient of the outputs reaches every input as it does in `reference`."""
    dtype = next(iter(case.inputs.values())).dtype
    # a random direction for each output, so that no gradient cancels by symmetry
    directions = [torch.randn(o.sizes(case.letters), generator=generator, dtype=dtype) for o in outputs]

    def gradients(f: Callable[..., Any], of_student: bool) -> tuple[Tensor | None, ...]:
        given = {name: tensor.clone().requires_grad_() for name, tensor in case.inputs.items()}
        result = as_tensors(run(f, given), case, outputs) if of_student else f(*given.values())
        for output, tensor in zip(outputs, result, strict=True):
            if not tensor.requires_grad:
                raise CheckFailed(
                    f"no gradient flows back from `{output.name}`: it was cut by `.detach()`, `.data`, "
                    f"`torch.no_grad()` or a detour through numpy."
                )
        total = sum((d * tensor).sum() for d, tensor in zip(directions, result, strict=True))
        try:
            return torch.autograd.grad(total, list(given.values()), allow_unused=True)  # type: ignore[arg-type]
        except Exception as error:  # of an operation that has no gradient, or of the student's own `backward`
            raise CheckFailed(f"the values are right, but no gradient can be computed: {_first_line(error)}") from None

    wanted = gradients(reference, of_student=False)
    for name, got, want in zip(case.inputs, gradients(function, of_student=True), wanted, strict=True):
        if want is not None and (got is None or not close(got, want)):
            raise CheckFailed(
                f"the values are right, but the gradient does not reach `{name}` as it should; "
                f"is one of the tensors on the way detached?"
            )


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the rounding that another order of float32 operations may cause."""
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4)


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
