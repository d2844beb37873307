"""The checks of exercises: the right answer passes, each wrong one is told what is wrong with it."""

import builtins
import functools
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from metarim_lite.course import CheckFailed, NotAttempted, check, once_written, solved_or_reference
from metarim_lite.course.checks import EXERCISES, judge
from metarim_lite.course.exercises.lesson3 import input_attention as reference
from metarim_lite.errors import UserError


def right(h, x, W_q, W_e, W_v):
    """An independent solution: one sigmoid for each module, in plain loops."""
    B, N = h.shape[:2]
    weights, reads = [], []
    for b in range(B):
        for n in range(N):
            score = (h[b, n] @ W_q[n]) @ (x[b] @ W_e) / W_q.shape[-1] ** 0.5
            on_input = torch.sigmoid(score)
            weights.append(torch.stack([1 - on_input, on_input]))
            reads.append(on_input * (x[b] @ W_v))
    return torch.stack(weights).view(B, N, 2), torch.stack(reads).view(B, N, -1)


def scores(h, x, W_q, W_e):
    """[B,N,2] over (null, input), scaled; what the wrong answers below start from."""
    s = torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e) / W_q.shape[-1] ** 0.5
    return torch.stack([torch.zeros_like(s), s], dim=-1)


def finish(weights: Tensor, x: Tensor, W_v: Tensor):
    return weights, weights[..., 1:] * (x @ W_v)[:, None]


def softmax_over_modules(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).softmax(1), x, W_v)


def softmax_over_batch(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).softmax(0), x, W_v)


def modules_share_the_input(h, x, W_q, W_e, W_v):
    on_input = scores(h, x, W_q, W_e)[..., 1].softmax(1)
    return finish(torch.stack([1 - on_input, on_input], -1), x, W_v)


def not_scaled(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) * W_q.shape[-1] ** 0.5).softmax(-1), x, W_v)


def scaled_by_d_k(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) / W_q.shape[-1] ** 0.5).softmax(-1), x, W_v)


def scaled_by_root_H(h, x, W_q, W_e, W_v):
    return finish((scores(h, x, W_q, W_e) * (W_q.shape[-1] / W_q.shape[1]) ** 0.5).softmax(-1), x, W_v)


def input_first(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights.flip(-1), read_out


def no_softmax(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e), x, W_v)


def no_null(h, x, W_q, W_e, W_v):
    weights = scores(h, x, W_q, W_e)[..., 1:].softmax(-1)
    return finish(torch.cat([1 - weights, weights], -1), x, W_v)


def one_query_for_all(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q[:1].repeat(W_q.shape[0], 1, 1), W_e, W_v)


def averaged_query(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q.mean(0).expand_as(W_q), W_e, W_v)


def letters_not_tied(h, x, W_q, W_e, W_v):
    """What `torch.einsum("bnh,mhk->bnk", …)` gives."""
    queries = torch.einsum("bnh,mhk->bnk", h, W_q)
    on_input = ((queries * (x @ W_e)[:, None]).sum(-1) / W_q.shape[-1] ** 0.5).sigmoid()
    return finish(torch.stack([1 - on_input, on_input], -1), x, W_v)


def null_of_ones(h, x, W_q, W_e, W_v):
    X = torch.stack([torch.ones_like(x), x], 1)
    s = torch.einsum("bnh,nhk,bsk->bns", h, W_q, X @ W_e) / W_q.shape[-1] ** 0.5
    return s.softmax(-1), s.softmax(-1) @ X @ W_v


def hard_choice(h, x, W_q, W_e, W_v):
    s = scores(h, x, W_q, W_e)
    return finish((s == s.max(-1, keepdim=True).values).float(), x, W_v)


def sigmoid_of_each_score(h, x, W_q, W_e, W_v):
    return finish(scores(h, x, W_q, W_e).sigmoid(), x, W_v)


