"""The checks of exercises: the right answer passes, each wrong one is told what is wrong with it."""

import builtins
import functools
import random

import numpy as np
import pytest
import torch
from wrong_attention import WRONG, finish, not_scaled, read_out_of_keys, right, scores

from metarim_lite.course import CheckFailed, NotAttempted, check, once_written, solved_or_reference
from metarim_lite.course.checks import EXERCISES, judge
from metarim_lite.course.exercises.lesson3 import input_attention as reference
from metarim_lite.errors import UserError


@pytest.mark.parametrize("seed", range(5))
def test_the_right_answer_passes_on_any_inputs(seed):
    verdict = judge(EXERCISES["input_attention"], right, seed=seed)
    assert verdict.passed, verdict.says


def test_passing_prints_one_line(capsys):
    check("input_attention", right)
    assert capsys.readouterr().out == "✓ input_attention: 3 of 3 points\n"


@pytest.mark.parametrize("wrong", WRONG, ids=lambda f: f.__name__)
def test_each_wrong_answer_fails_with_its_own_message(wrong):
    for _ in range(3):  # fresh inputs each time, and the same message
        with pytest.raises(CheckFailed) as failure:
            check("input_attention", wrong)
        assert WRONG[wrong] in str(failure.value)
        assert not isinstance(failure.value, NotAttempted)


def test_a_mistake_of_another_answer_is_never_named():
    for wrong in WRONG:
        says = judge(EXERCISES["input_attention"], wrong, seed=1).says
        named = [m for m in WRONG.values() if m in says]
        assert named == [WRONG[wrong]]


def test_keys_for_values_fail_where_the_sizes_tell_them_apart():
    with pytest.raises(CheckFailed, match="read_out. has shape"):
        check("input_attention", read_out_of_keys)


def test_the_stub_is_not_attempted():
    def stub(h, x, W_q, W_e, W_v):
        raise NotImplementedError("your code goes here")

    with pytest.raises(NotAttempted, match="input_attention: not attempted yet"):
        check("input_attention", stub)


def softmax_of_whole_numbers(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).long().softmax(-1), x, W_v)


def not_a_layer(h, x, W_q, W_e, W_v):
    return torch.nn.Module()(x), h


def unfinished_case(h, x, W_q, W_e, W_v):
    raise NotImplementedError("B > 1")


class Turned(torch.autograd.Function):
    """Without a `backward`, which torch says by raising NotImplementedError."""

    @staticmethod
    def forward(ctx, weights):
        return weights.clone()


def no_backward(h, x, W_q, W_e, W_v):
    weights, read_out = right(h, x, W_q, W_e, W_v)
    return Turned.apply(weights), read_out


def sparse(h, x, W_q, W_e, W_v):
    weights, read_out = right(h, x, W_q, W_e, W_v)
    return weights.to_sparse(), read_out


def without_words(h, x, W_q, W_e, W_v):
    return torch.distributions.Distribution(validate_args=False).mean, h


def leaves(h, x, W_q, W_e, W_v):
    raise SystemExit("done")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            softmax_of_whole_numbers,
            r"raises NotImplementedError: .*'Long'.* \(at the line `return finish\(scores\(.*long",
        ),
        (not_a_layer, r"raises NotImplementedError: .*forward.* \(at the line `return torch.nn.Module\(\)\(x\), h`\)"),
        (unfinished_case, r"raises NotImplementedError: B > 1 \(at the line `raise NotImplementedError\("),
        (without_words, r"raises NotImplementedError.* \(at the line `return torch.distributions"),
        (no_backward, "no gradient can be computed: NotImplementedError"),
        (sparse, "`weights` is a tensor of the kind torch.sparse_coo; make it one like the inputs"),
        (leaves, "raises SystemExit: done"),
    ],
)
def test_an_error_of_another_s_making_is_no_unwritten_exercise(answer, says, capsys):
    """torch itself raises NotImplementedError in many places; only the exercise's own means that nobody wrote it."""
    with pytest.raises(CheckFailed, match=says) as failed:
        check("input_attention", answer)
    assert not isinstance(failed.value, NotAttempted) and "not attempted" not in str(failed.value)
    if answer not in (no_backward, sparse, leaves):
        with once_written(answer):
            answer(*EXERCISES["input_attention"].draw(torch.Generator())[0].inputs.values())
        assert f"Your {answer.__name__} does not work yet: NotImplementedError" in capsys.readouterr().out


