"""Training on sequence tasks: one trainer for all of them, a memory that is learned, settings that fit."""

import dataclasses
import json

import pytest
import torch
from tiny_sequences import TINY

import metarim_lite as ml
from metarim_lite.config import from_dict, to_dict
from metarim_lite.experiments import sequences
from metarim_lite.experiments.sequences import (
    SEQUENCES,
    SequenceConfig,
    SequenceModel,
    SequenceTrainer,
    baseline,
    evaluate_sequence,
    load_sequence_model,
    train_sequence,
)
from metarim_lite.tasks import TASKS, Copying


@pytest.mark.parametrize("controller", ["rim", "lstm"])
@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_trainer_runs_every_task_and_tests_every_split(task, controller):
    if task == "digits":
        pytest.importorskip("sklearn")
    config = dataclasses.replace(TINY, task=task, controller=controller)
    run = train_sequence(config, progress=False)
    assert [line["update"] for line in run.metrics] == [3, 6, 9, 12] and run.finished
    for line in run.metrics:
        assert [f"test/{split}" for split in config.chosen_task.tests] == [k for k in line if k.startswith("test/")]
        assert all(map(lambda x: x == x and abs(x) < 1e6, line.values()))
    assert config.task in repr(run)


def test_learning_lowers_the_loss_of_next_frames():
    config = dataclasses.replace(TINY, task="bouncing-balls", updates=30, report_every=10, lr=5e-3)
    losses = [line["loss"] for line in train_sequence(config, progress=False).metrics]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("controller", ["lstm", "rim"])
def test_a_tiny_controller_learns_to_copy(controller):
    """Chance is ln 3 = 1.10. With this rate and seed the rounding, another on more threads, does not matter."""
    config = dataclasses.replace(TINY, controller=controller, updates=250, report_every=250, batch=32)
    config = dataclasses.replace(config, lr=1e-2, schedule="linear", clip=0.1, seed=4)
    assert train_sequence(config, progress=False).metrics[-1]["test/2 blanks"] < 0.1


def test_a_roll_out_reads_the_models_own_answers():
    config = dataclasses.replace(TINY, task="bouncing-balls")
    model = SequenceModel(config)
    batch = config.chosen_task.sample(2, torch.Generator().manual_seed(0), "4 balls")
    assert (batch.given, len(batch.inputs)) == (3, 5)
    inputs = [batch.inputs[t : t + 1] for t in range(3)]
    for _ in range(2):  # a slow loop: all over again from the first frame, with one more frame of its own
        answers, _, _ = model(torch.cat(inputs))
        inputs.append(answers[-1:].sigmoid())
    assert torch.allclose(model.answer(batch), model(torch.cat(inputs))[0], atol=1e-5)
    # What comes after the given frames is not looked at.
    hidden = batch._replace(inputs=torch.cat((batch.inputs[:3], torch.full_like(batch.inputs[3:], 9.0))))
    assert torch.equal(model.answer(batch), model.answer(hidden))


def test_training_learns_from_the_models_own_answers():
    config = dataclasses.replace(TINY, task="bouncing-balls", seed=1)
    trainer = SequenceTrainer(config)
    batch = trainer.task.sample(config.batch, torch.Generator().manual_seed(config.seed))
    assert batch.given < len(batch.inputs), "take another seed: this one's first batch is shown all frames"
    rolled_out = trainer.task.loss(trainer.model.answer(batch), batch).detach()
    shown_all = trainer.task.loss(trainer.model(batch.inputs)[0], batch).detach()
    loss = trainer.update()["loss"]
    assert torch.equal(loss, rolled_out) and not torch.equal(loss, shown_all)


def test_tests_are_the_same_at_every_report_and_leave_the_training_data_alone():
    trainer = SequenceTrainer(TINY)
    dice = trainer.dice.get_state()
    first, second = (evaluate_sequence(trainer.model, "4 blanks", 16) for _ in range(2))
    assert first == second and torch.equal(dice, trainer.dice.get_state())


def test_a_test_answered_in_parts_has_the_mean_over_all_of_its_sequences(monkeypatch):
    model, task = SequenceTrainer(TINY).model, TINY.chosen_task
    monkeypatch.setattr(sequences, "DRAWN", 6)
    monkeypatch.setattr(sequences, "AT_ONCE", 4)
    dice = torch.Generator().manual_seed(5)
    batches = [task.sample(B, dice, "4 blanks") for B in (6, 6, 4)]
    answers = torch.cat([model(batch.inputs)[0] for batch in batches], 1)  # [T,16,output_size]
    whole = batches[0]._replace(targets=torch.cat([batch.targets for batch in batches], 1))
    assert evaluate_sequence(model, "4 blanks", 16, 5) == pytest.approx(task.metric(answers, whole).item(), rel=1e-5)


