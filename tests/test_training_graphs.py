"""Training by recorded graphs: the same run, bit for bit. A tape stands for the graph on a CPU (see tape.py)."""

import dataclasses
import logging

import pytest
import tape
import torch

import metarim_lite as ml
from metarim_lite import recording
from metarim_lite.config import from_dict, to_dict
from metarim_lite.envs import GridWorlds
from metarim_lite.training import PPOConfig, Trainer
from metarim_lite.training.graphs import Recorder

SMALL = ml.AgentConfig(num_modules=4, active=2, hidden_size=6, lstm_size=8, input_size=8, channels=4, mission_size=8)
CONFIG = ml.TrainConfig(num_envs=10, steps=8, agent=SMALL, ppo=PPOConfig(epochs=1, minibatches=3), device="cpu")
SPANS = {"fast_span": 4, "slow_span": 12, "slow_every": 2}


def both(config, bank):
    """A trainer that calls its functions as they are, and one that records them."""
    plain, recorded = Trainer(config, bank), Trainer(config, bank)
    plain.recorder.records = False
    return plain, recorded


def assert_same(plain, recorded):
    mine, theirs = recorded.tensors(), plain.tensors()
    assert mine.keys() == theirs.keys() and recorded.counters == plain.counters
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def tick_both(plain, recorded, ticks):
    for _ in range(ticks):
        (watched, episodes), (expected, ended) = recorded.tick(), plain.tick()
        for told, wanted in ((watched, expected), (episodes, ended)):
            assert told.keys() == wanted.keys()
            assert all(torch.equal(told[name], wanted[name]) for name in told)
        assert_same(plain, recorded)


@pytest.mark.parametrize(
    "method, scales, count",
    [
        # one graph of a rollout and two of minibatches, of 6 and of 7 sequences, for each clock
        ("lstm", {}, 3),
        ("rim", {}, 3),
        ("meta-rim", {}, 6),
        ("meta-lstm", {}, 6),
        ("rim-long-memory", {"task_episodes": 2}, 3),
        ("meta-rim-long-memory", {}, 6),
        ("rim", {"seldom": (("attention", 2),)}, 4),  # 20 sequences: 7 and 6 without attention, 7 … with
    ],
)
def test_replayed_training_is_plain_training_bit_for_bit(method, scales, count, small_bank, taped):
    config = dataclasses.replace(CONFIG, method=method, timescales=SPANS | scales)
    plain, recorded = both(config, small_bank)
    tick_both(plain, recorded, 9 if config.scales.slow else 4)
    assert recorded.recorder.records and len(recorded.recorder.graphs) == count


def test_imitation_is_replayed_too(small_bank, taped):
    config = dataclasses.replace(CONFIG, method="lstm", imitate=True, timescales=SPANS)
    plain, recorded = both(config, small_bank)
    tick_both(plain, recorded, 5)
    assert len(recorded.recorder.graphs) == 3


def test_a_run_resumed_in_the_middle_of_replays_ends_as_one_that_was_not_stopped(small_bank, taped):
    config = dataclasses.replace(CONFIG, method="meta-rim", timescales=SPANS)
    plain, recorded = both(config, small_bank)
    tick_both(plain, recorded, 7)
    saved, other = ({name: tensor.clone() for name, tensor in recorded.tensors().items()} for _ in range(2))
    counters = dict(recorded.counters)
    fresh = Trainer(config, small_bank, fresh=False)
    fresh.restore(saved, counters, "here")
    tick_both(plain, fresh, 7)
    recorded.restore(other, counters, "here")  # back again, with graphs of what was
    for _ in range(7):
        recorded.tick()
    assert_same(plain, recorded)


def test_per_task_adaptation_is_not_recorded(small_bank, taped):
    trainer = Trainer(
        dataclasses.replace(CONFIG, method="meta-rim-per-task", num_envs=12, timescales=SPANS), small_bank
    )
    for _ in range(3):
        trainer.tick()
    assert not trainer.recorder.records and not trainer.recorder.graphs


def test_a_rate_that_is_changed_while_training_is_heeded(small_bank, taped):
    plain, recorded = both(dataclasses.replace(CONFIG, method="rim", timescales=SPANS), small_bank)
    tick_both(plain, recorded, 5)
    for trainer in (plain, recorded):
        for group in trainer.clocks["fast"].optimizer.param_groups:
            group["lr"] *= 0.1
    tick_both(plain, recorded, 4)
    assert len(recorded.recorder.graphs) == 5