def test_an_example_that_fails_lets_the_cells_below_go_on(capsys):
    def of_wrong_shape(h, W):
        return h @ W.T

    with once_written(of_wrong_shape):
        of_wrong_shape(torch.zeros(2, 3), torch.zeros(3, 4))
    printed = capsys.readouterr().out
    assert printed.startswith("Your of_wrong_shape does not work yet: RuntimeError: ") and "The check below" in printed
    with pytest.raises(KeyboardInterrupt), once_written(of_wrong_shape):
        raise KeyboardInterrupt


WRAPPERS = (lambda f: f, torch.no_grad(), functools.partial, lambda f: type("A", (), {"__call__": staticmethod(f)})())


@pytest.mark.parametrize("wrapped", WRAPPERS)
def test_the_exercise_s_own_raise_is_known_however_it_is_wrapped(wrapped, capsys):
    def stub(*_):
        raise NotImplementedError

    with pytest.raises(NotAttempted):
        check("input_attention", wrapped(stub))
    with once_written(stub):
        stub()
    assert capsys.readouterr().out == "Your stub is not written yet.\n"


@pytest.mark.parametrize("patient", [False, True])
def test_an_answer_that_asks_the_keyboard_is_told_so_and_nobody_has_to_type(patient, monkeypatch):
    def answer(h, x, W_q, W_e, W_v):
        try:
            input("how many modules? ")
        except Exception:
            if not patient:
                raise
        return right(h, x, W_q, W_e, W_v)

    keyboard = builtins.input
    with pytest.raises(CheckFailed, match=r"calls input\(\), and nobody is there"):
        check("input_attention", answer)
    assert builtins.input is keyboard


def test_something_that_is_no_function_is_said_to_be_none():
    with pytest.raises(CheckFailed, match="is a int; it should be a function"):
        check("input_attention", 3)


def test_an_unknown_exercise_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'input_attention'"):
        check("input_atention", right)


def test_random_generators_and_default_dtype_are_left_as_found():
    def meddler(h, x, W_q, W_e, W_v):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        torch.rand(3), np.random.rand(), random.random()
        torch.set_default_dtype(torch.float64)
        return right(h, x, W_q, W_e, W_v)

    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(2), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    check("input_attention", meddler)
    assert torch.equal(torch.rand(2), expected[0])
    assert (np.random.rand(), random.random()) == expected[1:]
    assert torch.get_default_dtype() == torch.float32


def test_inputs_are_fresh_at_every_check():
    seen = []

    def spy(h, x, W_q, W_e, W_v):
        seen.append(h.detach().sum().item())
        return right(h, x, W_q, W_e, W_v)

    torch.manual_seed(0)
    check("input_attention", spy)
    torch.manual_seed(0)
    check("input_attention", spy)
    half = len(seen) // 2
    assert seen[:half] != seen[half:]


def test_a_failure_shows_no_traceback_in_a_notebook():
    assert CheckFailed("short")._render_traceback_() == ["CheckFailed: short"]


def test_what_a_passing_answer_prints_is_kept_back(capsys):
    def talkative(h, x, W_q, W_e, W_v):
        print("debugging")
        return right(h, x, W_q, W_e, W_v)

    check("input_attention", talkative)
    assert "debugging" not in capsys.readouterr().out


def test_the_next_cell_falls_back_to_the_reference_and_says_so(capsys):
    assert solved_or_reference("input_attention", right) is right
    assert capsys.readouterr().out == "From here on: your input_attention.\n"
    assert solved_or_reference("input_attention", not_scaled) is reference.reference
    assert "the package's input_attention" in capsys.readouterr().out
