"""What a run was begun with, it goes on with: settings, levels and methods; others are refused in a sentence."""

import dataclasses
import json

import pytest
from tiny_runs import CONFIG, SHORT, stop_at_once

import metarim_lite as ml
from metarim_lite.config import from_dict, to_dict
from metarim_lite.experiments import ContinualConfig
from metarim_lite.experiments.sweeps import SweepConfig
from metarim_lite.runs.folder import open_folder
from metarim_lite.training import train


def test_a_run_goes_on_with_its_own_held_out_levels_only(tmp_path):
    own, others = (ml.LevelBank.generate(SHORT.level, seeds=range(first, first + 20)) for first in (500, 600))
    config = dataclasses.replace(SHORT, evaluate_every=800, evaluate_episodes=20)
    train(config, folder=tmp_path, progress=False, held_out=own, on_report=stop_at_once)
    for wrong in (others, None):  # None: the config's own
        with pytest.raises(ml.UserError, match="evaluated on other held-out levels"):
            train(config, folder=tmp_path, progress=False, held_out=wrong)
    assert train(config, folder=tmp_path, progress=False, held_out=own).finished


def test_a_folder_of_another_run_is_refused(stopped_run):
    with pytest.raises(ml.UserError, match="seed"):
        train(dataclasses.replace(SHORT, seed=1), folder=stopped_run, progress=False)


def test_unknown_names_are_refused_before_any_work():
    with pytest.raises(ml.UserError, match="did you mean"):
        train(ml.TrainConfig(method="meta-rin"), progress=False)
    with pytest.raises(ml.UserError, match="BabyAI-GoToLocal-v0"):
        train(ml.TrainConfig(level="BabyAI-GoToLocl-v0", frames=1), progress=False)
    with pytest.raises(ml.UserError, match="device 'cuda:99' is not available here"):
        train(ml.TrainConfig(device="cuda:99"), progress=False)
    with pytest.raises(ml.UserError, match="device 'meta' is not supported; use 'auto', 'cpu' or 'cuda'"):
        train(ml.TrainConfig(device="meta"), progress=False)
    with pytest.raises(ml.UserError, match="one advantage, which has no spread"):
        ml.TrainConfig(num_envs=1, steps=1, timescales={"fast_span": 1}, ppo=ml.PPOConfig(minibatches=1))


def test_unknown_config_keys_are_refused_with_the_nearest():
    with pytest.raises(ml.UserError, match="did you mean 'num_envs'"):
        from_dict(ml.TrainConfig, {"num_env": 3})
    with pytest.raises(ml.UserError, match="did you mean 'num_modules'"):
        from_dict(ml.TrainConfig, {"agent": {"num_module": 3}})


def test_a_run_goes_on_with_its_own_levels_only_and_not_without_any(tmp_path):
    own, others = (ml.LevelBank.generate(SHORT.level, seeds=range(first, first + 20)) for first in (0, 100))
    with pytest.raises(ml.UserError, match="holds no level"):
        train(SHORT, progress=False, bank=own.select([]))
    train(SHORT, folder=tmp_path, progress=False, bank=own)
    longer = dataclasses.replace(SHORT, frames=SHORT.frames + 1)
    with pytest.raises(ml.UserError, match="plays other levels"):
        train(longer, folder=tmp_path, progress=False, bank=others)
    assert train(longer, folder=tmp_path, progress=False, bank=own).finished


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"seed": 2**63}, "seed is 9223372036854775808; it must be a whole number from 0"),
        ({"level": ("A", "B")}, "it must be a text"),
        ({"evaluate_every": -1}, "evaluate_every is -1; it must be 0"),
        ({"evaluate_every": "x"}, "evaluate_every is 'x'; it must be a whole number"),
        ({"ppo": {"gamma": 0.9}}, "it must be a PPOConfig"),
    ],
)
def test_settings_of_another_kind_get_one_sentence(wrong, says):
    with pytest.raises(ml.UserError, match=says):
        ml.TrainConfig(**wrong)


def test_a_method_redefined_between_two_starts_is_refused_with_the_difference(small_bank, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, method="rim", frames=320, timescales={"fast_span": 5})
    run = train(config, folder=tmp_path, progress=False, bank=small_bank)
    rim, saved = ml.METHODS["rim"], (tmp_path / "config.json").read_bytes()
    again = dataclasses.replace(config, frames=640)
    scales, rate = dataclasses.replace(rim.timescales, fast_lr=0.25), rim.timescales.fast_lr
    for other, said in (
        (
            dataclasses.replace(rim, timescales=scales),
            f"its timescales.fast_lr was {rate} when the run began, is 0.25 now",
        ),
        (dataclasses.replace(rim, controller="lstm"), 'its controller was "rim" when the run began, is "lstm" now'),
    ):
        monkeypatch.setitem(ml.METHODS, "rim", other)
        with pytest.raises(ml.UserError, match="redefined") as refused:
            train(again, folder=tmp_path, progress=False, bank=small_bank)
        assert said in str(refused.value) and "\n" not in str(refused.value)
        monkeypatch.setitem(ml.METHODS, "rim", other)
        if other.controller == "rim":  # the settings that the sentence names make it the run that was begun
            assert f"set timescales.fast_lr = {rate} to go on" in str(refused.value)
            spelled = dataclasses.replace(config, timescales={"fast_span": 5, "fast_lr": rate})
            assert train(spelled, folder=tmp_path, progress=False, bank=small_bank).metrics == run.metrics
            (tmp_path / "config.json").write_bytes(saved)
        else:
            assert "define it as it was" in str(refused.value)
    assert (tmp_path / "config.json").read_bytes() == saved
    for same in (
        dataclasses.replace(rim, about="other words"),
        dataclasses.replace(rim, timescales=dataclasses.replace(rim.timescales, fast_span=8)),
    ):
        monkeypatch.setitem(ml.METHODS, "rim", same)  # the run's own span of 5 holds, whatever the method's
        more = train(again, folder=tmp_path, progress=False, bank=small_bank)
    assert more.metrics[: len(run.metrics)] == run.metrics


