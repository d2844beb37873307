"""The wire: arrays and plain values arrive as they were, and a message that is none does nothing."""

import json

import numpy as np
import pytest
import torch

from metarim_lite.grading import wire


def through(value):
    packed = memoryview(wire.pack(value))
    taken = [0]

    def read(count):
        taken[0] += count
        return bytes(packed[taken[0] - count : taken[0]])

    return wire.receive(read)


@pytest.mark.parametrize("dtype", wire.DTYPES)
def test_arrays_arrive_as_they_were(dtype):
    for shape in ((), (0, 3), (2, 3, 4)):
        tensor = (10 * torch.rand(shape)).to(getattr(torch, dtype))
        assert through(tensor.mT if tensor.ndim > 1 else tensor).equal(tensor.mT if tensor.ndim > 1 else tensor)
        if dtype in wire.NUMPY:
            array = tensor.numpy()
            got = through([array])[0]
            assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()


def test_plain_values_arrive_as_they_were_and_others_as_a_name():
    value = [None, True, 3, -0.5, "ü", (1, [2]), {"a": (torch.ones(2).tolist(),)}]
    assert through(value) == value and type(through(value)[5]) is tuple

    class Odd(torch.Tensor):
        pass

    got = through([Odd(), {1: 2}, np.float32(2), torch.ones(2).to_sparse(), object()])
    assert [type(x).__name__ for x in got] == ["Odd", "dict", "ndarray", "Tensor_of_torch.sparse_coo", "object"]
    assert isinstance(got[0], wire.Foreign) and isinstance(got[1], wire.Foreign)


def message(tree, body=b"", lengths=(None, None)):
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return wire.LENGTHS.pack(lengths[0] or len(text), lengths[1] or len(body)) + text + body


BAD = [
    message(b"\xff\xfe"), message(b"[" * 10**5), message(b"9" * 5000), message({"a": 1}), message(["tensor"]),
    message([]),
    message(["tensor", "float32", [2]]), message(["tensor", "float32", [-1]]), message(["tensor", "float32", [1e9]]),
    message(["tensor", "object", [1]], b"12345678"), message(["array", "bfloat16", [1]], b"12"),
    message(["tensor", "float32", [True]], b"1234"), message(["tensor", "Generator", []]), message(["code", "1"]),
    message(1, b"left over"), message(["dict", [[["a"], 1]]]) + b"", message(["tensor", "float32", [1] * 99], b"1234"),
    message(["tensor", "float32", [2**30] * 16]), message(["list", 3]), message(["other"]),
]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_a_message_that_is_none_is_garbled_and_does_nothing(data):
    at = [0]

    def read(count):
        at[0] += count
        return data[at[0] - count : at[0]]

    try:
        value = wire.receive(read)
    except wire.Garbled:
        return
    assert value == {"['a']": 1}  # the one that is harmless: a key is a word


def test_a_length_is_not_believed():
    for lengths in ((2**31, None), (None, 2**31)):
        data = message(1, lengths=lengths)
        with pytest.raises(wire.TooLarge):
            wire.receive(lambda count, data=data: data[:count])
    with pytest.raises(wire.TooLarge):
        wire.pack(torch.zeros(1).expand(10**12))
