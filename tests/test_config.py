"""Settings from TOML and the command line: round trips, the command line wins, mistakes get one sentence."""

import dataclasses
import json
import os
import subprocess
import sys
import tomllib
from typing import get_type_hints

import numpy as np
import pytest

import metarim_lite as ml
from metarim_lite.cli import _read
from metarim_lite.config import bounded, check, from_dict, overlay, read_toml, to_dict, to_toml, whole_number
from metarim_lite.experiments import SEQUENCES, ContinualConfig, SequenceConfig
from metarim_lite.experiments.after_adaptation import evaluate_adaptation
from metarim_lite.experiments.commands import command_of
from metarim_lite.experiments.continual import train_continually
from metarim_lite.experiments.sequences import train_sequence
from metarim_lite.experiments.sweeps import SweepConfig, sweep
from metarim_lite.experiments.yardsticks import compare_yardsticks
from metarim_lite.tasks import Adding, BouncingBalls, Copying, Digits
from metarim_lite.training import METHODS, TimeScales, fitted

SLOWER = TimeScales(slower=(("attention", 0.1), ("heads", 1e-05)))
CONFIGS = [
    ml.TrainConfig(),
    ml.TrainConfig(method="rim", level='a "quoted" \\ läv€l', timescales=SLOWER, agent=ml.AgentConfig(active=2)),
    *(ml.TrainConfig(method=name, timescales=m.timescales) for name, m in METHODS.items()),
    ml.TrainConfig(timescales={"fast_lr": 1e-3}),
    *SEQUENCES.values(),
    ContinualConfig(base=ml.TrainConfig(method="rim", timescales=SLOWER)),
    SweepConfig(seeds=(4, 5), vary=("agent.active=2,4",), base=ml.TrainConfig(timescales={"slow_lr": 1e-05})),
]


def chosen(*words):
    """The config that the command line comes to."""
    return _read(list(words)).keywords["config"]


@pytest.fixture
def toml(tmp_path):
    def write(text):
        (tmp_path / "my.toml").write_text(text)
        return str(tmp_path / "my.toml")

    return write


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_a_config_survives_toml(config):
    assert from_dict(type(config), tomllib.loads(to_toml(config))) == config


def test_a_file_gives_settings_and_the_command_line_wins(toml):
    path = toml('method = "rim"\nframes = 5000\n[agent]\nactive = 3\n[ppo]\nclip = 1')
    config = chosen("train", "--config", path, "--frames", "7000", "--agent.num-modules", "5")
    agent, ppo = ml.AgentConfig(active=3, num_modules=5), ml.PPOConfig(clip=1.0)
    assert config == ml.TrainConfig(method="rim", frames=7000, agent=agent, ppo=ppo)
    assert chosen("train", f"--config={path}").frames == 5000


def test_a_table_of_time_scales_changes_those_of_the_method_that_holds(toml):
    path = toml('method = "meta-rim"\n[timescales]\nslow_every = 9')
    expected = dataclasses.replace(METHODS["meta-rim"].timescales, slow_every=9)
    assert chosen("train", "--config", path).scales == expected
    reversed_ = chosen("train", "--config", path, "--method", "meta-rim-reversed")
    assert reversed_.scales == dataclasses.replace(METHODS["meta-rim-reversed"].timescales, slow_every=9)
    words = ("--timescales.slow-every", "7")
    assert chosen("train", "--config", path, *words).scales == dataclasses.replace(expected, slow_every=7)


RATE = {"fast_lr": 1e-3}


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("given", [RATE, TimeScales(**RATE)], ids=["dict", "TimeScales"])
def test_changed_time_scales_are_laid_over_those_of_every_method(name, given):
    expected = dataclasses.replace(METHODS[name].timescales, **RATE)
    config = ml.TrainConfig(method=name, timescales=given)
    assert config.scales == expected
    assert from_dict(ml.TrainConfig, to_dict(config)).scales == expected
    ours = dataclasses.replace(ml.TrainConfig(timescales=given), method=name)
    assert ours.scales == expected, "another method keeps its own clocks"