# What the stand-in is worth: mistakes that a graph would make, and that these tests must not overlook.


def run(function, *inputs, calls=5):
    """What a function gives from call to call, recorded."""
    recorder = Recorder(torch.device("cpu"))
    return [recorder("f", function, *inputs) for _ in range(calls)], recorder


def test_a_counter_of_pythons_stands_still_in_replays(taped):
    counted = []

    def count(x):
        counted.append(1)
        return x + len(counted)

    found, _ = run(count, torch.zeros(()))
    assert [int(x) for x in found] == [1, 2, 2, 2, 2]  # plainly: 1 to 5


def test_what_python_put_into_the_place_of_a_tensor_is_not_seen(taped):
    held = {"x": torch.zeros(())}

    def step(y):
        held["x"] = held["x"] + y
        return held["x"]

    found, _ = run(step, torch.ones(()))
    assert [int(x) for x in found] == [1, 2, 2, 2, 2]
    held["x"] = torch.zeros(())

    def step_in_place(y):
        return held["x"].add_(y)

    found, _ = run(step_in_place, torch.ones(()))
    assert [int(x) for x in found] == [1, 2, 3, 4, 5]


def test_a_counter_planted_in_a_step_of_training_is_noticed(small_bank, taped, monkeypatch):
    steps = []
    step = GridWorlds.step

    def counting(worlds, actions):
        steps.append(1)
        return step(worlds, (actions + len(steps)) % 7)

    plain, recorded = both(dataclasses.replace(CONFIG, method="lstm", timescales=SPANS), small_bank)
    monkeypatch.setattr(GridWorlds, "step", counting)
    with pytest.raises(AssertionError):
        for _ in range(5):
            steps.clear()
            plain.tick()
            begun = len(steps)
            recorded.tick()
            assert_same(plain, recorded)
            assert len(steps) == 2 * begun


def test_what_a_replay_gave_is_kept(taped):
    """Copies: the next replay writes over its own memory, and that of its inputs."""
    recorder, given = Recorder(torch.device("cpu")), []
    for n in range(6):
        given.append(recorder("f", lambda x: (x, 2 * x), torch.tensor(float(n))))
    assert [(float(x), float(y)) for x, y in given] == [(n, 2 * n) for n in range(6)]


def test_each_key_and_each_shape_has_its_graph(taped):
    recorder = Recorder(torch.device("cpu"))
    for _ in range(4):
        for size in (2, 3):
            assert recorder("double", lambda x: 2 * x, torch.ones(size)).tolist() == [2] * size
            assert recorder("triple", lambda x: 3 * x, torch.ones(size)).tolist() == [3] * size
    assert len(recorder.graphs) == 4


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if (x > 0).all() else -x,
        lambda x: x[x > 0].sum(),
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor([1.0, 2.0]),
    ],
)
def test_where_nothing_can_be_recorded_training_goes_on_and_one_line_says_so(waits, taped, caplog):
    with caplog.at_level(logging.WARNING):
        found, recorder = run(waits, torch.tensor([1.0, 2.0]))
        recorder("other", lambda x: 2 * x, torch.ones(2))
    assert all(torch.equal(x, found[0]) for x in found) and not recorder.records
    assert [r.message.split(" (")[0] for r in caplog.records] == ["training is not recorded as graphs"]


def test_a_run_whose_graphs_fail_midway_ends_as_a_plain_one(small_bank, taped, monkeypatch, caplog):
    captured = []

    def fails_at_the_second(*args):
        captured.append(1)
        made = tape.capture(*args)
        if len(captured) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return made

    monkeypatch.setattr(recording, "capture", fails_at_the_second)
    plain, recorded = both(dataclasses.replace(CONFIG, method="rim", timescales=SPANS), small_bank)
    with caplog.at_level(logging.WARNING):
        tick_both(plain, recorded, 5)
    assert len(caplog.records) == 1 and len(captured) == 2 and not recorded.recorder.records


def test_settings_of_older_versions_still_load():
    old = to_dict(CONFIG) | {"cuda_graphs": True}
    assert from_dict(ml.TrainConfig, old) == CONFIG
    with pytest.raises(ml.UserError, match="cuda_graph"):
        from_dict(ml.TrainConfig, old | {"cuda_graph": True})