def test_config_json_spells_out_the_method_and_the_versions(small_bank, tmp_path, caplog):
    train(dataclasses.replace(CONFIG, frames=320, timescales={"fast_span": 5}), folder=tmp_path, progress=False,
          bank=small_bank)  # fmt: skip
    said = json.loads((tmp_path / "config.json").read_text())
    scales = dataclasses.replace(ml.METHODS["meta-rim"].timescales, fast_span=5)
    assert said["pinned"] == json.loads(json.dumps({
        "timescales": to_dict(scales), "controller": "rim", "match_parameters": False,
    }))  # fmt: skip
    assert said["timescales"]["fast_span"] == 5 and said["timescales"]["slow_span"] is None
    assert [set(made_by) for made_by in said["versions"]] == [{"metarim-lite", "torch", "minigrid"}]
    assert not [record for record in caplog.records if "was made by" in record.message]

    said["versions"][0]["torch"] = "1.0"
    (tmp_path / "config.json").write_text(json.dumps(said))
    train(dataclasses.replace(CONFIG, frames=640, timescales={"fast_span": 5}), folder=tmp_path, progress=False,
          bank=small_bank)  # fmt: skip
    told = [record.message for record in caplog.records if "was made by" in record.message]
    assert len(told) == 1 and "torch 1.0, now " in told[0] and "minigrid" not in told[0]
    kept = json.loads((tmp_path / "config.json").read_text())["versions"]
    assert len(kept) == 2 and kept[0]["torch"] == "1.0"


@pytest.mark.parametrize("full", [False, True], ids=["null", "full table"])
def test_a_folder_of_an_older_version_goes_on(small_bank, tmp_path, full):
    """Its config.json has no pins, and as time scales null or all of them."""
    config = dataclasses.replace(CONFIG, method="rim", frames=320, steps=20, timescales=None)
    train(config, folder=tmp_path, progress=False, bank=small_bank)
    said = json.loads((tmp_path / "config.json").read_text())
    old = {k: v for k, v in said.items() if k not in ("pinned", "versions")}
    (tmp_path / "config.json").write_text(json.dumps(old | {"timescales": to_dict(config.scales) if full else None}))
    assert train(dataclasses.replace(config, frames=640), folder=tmp_path, progress=False, bank=small_bank).finished


def test_another_time_scale_is_another_run_however_it_is_spelled(small_bank, tmp_path):
    config = dataclasses.replace(CONFIG, frames=320, timescales={"fast_span": 5, "slow_every": 4})
    train(config, folder=tmp_path, progress=False, bank=small_bank)
    same = dataclasses.replace(config, timescales={"fast_span": 5})
    assert train(same, folder=tmp_path, progress=False, bank=small_bank).finished
    other = dataclasses.replace(config, timescales={"fast_span": 5, "slow_every": 3})
    with pytest.raises(ml.UserError, match="holds another run: its timescales.slow_every is 4, this one's 3"):
        train(other, folder=tmp_path, progress=False, bank=small_bank)


def test_sequences_of_tasks_and_sweeps_notice_a_redefined_method_too(tmp_path, monkeypatch):
    rim = ml.METHODS["rim"]
    tasks = ContinualConfig(base=ml.TrainConfig(method="rim"))
    sweep = SweepConfig(methods=("rim", "lstm"))
    for name, config, where in (("tasks", tasks, "base.timescales"), ("sweep", sweep, "method.rim.timescales")):
        monkeypatch.setitem(ml.METHODS, "rim", rim)
        (tmp_path / name).mkdir()
        open_folder(tmp_path / name, config, ("methods",))
        open_folder(tmp_path / name, config, ("methods",))
        monkeypatch.setitem(
            ml.METHODS, "rim", dataclasses.replace(rim, timescales=dataclasses.replace(rim.timescales, fast_span=8))
        )
        with pytest.raises(ml.UserError, match=f"{where}.fast_span was 20 when the run began, is 8 now"):
            open_folder(tmp_path / name, config, ("methods",))
    monkeypatch.setitem(ml.METHODS, "rim", rim)
    open_folder(tmp_path / "sweep", dataclasses.replace(sweep, methods=("lstm", "rim", "meta-rim")), ("methods",))
