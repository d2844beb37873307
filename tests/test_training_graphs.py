"""Recorded passes: the memory that a CUDA graph uses again and again, played here by a stand-in on the CPU."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.errors import UserError
from metarim_lite.training import METHODS, Trainer, graphs

SMALL = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, lstm_size=16, input_size=16, channels=4)


class SameMemory:
    """What a graph does to those who use it: it works on its own copies of the inputs, in the form they were
    recorded in, and spoils at each replay what the last one returned."""

    made: list["SameMemory"] = []

    def __init__(self, function, inputs, copies):
        self.function, self.inputs, self.copies, self.last = function, inputs, copies, ()
        self.learns = [p.requires_grad for p in function.parameters()]
        self.made.append(self)

    def __call__(self, *inputs):
        for old, new in zip(self.inputs, inputs, strict=True):
            assert old.shape == new.shape
            old.copy_(new)
        assert torch.is_grad_enabled() is not self.copies
        assert self.copies or self.learns == [p.requires_grad for p in self.function.parameters()]
        with torch.no_grad():
            for old in self.last:
                old.fill_(torch.nan)
        outputs = self.function(*self.inputs)
        self.last = tuple(x.detach() for x in outputs)  # the same memory
        return tuple(x.clone() for x in outputs) if self.copies else outputs


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(SameMemory, "made", [])
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda f, inputs: SameMemory(f, inputs, False))
    monkeypatch.setattr(graphs, "record", lambda f, inputs: SameMemory(f, inputs, True))
    return SameMemory.made


@pytest.mark.parametrize("method", ["lstm", "rim", "meta-rim", "meta-rim-reversed"])
def test_replayed_passes_learn_what_plain_passes_learn(method, small_bank, recorded):
    config = ml.TrainConfig(method=method, num_envs=16, steps=40, agent=SMALL)
    plain, replayed = Trainer(config, small_bank), Trainer(config, small_bank)
    replayed.passes = graphs.Replayed(replayed.agent)
    for _ in range(7):
        told = plain.tick()[0]
        for name, value in replayed.tick()[0].items():
            assert torch.equal(value, told[name]), name
    for ours, theirs in zip(replayed.agent.parameters(), plain.agent.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    clocks = 2 if METHODS[method].timescales.slow else 1
    assert len(recorded) == 1 + clocks  # to play, and one for each clock


def test_where_there_is_no_gpu_it_is_said_at_once(small_bank):
    with pytest.raises(UserError, match="cuda_graphs=True needs a GPU, and this run is on 'cpu'"):
        Trainer(ml.TrainConfig(method="rim", device="cpu", cuda_graphs=True), small_bank)
    with pytest.raises(UserError, match="adapts per task"):
        ml.TrainConfig(method="meta-rim-per-task", cuda_graphs=True)