def test_files_and_flags_lay_time_scales_over_those_of_every_method(toml):
    for text, words in (("[timescales]\nfast_lr = 0.001", ()), ("", ("--timescales.fast-lr", "0.001"))):
        path = toml(text)
        for name in ("rim", "meta-rim", "rim-frozen-attention"):
            config = chosen("train", "--config", path, "--method", name, *words)
            assert config.scales == dataclasses.replace(METHODS[name].timescales, **RATE)
    assert chosen("train", "--timescales.fast-lr", "0.001").scales.slow == ("attention",)
    for command in ("continual", "forgetting"):
        base = chosen(command, "--base.timescales.fast-lr", "0.001").base
        assert dataclasses.replace(base, method="meta-rim-reversed").scales.slow == ("modules",)
    config = chosen("sweep", "--config", toml("[base.timescales]\nfast_lr = 0.001"), "--vary", "timescales.slow_lr=0.1")
    for run in config.runs():
        own = METHODS[run.config.method].timescales
        assert run.config.scales == dataclasses.replace(own, fast_lr=1e-3, slow_lr=0.1)


def test_configs_of_older_versions_keep_their_time_scales():
    """They hold all time scales, or null for the method's own."""
    full = dataclasses.replace(METHODS["meta-rim-reversed"].timescales, fast_lr=0.25)
    old = {"method": "rim", "timescales": to_dict(full)}
    assert from_dict(ml.TrainConfig, old).scales == full
    assert from_dict(ml.TrainConfig, old | {"timescales": None}).scales == METHODS["rim"].timescales


@pytest.mark.parametrize(
    "given, said",
    [
        ({"fast_rl": 1.0}, "did you mean 'fast_lr'"),
        ({"slow": ()}, "'attention' is on no clock"),
        ({"fast_lr": "x"}, "fast_lr is 'x'; it must be a number"),
        ("meta-rim", "timescales is 'meta-rim'; give a dict"),
    ],
)
def test_impossible_changes_get_one_sentence(given, said):
    with pytest.raises(ml.UserError, match=said):
        ml.TrainConfig(timescales=given)


def test_the_command_of_a_config_gives_it_back():
    config = ml.TrainConfig(timescales={"fast_lr": 0.5, "slow_span": 40}, agent=ml.AgentConfig(active=2))
    assert chosen(*command_of(config).split()[1:]) == config


def test_the_config_kept_with_a_run_gives_the_same_run(tmp_path, small_bank):
    agent = ml.AgentConfig(num_modules=4, active=2, hidden_size=8, input_size=16)
    config = ml.TrainConfig(
        method="rim", frames=320, num_envs=8, steps=40, train_levels=9, agent=agent, timescales=SLOWER
    )
    ml.train(config, folder=tmp_path / "run", progress=False, bank=small_bank)
    assert chosen("train", "--config", str(tmp_path / "run" / "config.toml")) == fitted(config)
    again = chosen("train", "--config", str(tmp_path / "run" / "config.toml"), "--frames", "640")
    assert len(ml.train(again, folder=tmp_path / "run", progress=False, bank=small_bank).metrics) == 2


def test_a_sequence_task_reads_a_file_over_its_own_settings(toml):
    path = toml("updates = 7\n[copying]\nblanks = 3")
    config = chosen("train", "--task", "copying-small", "--config", path, "--batch", "4")
    small = SEQUENCES["copying-small"]
    copying = dataclasses.replace(small.copying, blanks=3)
    assert config == dataclasses.replace(small, updates=7, batch=4, copying=copying)


@pytest.mark.parametrize("command", ["sweep", "continual", "forgetting"])
def test_commands_over_many_runs_read_files_too(toml, command):
    path = toml("[base]\nframes = 70_000\n[base.agent]\nactive = 3")
    config = chosen(command, "--config", path, "--base.steps", "20")
    assert (config.base.frames, config.base.agent.active, config.base.steps) == (70_000, 3, 20)
    with pytest.raises(ml.UserError, match="did you mean 'frames'"):
        chosen(command, "--config", toml("[base]\nframe = 3"))


@pytest.mark.parametrize(
    "text, said",
    [
        ("num_env = 3", "did you mean 'num_envs'"),
        ("[agent]\nnum_module = 3", "did you mean 'num_modules'"),
        ("[timescale]\nslow_every = 3", "did you mean 'timescales'"),
        ("[timescales]\nslow_evry = 3", "did you mean 'slow_every'"),
        ('method = "meta-rin"', "did you mean 'meta-rim'"),
        ('frames = "many"', "frames is 'many'; it must be a whole number"),
        ("frames = 1.5", "frames is 1.5; it must be a whole number"),
        ("frames = true", "frames is True; it must be a whole number"),
        ('[ppo]\nclip = "x"', "clip is 'x'; it must be a number"),
        ("agent = 3", "AgentConfig needs a table of settings, got 3"),
        ('[timescales]\nfast = "modules"', "fast is 'modules'; it must be a list"),
        ("frames = ", "is not TOML"),
    ],
)
def test_a_mistake_in_a_file_gets_one_sentence(toml, text, said):
    with pytest.raises(ml.UserError) as refused:
        chosen("train", "--config", toml(text))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_gets_one_sentence(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ml.UserError, match="cannot read the config"):
            read_toml(path)
    (tmp_path / "latin.toml").write_bytes(b'level = "\xe9"')
    with pytest.raises(ml.UserError, match="is not TOML"):
        read_toml(tmp_path / "latin.toml")


