"""What stands for a CUDA graph where there is no GPU: the operations of a run, written down with their memory."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WAITS = (
    aten._local_scalar_dense.default,  # .item(), bool(x)
    aten.nonzero.default,
    aten.masked_select.default,
    aten.lift_fresh.default,  # torch.tensor(numbers)
)


class Tape(TorchDispatchMode):
    """Records operations and plays them again as a graph would: on the tensors that they were recorded with.

    What Python decided while recording stays decided; what it put elsewhere since is not seen; what was made is spoilt
    before each replay; and what would make a host wait for its device is an error. Generators go on from one replay to
    the next.
    """

    def __init__(self):
        super().__init__()
        self.lines, self.before, self.made = [], {}, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        by_flags = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in WAITS or by_flags:
            raise RuntimeError(f"{func} makes the host wait, which no graph can hold")
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = args[position] if position < len(args) else kwargs.get(argument.name)
                for memory in storages(written):
                    self.before.setdefault(memory.data_ptr(), (memory, memory.clone()))
        given = func(*args, **kwargs)
        there = {memory.data_ptr() for memory in storages((args, kwargs))}
        self.made |= {m.data_ptr(): m for m in storages(given) if m.data_ptr() not in there}
        self.lines.append((torch.is_grad_enabled(), func, args, kwargs, tree_leaves(given)))
        return given

    def undo(self):
        """A capture runs nothing: put back what was written while recording."""
        for memory, content in self.before.values():
            memory.copy_(content)

    def replay(self):
        for memory in self.made.values():
            memory.fill_(255)  # NaN, -1, true
        with torch._C._AutoDispatchBelowAutograd():  # as when they were recorded
            for learning, func, args, kwargs, given in self.lines:
                with torch.set_grad_enabled(learning):
                    again = tree_leaves(func(*args, **kwargs))
                for old, new in zip(given, again, strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def storages(tensors):
    return [x.untyped_storage() for x in tree_leaves(tensors) if isinstance(x, torch.Tensor)]


def capture(work, device, generators=(), pool=None):
    """In place of `metarim_lite.recording.capture`."""
    states = [generator.get_state() for generator in generators]
    with Tape() as tape:
        given = work()
    tape.undo()
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    return tape.replay, given
