"""What stands for a CUDA graph where there is no GPU: the operations of a run, written down with their memory."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WARM_UP = 3


class Tape(TorchDispatchMode):
    """Records operations and plays them again as a graph would: on the tensors that they were recorded with.

    What Python decided while recording stays decided; what it put elsewhere since is not seen; and reading a value,
    which would make a host wait for its device, is an error. Generators go on from one replay to the next.
    """

    def __init__(self):
        super().__init__()
        self.lines, self.before = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default or func is torch.ops.aten.nonzero.default:
            raise RuntimeError(f"{func} makes the host wait, which no graph can hold")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                memory = value.untyped_storage()
                self.before.setdefault(memory.data_ptr(), (memory, memory.clone()))
        given = func(*args, **kwargs)
        self.lines.append((func, args, kwargs, given))
        return given

    def undo(self):
        """A capture runs nothing: put back what was written while recording."""
        for memory, content in self.before.values():
            memory.copy_(content)

    def replay(self):
        for func, args, kwargs, given in self.lines:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(given), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def capture(work, device, generators=()):
    """In place of `metarim_lite.envs.recording.capture`."""
    for _ in range(WARM_UP):
        work()
    states = [generator.get_state() for generator in generators]
    with Tape() as tape:
        given = work()
    tape.undo()
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    return tape.replay, given
