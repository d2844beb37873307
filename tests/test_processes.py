"""One run on two processes, over gloo, started by torchrun: the run of one process."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import metarim_lite as ml
from metarim_lite import processes
from metarim_lite.config import to_dict
from metarim_lite.experiments import train_sequence
from metarim_lite.processes import Place
from metarim_lite.training import PPOConfig, TimeScales, train
from metarim_lite.training import together as shared
from metarim_lite.training.adaptation import task_worlds
from metarim_lite.training.rollouts import sample_actions
from metarim_lite.training.together import throw_all_dice

AGENT = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16, channels=4, head_size=8)
SCALES = TimeScales(fast=("encoder", "modules", "heads"), slow=("attention",), fast_span=5, slow_span=10, slow_every=2)
CONFIG = ml.TrainConfig(
    level="BabyAI-GoToObjS4-v0", frames=12 * 10 * 6, num_envs=12, steps=10, train_levels=30, report_every=1, seed=3,
    agent=AGENT, timescales=SCALES, device="cpu", evaluate_every=480, evaluate_episodes=10,
)  # fmt: skip
HALF = dataclasses.replace(CONFIG, frames=CONFIG.frames // 2)
IMITATION = dataclasses.replace(CONFIG, imitate=True, ppo=PPOConfig(epochs=1, minibatches=4))
PER_TASK = dataclasses.replace(
    CONFIG, method="meta-rim-per-task", ppo=PPOConfig(epochs=2, minibatches=2),
    timescales=dataclasses.replace(SCALES, adaptation="per-task", tasks=4, inner_steps=2, fast_lr=1.0),
)  # fmt: skip
THROUGH = dataclasses.replace(
    PER_TASK, timescales=dataclasses.replace(PER_TASK.timescales, meta_gradient="through-adaptation")
)
RUNS = (
    ("run", HALF), ("kept", CONFIG), ("run", CONFIG),  # "run" is stopped, then goes on
    ("imitation", IMITATION), ("reader", dataclasses.replace(IMITATION, frames=IMITATION.frames // 2)),
    ("reader", IMITATION), ("tasks", dataclasses.replace(PER_TASK, frames=240)), ("per-task", PER_TASK),
    ("tasks", PER_TASK), ("through", THROUGH),
)  # fmt: skip

SCRIPT = """
import json, sys
import torch
import metarim_lite as ml
from metarim_lite.config import from_dict
from metarim_lite import processes
torch.set_num_threads(1)
for name, config in json.load(open("runs.json")):
    run = ml.train(from_dict(ml.TrainConfig, config), folder=name, progress=False)
    ml.save_agent(f"{name}-{processes.place().rank}", run.agent)
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder that two processes leave behind."""
    root = tmp_path_factory.mktemp("together")
    (root / "runs.json").write_text(json.dumps([(name, to_dict(config)) for name, config in RUNS]))
    (root / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    done = subprocess.run(
        command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same in this process."""
    root = tmp_path_factory.mktemp("alone")
    for name, config in dict(RUNS).items():
        train(config, folder=root / name, progress=False)
    return root


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["kept", "imitation", "per-task", "through"])
def test_two_processes_learn_what_one_does_with_all_the_worlds(together, alone, name):
    """Six ticks, fast and slow. Parameters within 1e-5, and the memory that they made within 1e-4: sums of floats go in
    another order (on some CPUs farther apart than on others), all else is equal."""
    ours, theirs = (load_file(root / name / "checkpoint.safetensors") for root in (alone, together))
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        if tensor.is_floating_point():
            made = 10 if key.startswith("player/") else 1
            far = float((theirs[key] - tensor).abs().max())
            assert torch.allclose(theirs[key], tensor, rtol=made * 1e-4, atol=made * 1e-5), (key, far)
        else:  # worlds, what they show, dice: the same levels were played with the same actions
            assert torch.equal(theirs[key], tensor), key
    new = ml.Agent(AGENT).state_dict()
    assert all(new[k.removeprefix("agent/")].shape == v.shape for k, v in ours.items() if k.startswith("agent/"))


@pytest.mark.parametrize("name", ["kept", "imitation", "per-task", "through"])
def test_numbers_to_watch_are_those_of_all_worlds(together, alone, name):
    ours, theirs = lines_of(alone / name), lines_of(together / name)
    assert len(ours) == len(theirs) == (3 if name in ("per-task", "through") else 6)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds", "frames_per_second", "fast/ratio_error", "slow/ratio_error"}:
            assert b[key] == pytest.approx(a[key], rel=1e-3, abs=1e-5), key
    assert "held_out_success" in {key for line in theirs for key in line}
    assert all(line.get("fast/ratio_error", 0) < 1e-4 for line in theirs)


