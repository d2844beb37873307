"""The two attentions, alone: what the weights are, who is chosen, who reads whom."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarim_lite.models import choose_active, communicate, input_attention, input_scores


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_weights_are_a_softmax_over_null_and_elements_for_each_module(N, B, A, E, seed):
    scores = torch.randn(N, B, A, E, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights, preference = input_attention(scores)
    with_null = torch.cat((torch.zeros(N, B, A, 1, dtype=torch.float64), scores), -1).softmax(-1)
    torch.testing.assert_close(weights, with_null[..., 1:])
    null = with_null[..., 0].mean(-1)
    assert torch.equal(preference.argsort(0), (-null).argsort(0))


def test_ranking_by_raw_scores_would_choose_others_where_keys_have_a_bias():
    """A bias b in the keys adds Q_n·b to all scores of module n. It cancels in the softmax over {null, input},
    so attention on null is unchanged; the raw score of the input is not."""
    torch.manual_seed(0)
    query, key, bias = torch.randn(6, 50, 1, 8), torch.randn(50, 1, 1, 8), torch.randn(8)
    unbiased = input_scores(query, key)
    real, null = input_scores(query, key + bias), input_scores(query, torch.zeros_like(key) + bias)
    null_weight = torch.cat((null, real), -1).softmax(-1)[..., 0, 0]  # [N,B], with the bias, from the definition
    by_definition = choose_active(-null_weight, 3)
    assert torch.equal(choose_active(input_attention(unbiased)[1], 3), by_definition)
    assert not torch.equal(choose_active(real[..., 0, 0], 3), by_definition)


def test_with_several_heads_least_attention_on_null_is_not_the_largest_mean_score():
    """One head all for the input and one against it leave half of the attention on null."""
    torn, calm = [20.0, -10.0], [1.0, 1.0]
    scores = torch.tensor([torn, calm]).view(2, 1, 2, 1)
    assert scores[0].mean() > scores[1].mean()
    assert choose_active(input_attention(scores)[1], 1).flatten().tolist() == [False, True]


def test_with_several_elements_least_attention_on_null_is_not_the_largest_single_score():
    one_good, three_fair = [2.0, -9.0, -9.0], [1.5, 1.5, 1.5]
    scores = torch.tensor([one_good, three_fair]).view(2, 1, 1, 3)
    assert choose_active(input_attention(scores)[1], 1).flatten().tolist() == [False, True]


def test_preference_does_not_round_to_a_tie_where_attention_saturates():
    scores = torch.tensor([-60.0, -50.0, 60.0, 50.0]).view(4, 1, 1, 1)  # in float32 null weights are 1, 1, 0, 0
    assert input_attention(scores)[1].flatten().argsort().tolist() == [0, 1, 3, 2]


def test_softmax_over_modules_shares_out_each_element():
    weights, preference = input_attention(torch.randn(5, 3, 2, 4), over="modules")
    torch.testing.assert_close(weights.sum(0), torch.ones(3, 2, 4))
    torch.testing.assert_close(preference, weights.sum(-1).mean(-1))


# Few distinct values, so that ties are the rule.
def rows_of(n):
    return st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=n, max_size=n), min_size=1)


grids = st.integers(1, 7).flatmap(rows_of)


@given(grids, st.data())
def test_exactly_k_are_chosen_and_ties_go_to_the_lower_index(rows, data):
    N = len(rows[0])
    k = data.draw(st.integers(1, N))
    chosen = choose_active(torch.tensor(rows).t(), k)
    for b, row in enumerate(rows):
        wanted = sorted(range(N), key=lambda n: (-row[n], n))[:k]
        assert chosen[:, b].nonzero().flatten().tolist() == sorted(wanted)


def test_equal_scores_choose_exactly_k():
    assert choose_active(torch.zeros(6, 10), 4).sum(0).tolist() == [4] * 10


def test_communication_reads_every_module_with_weights_that_sum_to_one():
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 2, 3, 5), torch.randn(4, 2, 3, 5), torch.randn(4, 2, 3, 6)
    read, weights = communicate(query, key, value)
    assert read.shape == (4, 2, 18) and weights.shape == (2, 3, 4, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4))
    for n in range(4):
        for b in range(2):
            for a in range(3):
                w = torch.softmax(key[:, b, a] @ query[n, b, a] / 5**0.5, 0)
                torch.testing.assert_close(weights[b, a, n], w)
                torch.testing.assert_close(read[n, b, 6 * a : 6 * a + 6], w @ value[:, b, a])


def test_nobody_reads_an_unreadable_module():
    readable = torch.tensor([True, False, True])
    qkv = [torch.randn(3, 2, 2, 4) for _ in range(3)]
    read, weights = communicate(*qkv, readable)
    assert (weights[..., 1] == 0).all()
    rest, _ = communicate(*(x[readable] for x in qkv))
    torch.testing.assert_close(read[readable], rest)


@pytest.mark.parametrize("E", [1, 3])
def test_scores_do_not_mix_sequences(E):
    query, keys = torch.randn(4, 3, 2, 5), torch.randn(3, E, 2, 5)
    torch.testing.assert_close(input_scores(query, keys)[:, 1:2], input_scores(query[:, 1:2], keys[1:2]))