def test_config_files_are_utf_8_wherever_they_are_read(tmp_path):
    """In a process whose locale knows ASCII alone; a byte-order mark is skipped."""
    config = ml.TrainConfig(level="größe ✓", start="läv€l")
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "config.toml").write_bytes(mark + to_toml(config).encode())
        (tmp_path / "config.json").write_bytes(mark + json.dumps(to_dict(config), ensure_ascii=False).encode())
        code = (
            "import locale, sys, metarim_lite as ml\n"
            "from metarim_lite.config import from_dict, read_toml\n"
            "from metarim_lite.runs.pins import read_config\n"
            "from pathlib import Path\n"
            "assert locale.getencoding().upper() not in ('UTF-8', 'UTF8'), locale.getencoding()\n"
            "config = ml.TrainConfig(level='gr\\xf6\\xdfe \\u2713', start='l\\xe4v\\u20acl')\n"
            "assert from_dict(ml.TrainConfig, read_toml('config.toml')) == config\n"
            "assert read_config(ml.TrainConfig, Path('config.json'))[0] == config\n"
        )
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | plain, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")


def test_an_overlay_keeps_what_it_does_not_name():
    config = SequenceConfig(width=300, num_modules=6)
    assert overlay(config, {}) == config
    assert overlay(config, {"batch": 3}) == dataclasses.replace(config, batch=3)


@dataclasses.dataclass(frozen=True)
class Bread:
    """A config with one field of each kind of bounds."""

    loaves: int = bounded(2, at_least=1)
    seed: int = bounded(0, at_least=0, at_most=2**62 - 1)
    guests: int = bounded(0, at_least=0, zero="nobody")
    share: float = bounded(0.5, at_least=0, at_most=1)
    open_share: float = bounded(0.5, above=0, below=1)
    heat: float = bounded(220.0, above=0, at_most=1000.0)
    salt: float = bounded(0.1, at_least=0)
    slices: tuple[int, ...] = bounded((8, 12), at_least=2)
    flour: str = bounded("rye", one_of=("rye", "wheat"))
    weight: float | None = bounded(None, above=0)
    sliced: bool = False
    pairs: tuple[tuple[str, float], ...] = ()

    def __post_init__(self):
        check(self)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"loaves": 0}, "Bread.loaves is 0; it must be a whole number of at least 1"),
        ({"loaves": True}, "Bread.loaves is True; it must be a whole number of at least 1"),
        ({"loaves": 2.0}, "Bread.loaves is 2.0; it must be a whole number of at least 1"),
        ({"seed": 2**62}, f"Bread.seed is {2**62}; it must be a whole number from 0 to 2^62 - 1"),
        ({"guests": -1}, "Bread.guests is -1; it must be 0, for nobody, or more"),
        ({"share": 1.01}, "Bread.share is 1.01; it must lie between 0 and 1"),
        ({"open_share": 1}, "Bread.open_share is 1.0; it must lie between 0 and 1"),
        ({"open_share": 0}, "Bread.open_share is 0.0; it must lie between 0 and 1"),
        ({"heat": 0}, "Bread.heat is 0.0; it must be greater than 0 and at most 1000"),
        ({"heat": 1000.5}, "Bread.heat is 1000.5; it must be greater than 0 and at most 1000"),
        ({"salt": -0.5}, "Bread.salt is -0.5; it must be 0 or more"),
        ({"salt": False}, "Bread.salt is False; it must be a number"),
        ({"salt": float("nan")}, "Bread.salt is nan; it must be a number"),
        ({"salt": np.float32("inf")}, "Bread.salt is inf; it must be a number"),
        ({"weight": 0}, "Bread.weight is 0.0; it must be greater than 0"),
        ({"slices": ()}, "Bread.slices is (); it must be a tuple of one or more whole numbers of at least 2"),
        ({"slices": (8, 1)}, "Bread.slices is (8, 1); it must be a tuple of one or more whole numbers of at least 2"),
        ({"slices": (8, True)}, "it must be a tuple of one or more whole numbers of at least 2"),
        ({"slices": 8}, "Bread.slices is 8; it must be a tuple: write (8,)"),
        ({"flour": "rue"}, "unknown flour 'rue'; did you mean 'rye'?"),
        ({"sliced": 1}, "Bread.sliced is 1; it must be true or false"),
    ],
)
def test_a_field_out_of_its_declared_bounds_is_refused_with_the_same_sentence_everywhere(given, said):
    with pytest.raises(ml.UserError) as refused:
        Bread(**given)
    assert said in str(refused.value)


