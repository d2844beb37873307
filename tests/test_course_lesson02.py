"""What lesson 02 suggests to try is what it says."""

import re
from pathlib import Path

import torch

import metarim_lite as ml
from metarim_lite.training.ppo import PPOConfig, cut_into_spans, minibatch_rows, ppo_loss
from metarim_lite.training.rollouts import Player

SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / "_source" / "02_recurrent_controllers.py"


def tried(change: tuple[str, str]):
    """The lesson's `learn`, with a change to its text."""
    cells = re.split(r"^# %%.*\n", SOURCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = next(cell for cell in cells if "def learn(" in cell)
    assert change[0] in code
    names = {"torch": torch, "ml": ml, "Player": Player, "PPOConfig": PPOConfig, "ppo_loss": ppo_loss}
    names |= {"cut_into_spans": cut_into_spans, "minibatch_rows": minibatch_rows}
    names["train"] = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(50))
    exec(code.replace(*change).replace("B, T, SPAN = 128", "B, T, SPAN = 16"), names)
    return names["learn"]


def test_every_change_that_the_lesson_suggests_runs(capsys):
    text = SOURCE.read_text(encoding="utf-8").split("# ## Try it")[1].split("# %%")[0]
    assert text.count("\n# 1.") + text.count("\n# 2.") + text.count("\n# 3.") == 3 and "PPOConfig(lam=0.0)" in text
    for change in (("PPOConfig()", "PPOConfig()"), ("PPOConfig()", "PPOConfig(lam=0.0)")):
        agent, curve = tried(change)(ml.Agent, seed=1, updates=2)
        assert isinstance(agent, ml.Agent) and [frames for frames, _ in curve] == [16 * 40 * 2]
    assert "frames" in capsys.readouterr().out
    config = re.search(r"`ml\.watch\((ml\.TrainConfig\(.*\))\)`", text)[1]
    assert eval(config, {"ml": ml}).level == "BabyAI-GoToObj-v0"
