"""What crosses the boundary: plain values and raw arrays, as a line of JSON and the bytes behind it.

    numbers, words, None, lists, tuples, dicts with words as keys; tensors and numpy arrays of the kinds in `DTYPES`

Anything else arrives as a `Foreign`, which has nothing but a name. Reading can fail (`Garbled`), and do nothing else:
a message is never code. Both sides use this file; the child's side has no other part of the package.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

LENGTHS = struct.Struct("<II")  # of the JSON, of the bytes behind it
MOST_JSON, MOST_BYTES = 1 << 20, 1 << 26
DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip
NUMPY = [name for name in DTYPES if name != "bfloat16"]


class Garbled(ValueError):
    """Bytes that are no message."""


class TooLarge(ValueError):
    """A message that nobody would read."""


class Foreign:
    """Stands for a thing that cannot be sent; `like` makes one whose type has that thing's name."""

    @staticmethod
    def like(name: str) -> Foreign:
        plain = "".join(c for c in name if c.isalnum() or c in "_.")[:40]
        return type(plain or "object", (Foreign,), {})()


def pack(value: Any) -> bytes:
    """Raises TooLarge."""
    blobs: list[bytes] = []
    text = json.dumps(_plain(value, blobs)).encode()
    body = b"".join(blobs)
    if len(text) > MOST_JSON or len(body) > MOST_BYTES:
        raise TooLarge
    return LENGTHS.pack(len(text), len(body)) + text + body


def receive(read: Callable[[int], bytes]) -> Any:
    """One message.

    Args:
        read: n -> exactly n bytes.

    Raises:
        Garbled: it is none.
        TooLarge: it says that it is longer than any message is.
    """
    text, body = LENGTHS.unpack(read(LENGTHS.size))
    if text > MOST_JSON or body > MOST_BYTES:
        raise TooLarge
    header, blobs = read(text), read(body)
    try:
        tree = json.loads(header)
        value, rest = _value(tree, memoryview(bytearray(blobs)))
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError, AttributeError) as error:
        raise Garbled(type(error).__name__) from None
    if len(rest):
        raise Garbled("bytes that belong to nothing")
    return value


def _plain(value: Any, blobs: list[bytes]) -> Any:
    """As JSON: a thing that JSON has not is a pair of its kind and what it is made of."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if type(value) is Tensor:
        return _tensor(value, blobs)
    if type(value) is np.ndarray and value.dtype.name in NUMPY:
        _room_for(value.nbytes)
        blobs.append(np.ascontiguousarray(value).tobytes())
        return ["array", value.dtype.name, list(value.shape)]
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return [kind, [_plain(part, blobs) for part in value]]
    if type(value) is dict and all(type(key) is str for key in value):
        return ["dict", [[key, _plain(part, blobs)] for key, part in value.items()]]
    return ["other", type(value).__name__]


def _tensor(value: Tensor, blobs: list[bytes]) -> Any:
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.device.type != "cpu" or dtype not in DTYPES:
        what = value.layout if value.layout != torch.strided else value.device if value.device.type != "cpu" else dtype
        return ["other", f"Tensor_of_{what}"]
    _room_for(value.numel() * value.element_size())
    dense = value.detach().resolve_conj().resolve_neg().contiguous()
    blobs.append(dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b"")
    return ["tensor", dtype, list(value.shape)]


def _room_for(size: int) -> None:
    if size > MOST_BYTES:
        raise TooLarge


def _value(tree: Any, rest: memoryview) -> tuple[Any, memoryview]:
    """What `tree` stands for, and the bytes that are left."""
    if not isinstance(tree, list):
        if isinstance(tree, dict):
            raise Garbled("an object")
        return tree, rest
    kind, *parts = tree
    if kind in ("tensor", "array"):
        dtype, shape = parts
        if dtype not in DTYPES or len(shape) > 16 or not all(type(n) is int and 0 <= n < 1 << 31 for n in shape):
            raise Garbled("no shape")
        like = getattr(torch, dtype)
        size = math.prod(shape) * like.itemsize
        if size > len(rest):
            raise Garbled("bytes are missing")
        raw, rest = rest[:size], rest[size:]
        if kind == "array":
            return np.frombuffer(raw, np.dtype(dtype)).reshape(shape).copy(), rest
        flat = torch.frombuffer(raw, dtype=like).clone() if size else torch.empty(0, dtype=like)
        return flat.reshape(shape), rest
    if kind in ("tuple", "list", "dict"):
        found = []
        for part in parts[0]:
            value, rest = _value(part[1] if kind == "dict" else part, rest)
            found.append((str(part[0]), value) if kind == "dict" else value)
        return {"tuple": tuple, "list": list, "dict": dict}[kind](found), rest
    if kind == "other":
        return Foreign.like(str(parts[0])), rest
    raise Garbled("an unknown kind")