def test_a_test_of_more_digits_than_are_held_out_is_a_test_of_all_of_them():
    model = SequenceTrainer(dataclasses.replace(TINY, task="digits")).model
    all_of_them = evaluate_sequence(model, "4x4", 360)
    assert evaluate_sequence(model, "4x4", 1000) == evaluate_sequence(model, "4x4", 3000) == all_of_them > 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"copying": 3}, "copying is 3; it must be a Copying"),
        ({"controller": "lstm", "kernel": "plane"}, "did you mean 'plain'"),
        ({"controller": "lstm", "active": -3}, "RIM.active is -3; it must be a whole number of at least 1"),
        ({"controller": "lstm", "output_gate": "open"}, "unknown output gate 'open'"),
    ],
)
def test_what_the_controller_would_not_look_at_is_checked_too(wrong, says):
    with pytest.raises(ml.UserError, match=says):
        SequenceConfig(**wrong)
    assert SequenceConfig(controller="lstm", width=301)  # no module has to share it


def test_an_lstm_has_the_kernel_that_was_asked_for():
    for kernel in ("plain", "fused", "compiled"):
        config = dataclasses.replace(TINY, controller="lstm", kernel=kernel)
        assert SequenceModel(config).controller.kernel == kernel


def test_tests_and_devices_that_are_none_get_one_sentence():
    with pytest.raises(ml.UserError, match="whole number of at least 1"):
        evaluate_sequence(SequenceModel(TINY), "2 blanks", 0)
    for load, name in ((load_sequence_model, "copying"), (ml.load_agent, "meta-rim-gotolocal")):
        with pytest.raises(ml.UserError, match="device 'xyz' is not available here"):
            load(name, device="xyz")


def test_a_linear_schedule_falls_from_the_rate_towards_0_and_its_run_keeps_its_length(tmp_path):
    config = dataclasses.replace(TINY, schedule="linear", updates=4, report_every=2)
    trainer, rates = SequenceTrainer(config), []
    for _ in range(4):
        trainer.update()
        rates.append(trainer.optimizer.param_groups[0]["lr"] / config.lr)
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25])
    train_sequence(config, tmp_path / "run", progress=False)
    with pytest.raises(ml.UserError, match="its updates is 4, this one's 6"):
        train_sequence(dataclasses.replace(config, updates=6), tmp_path / "run", progress=False)


def test_queries_move_at_their_share_of_the_rate_and_all_else_as_before():
    evenly = SequenceTrainer(dataclasses.replace(TINY, schedule="linear"))
    slowly = SequenceTrainer(dataclasses.replace(TINY, schedule="linear", query_rate=0.25))
    before = {name: p.detach().clone() for name, p in evenly.model.named_parameters()}
    evenly.update(), slowly.update()
    for (name, a), b in zip(evenly.model.named_parameters(), slowly.model.parameters(), strict=True):
        step_a, step_b = a.detach() - before[name], b.detach() - before[name]
        if name == "controller.W_q":
            assert step_a.abs().max() > 0
            torch.testing.assert_close(step_b, 0.25 * step_a, rtol=1e-4, atol=1e-7)
        else:
            assert torch.equal(step_a, step_b)
    slowly.update()  # the rate has fallen once
    assert [group["lr"] / TINY.lr for group in slowly.optimizer.param_groups] == pytest.approx(
        [1 - 1 / TINY.updates, 0.25 * (1 - 1 / TINY.updates)]
    )


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_a_config_survives_json_and_its_baseline_has_the_same_width(name):
    config = SEQUENCES[name]
    assert from_dict(SequenceConfig, json.loads(json.dumps(to_dict(config)))) == config
    with torch.device("meta"):
        rim, lstm = SequenceModel(config), SequenceModel(baseline(config))
    assert rim.controller.output_size == lstm.controller.output_size == config.width


def test_the_default_is_the_papers_setting():
    c = SequenceConfig()
    assert (c.width, c.num_modules, c.active, c.batch, c.lr) == (600, 6, 4, 64, 1e-3)
    assert c.chosen_task == Copying(symbols=8, recall=10, blanks=50) and "200 blanks" in c.chosen_task.tests
    with torch.device("meta"):
        rim = SequenceModel(c).controller
    assert (rim.hidden_size, rim.key_size, rim.value_size, rim.input_heads) == (100, 64, 400, 1)
    assert (rim.comm_heads, rim.comm_key_size, rim.comm_value_size) == (4, 32, 32)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"task": "copyng"}, "did you mean 'copying'"),
        ({"controller": "gru"}, "unknown controller"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
        ({"width": 31}, "cannot be shared equally"),
        ({"active": 5}, "active=5 is more than num_modules=4"),
        ({"lr": 0}, "SequenceConfig.lr is 0"),
        ({"lr": True}, "SequenceConfig.lr is True"),
        ({"query_rate": 0.0}, "SequenceConfig.query_rate is 0.0"),
        ({"seed": -1}, "SequenceConfig.seed is -1"),
        ({"seed": 2**64}, "SequenceConfig.seed is"),
        ({"batch": 0}, "SequenceConfig.batch is 0"),
        ({"cell_clip": -1.0}, "RIM.cell_clip is -1.0; it must be greater than 0"),
        ({"cell_clip": -1.0, "controller": "lstm"}, "cell_clip is -1.0; it must be greater than 0"),
        ({"updates": 1.5}, "SequenceConfig.updates is 1.5"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(changes, words):
    with pytest.raises(ml.UserError, match=words) as refused:
        dataclasses.replace(TINY, **changes)
    assert "\n" not in str(refused.value)