@pytest.mark.parametrize("name", ["run", "kept", "imitation", "per-task", "through"])
def test_all_processes_hold_the_same_agent_bit_for_bit(together, name):
    first, second = (load_file(together / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("names", [("run", "kept"), ("tasks", "per-task"), ("reader", "imitation")])
def test_two_processes_stopped_and_resumed_equal_two_never_stopped(together, names):
    stopped, whole = (load_file(together / name / "checkpoint.safetensors") for name in names)
    assert stopped.keys() == whole.keys()
    assert all(torch.equal(stopped[k], whole[k]) for k in whole)
    counted = [[(x["episodes"], x.get("success")) for x in lines_of(together / name)] for name in names]
    assert counted[0] == counted[1] and (names[0] == "reader" or counted[0][-1][0] > 0)


@pytest.mark.parametrize("name, config, worlds", [("run", CONFIG, "worlds"), ("tasks", PER_TASK, "worlds")])
def test_one_process_goes_on_with_the_run_of_two(together, alone, name, config, worlds):
    longer = dataclasses.replace(config, frames=config.frames + 120)
    for root in (together, alone):
        assert train(longer, folder=root / name, progress=False).finished
    a, b = (load_file(root / name / "checkpoint.safetensors") for root in (together, alone))
    assert torch.equal(a[f"player/{worlds}.grid"], b[f"player/{worlds}.grid"])
    assert torch.allclose(a["agent/actor.2.weight"], b["agent/actor.2.weight"], atol=1e-5)


def test_only_the_first_process_speaks(monkeypatch, capsys, tmp_path):
    from metarim_lite import cli

    run = ml.training.Run(CONFIG, ml.Agent(AGENT), [], tmp_path, finished=False)
    monkeypatch.setattr(ml.training, "train", lambda *_, **__: run)
    with pytest.raises(KeyboardInterrupt):  # the run was stopped
        cli.train(CONFIG)
    assert "parameters: " in capsys.readouterr().out
    monkeypatch.setattr(processes, "place", lambda: Place(1, 2))
    cli.train(CONFIG)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_sequence_of_a_minibatch_is_in_one_process(monkeypatch, size):
    B, spans = 4, 3
    rows = torch.randperm(spans * size * B)[:7]
    found, shares = [], 0.0
    for rank in range(size):
        monkeypatch.setattr(processes, "place", lambda rank=rank: Place(rank, size))
        mine, share = processes.my_part(rows, B)
        shares += share
        if share:
            span, world = mine // B, mine % B
            found += (span * size * B + rank * B + world).tolist()
    assert sorted(found) == sorted(rows.tolist())
    assert shares == pytest.approx(1)


def test_a_process_without_a_sequence_has_no_share(monkeypatch):
    monkeypatch.setattr(processes, "place", lambda: Place(1, 2))
    mine, share = processes.my_part(torch.tensor([0, 1, 9]), B=4)
    assert share == 0 and len(mine) == 1


def test_actions_are_drawn_as_multinomial_draws_and_shared_out_over_processes(monkeypatch):
    logits = torch.randn(12, 7)
    dice = [torch.Generator().manual_seed(5) for _ in range(4)]
    drawn = torch.multinomial(logits.log_softmax(-1).exp(), 1, generator=dice[0]).squeeze(1)
    assert torch.equal(sample_actions(logits, dice[1])[0], drawn)
    halves = []
    for rank, part in enumerate(logits.chunk(2)):
        monkeypatch.setattr(shared, "place", lambda rank=rank: Place(rank, 2))
        halves.append(sample_actions(part, dice[2 + rank], throw_all_dice)[0])
    assert torch.equal(torch.cat(halves), drawn)
    assert len({g.get_state().numpy().tobytes() for g in dice}) == 1


def test_worlds_that_do_not_divide_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "place", lambda: Place(0, 5))
    with pytest.raises(ml.UserError, match="12 worlds cannot be shared by 5 processes"):
        ml.training.Trainer(CONFIG)
    monkeypatch.setattr(processes, "place", lambda: Place(0, 3))
    with pytest.raises(ml.UserError, match="4 tasks cannot be shared by 3 processes"):
        task_worlds(ml.LevelBank.generate(CONFIG.level, range(30)), 4, num_envs=12, device="cpu", seed=0)


def test_what_one_process_does_is_refused_under_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ml.UserError, match="start it without torchrun"):
        ml.experiments.train_continually(ml.experiments.ContinualConfig())
    with pytest.raises(ml.UserError, match="start it without torchrun"):
        train_sequence()
