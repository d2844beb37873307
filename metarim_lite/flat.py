"""What is saved, as a flat dict of tensors: how parts of it are named, and whether it fits where it is to go."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .errors import UserError


def part_of(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): x for name, x in saved.items() if name.startswith(prefix)}


def named(prefix: str, tensors: Any) -> dict[str, Tensor]:
    """The inverse of `part_of`: the tensors of a NamedTuple, under names that begin so."""
    return {prefix + name: x for name, x in tensors._asdict().items()}


def fill(
    target: dict[str, Tensor], saved: dict[str, Tensor], what: str, by: str = "configuration"
) -> dict[str, Tensor]:
    """`saved`, after checking that it has the names, shapes and dtypes of `target` and finite numbers.

    Args:
        what: is looked at, for the message.
        by: what decides names, shapes and dtypes.

    Raises:
        UserError: naming the first field that differs.
    """
    for name, tensor in target.items():
        if name not in saved:
            raise UserError(f"{what} lacks the field {name!r}; it was not made by this {by}")
        got = saved[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise UserError(
                f"{what}: field {name!r} is {got.dtype} {tuple(got.shape)}, expected {tensor.dtype} "
                f"{tuple(tensor.shape)}; it was made by another {by}"
            )
        if got.is_floating_point() and not got.isfinite().all():
            raise UserError(f"{what}: field {name!r} holds numbers that are not finite; it is damaged")
    for name in saved:
        if name not in target:
            raise UserError(f"{what} has an unexpected field {name!r}; it was made by another {by}")
    return saved