def read_out_not_weighted(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights, (x @ W_v)[:, None].repeat(1, h.shape[1], 1)


def read_out_weighted_by_null(h, x, W_q, W_e, W_v):
    weights, _ = reference(h, x, W_q, W_e, W_v)
    return weights, weights[..., 0, None] * (x @ W_v)[:, None]


def read_out_averaged(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights, read_out.mean(1, keepdim=True).repeat(1, h.shape[1], 1)


def read_out_of_keys(h, x, W_q, W_e, W_v):
    weights, _ = reference(h, x, W_q, W_e, W_v)
    return weights, weights[..., 1:] * (x @ W_e)[:, None]


def odd_temperature(h, x, W_q, W_e, W_v):
    return finish((0.3 * scores(h, x, W_q, W_e)).softmax(-1), x, W_v)


def naive_exponential(h, x, W_q, W_e, W_v):
    e = scores(h, x, W_q, W_e).exp()
    return finish(e / e.sum(-1, keepdim=True), x, W_v)


def changes_h(h, x, W_q, W_e, W_v):
    answer = reference(h, x, W_q, W_e, W_v)
    h *= 0.5
    return answer


def detached_weights(h, x, W_q, W_e, W_v):
    return finish(reference(h, x, W_q, W_e, W_v)[0].detach(), x, W_v)


def detached_query(h, x, W_q, W_e, W_v):
    return reference(h.detach(), x, W_q, W_e, W_v)


def through_numpy(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return torch.from_numpy(weights.numpy()), torch.from_numpy(read_out.numpy())


def arrays(h, x, W_q, W_e, W_v):
    return tuple(t.detach().numpy() for t in reference(h, x, W_q, W_e, W_v))


def doubles(h, x, W_q, W_e, W_v):
    return tuple(t.double() for t in reference(h, x, W_q, W_e, W_v))


def one_weight(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights[..., 1], read_out


def squeezed(h, x, W_q, W_e, W_v):
    return tuple(t.squeeze() for t in reference(h, x, W_q, W_e, W_v))


def wrong_order(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q, W_e, W_v)[::-1]


def only_weights(h, x, W_q, W_e, W_v):
    return reference(h, x, W_q, W_e, W_v)[0]


def nothing(h, x, W_q, W_e, W_v):
    reference(h, x, W_q, W_e, W_v)


def not_a_number(h, x, W_q, W_e, W_v):
    weights, read_out = reference(h, x, W_q, W_e, W_v)
    return weights / 0 * 0, read_out


def misspelt(h, x, W_q, W_e, W_v):
    return torch.sofmax(h, dim=-1)


WRONG = {
    softmax_over_modules: "sum to 1 over the modules; they should sum to 1 over {null, input}",
    softmax_over_batch: "sum to 1 over the batch",
    modules_share_the_input: "as if the modules shared one unit of attention",
    not_scaled: "not divided by √d_k",
    scaled_by_d_k: "divided by d_k; divide them by its square root",
    scaled_by_root_H: "divided by √H",
    input_first: "in the order (input, null)",
    no_softmax: "the softmax is missing",
    no_null: "the null element, a row of zeros beside x, is missing",
    one_query_for_all: "the query weights of module 0",
    averaged_query: "the mean of W_q",
    letters_not_tied: "the n of W_q is not tied to the n of h",
    null_of_ones: "your null element is a row of ones",
    hard_choice: "all 0 or 1",
    sigmoid_of_each_score: "two sigmoids",
    read_out_not_weighted: "the read-out ignores them",
    read_out_weighted_by_null: "with the weight on null",
    read_out_averaged: "the mean over modules",
    odd_temperature: "the scores under them differ",
    naive_exponential: "does your softmax overflow",
    changes_h: "changes its argument `h` in place",
    detached_weights: "no gradient flows back from `weights`",
    detached_query: "does not reach `h`",
    through_numpy: "goes through numpy",
    arrays: "is a ndarray; it should be a torch.Tensor",
    doubles: "is torch.float64",
    one_weight: "`weights` has shape [5, 6]; it should be [B, N, 2] = [5, 6, 2]",
    squeezed: "`weights` has shape [3, 2]; it should be [B, N, 2] = [1, 3, 2]",
    wrong_order: "in the wrong order",
    only_weights: "returns one Tensor; it should return the 2 tensors",
    nothing: "Is the `return` missing?",
    not_a_number: "contains NaN or infinity.",
    misspelt: "has no attribute 'sofmax'",
}


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
