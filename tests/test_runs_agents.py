"""Agents that runs leave: on the disk and back bit for bit, shipped, and never one of a run that goes on."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import AGENT, CONFIG, SCALES, SHORT

import metarim_lite as ml
from metarim_lite.training import train
from metarim_lite.training.banks import held_out_bank


def test_while_a_run_is_made_longer_it_has_no_agent(tmp_path, stopped_run, monkeypatch):
    """The agent of the shorter run is not this one's."""
    from metarim_lite.experiments import shipped

    monkeypatch.setattr(shipped, "DATA", tmp_path)
    ship = shipped.ship
    assert (stopped_run / "agent.safetensors").exists()
    short = (stopped_run / "config.json").read_bytes()
    others = ml.LevelBank.generate(SHORT.level, seeds=range(100, 120))
    with pytest.raises(ml.UserError, match="plays other levels"):
        train(SHORT, folder=stopped_run, progress=False, bank=others)
    assert ml.load_agent(stopped_run) and (stopped_run / "config.json").read_bytes() == short  # nothing was touched
    old = shutil.copyfile(stopped_run / "agent.safetensors", tmp_path / "old")
    with pytest.raises(ZeroDivisionError):
        train(SHORT, folder=stopped_run, progress=False, on_report=lambda _: 1 / 0)
    for use in (ml.load_agent, lambda folder: ship(folder, "nobody")):
        with pytest.raises(ml.UserError, match="finished") as refused:
            use(stopped_run)
        assert "\n" not in str(refused.value) and str(stopped_run) in str(refused.value)
    shutil.copyfile(old, stopped_run / "agent.safetensors")  # as older versions left it
    with pytest.raises(ml.UserError, match="is at 1,280 of 1,920 frames"):
        ship(stopped_run, "nobody")
    train(SHORT, folder=stopped_run, progress=False)
    longer = ml.load_agent(stopped_run).state_dict()
    assert not all(torch.equal(x, longer[k]) for k, x in load_file(old).items())


def test_an_agent_is_shipped_at_half_precision_with_the_success_of_what_is_shipped(tmp_path, whole_run, monkeypatch):
    from metarim_lite.experiments import shipped

    monkeypatch.setattr(shipped, "DATA", tmp_path)
    judged = []
    evaluate = shipped.evaluate
    monkeypatch.setattr(shipped, "evaluate", lambda agent, *how: judged.append(agent) or evaluate(agent, *how))
    record = shipped.ship(whole_run.folder, "small", episodes=50)
    kept, own = load_file(tmp_path / "small.safetensors"), load_file(whole_run.folder / "agent.safetensors")
    assert all(torch.equal(kept[name], own[name].half()) for name in own) and kept.keys() == own.keys()
    (agent,), loaded = judged, ml.load_agent(tmp_path / "small.safetensors").state_dict()
    assert all(torch.equal(x, loaded[name]) and x.dtype == torch.float32 for name, x in agent.state_dict().items())
    again = ml.evaluate(ml.load_agent(tmp_path / "small.safetensors"), held_out_bank((CONFIG.level,), 50, 200), 50)
    assert record.held_out["value"] == again.success.value and record.held_out["episodes"] == 50
    assert record.frames == SHORT.frames and record.command.startswith("metarim train --method")


def test_an_agent_survives_the_disk_bit_for_bit(tmp_path):
    agent = ml.Agent(AGENT)
    path = ml.save_agent(tmp_path / "mine", agent)
    again = ml.load_agent(path)
    assert again.config == agent.config
    assert all(torch.equal(a, b) for a, b in zip(agent.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_file_that_is_no_agent_is_refused(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"not an agent")
    with pytest.raises(ml.UserError, match="damaged or foreign"):
        ml.load_agent(tmp_path / "junk.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ml.UserError, match="damaged or foreign"):
        ml.load_agent(tmp_path / "foreign.safetensors")
    with pytest.raises(ml.UserError, match="unknown agent"):
        ml.load_agent("no-such-agent")


def test_the_command_kept_with_a_shipped_agent_gives_its_config_back():
    from metarim_lite.cli import _read
    from metarim_lite.experiments.commands import command_of

    scales = dataclasses.replace(SCALES, slower=(("modules", 0.5),))
    config = dataclasses.replace(CONFIG, method="rim", seed=3, timescales=scales)
    for original in (ml.TrainConfig(), ml.TrainConfig(method="lstm", num_envs=64), config):
        words = command_of(original).split()
        assert words[0] == "metarim"
        assert _read(words[1:]).keywords["config"] == original