def test_fields_at_their_bounds_are_taken():
    Bread(loaves=1, seed=2**62 - 1, guests=0, share=0, heat=1000, salt=0, slices=(2,), weight=1e-9)


def test_a_number_larger_than_any_float_is_refused_and_does_not_crash():
    with pytest.raises(ml.UserError, match="salt is 1000.*; it must be a number"):
        Bread(salt=10**400)


def test_numbers_of_numpy_are_kept_as_pythons_own_which_go_into_json():
    given = Bread(
        loaves=np.int64(3), seed=np.uint8(5), share=np.float32(0.25), heat=np.int32(9), slices=(np.int16(4), 5),
        flour=np.str_("wheat"), weight=np.float64(2.5), sliced=np.bool_(True), pairs=(("a", np.float64(0.5)),),
    )  # fmt: skip
    same = Bread(3, 5, 0, 0.25, heat=9.0, slices=(4, 5), flour="wheat", weight=2.5, sliced=True, pairs=(("a", 0.5),))
    assert given == same
    assert json.dumps(to_dict(given)) == json.dumps(to_dict(same))
    assert from_dict(Bread, {"loaves": np.int64(3), "share": np.float32(0.25)}) == Bread(loaves=3, share=0.25)
    config = ml.TrainConfig(
        seed=np.int64(3), ppo=ml.PPOConfig(clip=np.float32(0.5)), timescales={"slow_span": np.int8(9)}
    )
    assert json.loads(json.dumps(to_dict(config)))["timescales"]["slow_span"] == 9


CHECKED = [ml.TrainConfig, ml.PPOConfig, TimeScales, Copying, Adding, BouncingBalls, Digits]


@pytest.mark.parametrize(
    "cls, name",
    [(c, f.name) for c in CHECKED for f in dataclasses.fields(c) if get_type_hints(c)[f.name] in (int, float)],
)
def test_a_truth_value_is_no_number_in_any_config(cls, name):
    with pytest.raises(ml.UserError, match=f"{cls.__name__}.{name} is True; it must be a"):
        cls(**{name: True})


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_as_arguments_are_taken_from_numpy_too(value):
    assert type(whole_number("count", value, at_least=1)) is int
    assert whole_number("count", value, at_least=1, at_most=3) == 3


@pytest.mark.parametrize("value", [0, np.int64(0), True, np.bool_(True), 1.0, np.float64(2), "1", None])
def test_what_is_no_whole_number_within_bounds_is_refused(value):
    with pytest.raises(ml.UserError, match="count must be a whole number of at least 1, got"):
        whole_number("count", value, at_least=1)
    if value != 0:
        with pytest.raises(ml.UserError, match="count must be a whole number, got"):
            whole_number("count", value)


TAKE_A_CONFIG = {
    "train": (ml.train, "TrainConfig"),
    "watch": (ml.watch, "TrainConfig"),
    "Agent": (ml.Agent, "AgentConfig"),
    "train_continually": (train_continually, "ContinualConfig"),
    "compare_yardsticks": (lambda config: compare_yardsticks(config, seeds=(0,)), "ContinualConfig"),
    "train_sequence": (train_sequence, "SequenceConfig"),
    "sweep": (lambda config: sweep(config, "never made"), "SweepConfig"),
    "evaluate_adaptation": (lambda config: evaluate_adaptation(ml.Agent(), "BabyAI-GoToObjS4-v0", config=config), ""),
}


@pytest.mark.parametrize("given", ["meta-rim", {"method": "rim"}, ml.PPOConfig()], ids=repr)
@pytest.mark.parametrize("name", TAKE_A_CONFIG)
def test_what_is_no_config_gets_one_sentence_wherever_one_is_taken(name, given):
    take, wanted = TAKE_A_CONFIG[name]
    with pytest.raises(ml.UserError, match=f"config is .*give a {wanted or 'TrainConfig'} with the fields"):
        take(given)
