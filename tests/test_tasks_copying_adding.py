"""Copying and adding: the data against loops written from their definitions, the metrics against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metarim_lite as ml
from metarim_lite.tasks import COPYING_SMALL, Adding, Copying
from metarim_lite.tasks.adding import adding_sequences
from metarim_lite.tasks.copying import copying_sequences


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def copying_by_hand(said, blanks, symbols):
    """One sequence as the paper tells it: the symbols, blanks - 1 zeros, the cue, zeros to answer over."""
    inputs = [*said, *[0] * (blanks - 1), symbols + 1, *[0] * len(said)]
    return inputs, [0] * (len(said) + blanks) + said


@given(st.integers(2, 12), st.integers(1, 12), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=60)
def test_copying_is_laid_out_as_in_the_authors_code(symbols, recall, blanks, seed):
    inputs, targets = copying_sequences(3, symbols, recall, blanks, dice(seed))
    assert inputs.shape == targets.shape == (blanks + 2 * recall, 3)
    for b in range(3):
        said = inputs[:recall, b].tolist()
        assert all(1 <= s <= symbols for s in said)
        assert (inputs[:, b].tolist(), targets[:, b].tolist()) == copying_by_hand(said, blanks, symbols)


def test_the_papers_copying_has_ten_symbols_of_eight_and_length_t_plus_20():
    task = Copying()
    for split, blanks in [("train", 50), ("50 blanks", 50), ("100 blanks", 100), ("200 blanks", 200)]:
        batch = task.sample(2, dice(), split)
        assert batch.inputs.shape == (blanks + 20, 2, 10) and batch.given == blanks + 20
        assert set(batch.inputs.argmax(-1)[:10].flatten().tolist()) <= set(range(1, 9))
        assert (batch.inputs.sum(-1) == 1).all() and batch.inputs.argmax(-1)[blanks + 9].tolist() == [9, 9]


def test_all_symbols_are_equally_likely_at_every_place():
    inputs, _ = copying_sequences(20_000, 4, 3, 5, dice())
    shares = torch.stack([(inputs[:3] == s).float().mean(1) for s in range(1, 5)])
    assert (shares - 0.25).abs().max() < 0.015  # five standard deviations


def test_no_symbol_tells_of_another():
    inputs, _ = copying_sequences(20_000, 4, 3, 5, dice())
    triples = ((inputs[0] - 1) * 4 + inputs[1] - 1) * 4 + inputs[2] - 1
    shares = torch.bincount(triples, minlength=64) / 20_000
    assert (shares - 1 / 64).abs().max() < 0.0045  # five standard deviations


def test_neither_mark_tells_of_the_other():
    inputs, _ = adding_sequences(20_000, 8, dice())
    marks = inputs[..., 1]  # [T,B]
    shares = torch.bincount(marks[:4].argmax(0) * 4 + marks[4:].argmax(0), minlength=16) / 20_000
    assert (shares - 1 / 16).abs().max() < 0.009  # five standard deviations


@pytest.mark.parametrize("task", [Copying(), COPYING_SMALL])
def test_a_model_that_knows_only_the_symbols_scores_their_logarithm_at_every_length(task):
    for split in task.tests:
        batch = task.sample(7, dice(), split)
        answers = torch.full((*batch.targets.shape, task.output_size), -1e9)
        answers[..., 1 : task.symbols + 1] = 0
        assert task.metric(answers, batch).item() == pytest.approx(math.log(task.symbols), rel=1e-6)
    assert task.chance == pytest.approx(math.log(task.symbols))


def test_ln_8_is_the_papers_chance():
    assert Copying().chance == pytest.approx(2.0794, abs=1e-4)


def test_a_perfect_copy_scores_0_whatever_was_said_during_the_silence():
    task = Copying()
    batch = task.sample(5, dice(), "200 blanks")
    answers = torch.randn(*batch.targets.shape, 10)
    answers[-10:] = 1e4 * torch.nn.functional.one_hot(batch.targets[-10:], 10)
    assert task.metric(answers, batch).item() == 0 and task.loss(answers, batch).item() > 0


def test_silence_alone_looks_good_in_the_loss_and_not_in_the_metric():
    """The trap: all-step averages of a model that has learned nothing are 0.297 at 50 and 0.0945 at 200."""
    task = Copying()
    for split, flattering in [("50 blanks", 0.297), ("200 blanks", 0.0945)]:
        batch = task.sample(5, dice(), split)
        answers = torch.full((*batch.targets.shape, 10), -1e4)
        answers[:-10, :, 0] = 0
        answers[-10:, :, 1:9] = 0
        assert task.loss(answers, batch).item() == pytest.approx(flattering, abs=5e-4)
        assert task.metric(answers, batch).item() == pytest.approx(math.log(8), rel=1e-6)


@given(st.integers(2, 40), st.integers(0, 2**31))
@settings(max_examples=60)
def test_the_target_of_adding_is_the_sum_of_the_two_marked_values(length, seed):
    inputs, targets = adding_sequences(4, length, dice(seed))
    assert inputs.shape == (length, 4, 2) and ((inputs[..., 0] >= 0) & (inputs[..., 0] < 1)).all()
    for b in range(4):
        marked = [t for t in range(length) if inputs[t, b, 1] == 1]
        assert len(marked) == 2 and marked[0] < length // 2 <= marked[1]
        assert inputs[:, b, 1].sum() == 2
        assert targets[b].item() == pytest.approx(sum(inputs[t, b, 0].item() for t in marked), abs=1e-6)


def test_marks_reach_every_place():
    inputs, _ = adding_sequences(5_000, 9, dice())
    shares = inputs[..., 1].mean(1)
    expected = torch.tensor([1 / 4] * 4 + [1 / 5] * 5)
    assert (shares - expected).abs().max() < 0.035


def test_always_saying_1_scores_a_sixth_and_the_sum_scores_0():
    task = Adding()
    batch = task.sample(50_000, dice(), "50 numbers")
    answers = torch.zeros(50, 50_000, 1)
    answers[-1, :, 0] = 1
    assert task.metric(answers, batch).item() == pytest.approx(task.chance, abs=0.005)
    answers[-1, :, 0] = batch.targets
    assert task.metric(answers, batch).item() == 0


def test_the_same_generator_gives_the_same_data_and_another_other_data():
    for task in (Copying(), Adding()):
        one, again, other = (task.sample(4, dice(seed)) for seed in (3, 3, 4))
        assert torch.equal(one.inputs, again.inputs) and torch.equal(one.targets, again.targets)
        assert not torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("task", [Copying(), Adding()])
def test_encoded_inputs_start_at_unit_size(task):
    inputs = task.sample(200, dice()).inputs
    assert 0.8 < task.encoder(400)(inputs).square().mean().sqrt().item() < 1.3


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Copying(symbols=1), "Copying.symbols is 1"),
        (lambda: Copying(blanks=0), "Copying.blanks is 0"),
        (lambda: Copying(recall=2.5), "Copying.recall is 2.5"),
        (lambda: Copying(test_blanks=(10, 0)), "Copying.test_blanks is .10, 0."),
        (lambda: Copying(test_blanks=()), "a tuple of one or more whole numbers of at least 1"),
        (lambda: Copying(test_blanks=[100]), "Copying.test_blanks is .100.; it must be a tuple of one or more"),
        (lambda: Copying(test_blanks=200), r"it must be a tuple: write \(200,\)"),
        (lambda: Copying(blanks=(50, 60)), "Copying.blanks is .50, 60.; it must be a whole number of at least 1"),
        (lambda: Copying(blanks=True), "Copying.blanks is True"),
        (
            lambda: Copying().sample(0, dice()),
            "B, the sequences of a batch, must be a whole number of at least 1, got 0",
        ),
        (lambda: Copying().sample(2, dice(), "200 blank"), "did you mean '200 blanks'"),
        (lambda: Adding(length=1), "Adding.length is 1"),
        (lambda: Adding().sample(2, dice(), "60"), "unknown split"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(make, words):
    with pytest.raises(ml.UserError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
