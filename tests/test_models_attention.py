"""The two attentions, alone: what the weights are, who is chosen, who reads whom."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from metarim_lite.models import RIM, Interventions, choose_active, communicate, eagerness, share_out


def with_null(scores):
    """Scores [N,B,A,E] behind null's, which is 0."""
    return torch.cat((torch.zeros_like(scores[..., :1]), scores), -1)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_the_most_eager_have_the_least_attention_on_null(N, B, A, E, seed):
    scores = with_null(torch.randn(N, B, A, E, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    null = scores.softmax(-1)[..., 0].mean(-1)
    assert torch.equal(eagerness(scores).argsort(0), (-null).argsort(0))


@given(*[st.integers(1, 4)] * 4, st.integers(0, 10**6))
def test_what_is_read_is_a_softmax_over_null_and_elements_for_each_module(N, B, A, E, seed):
    """`RIM.read_input`, from its equation, module by module; null is a row of zeros."""
    torch.manual_seed(seed)
    rim = RIM(5, 3, N, 1, key_size=4, value_size=2, input_heads=A).double()
    h, keys, values = torch.randn(N, B, 3).double(), torch.randn(B, 1 + E, A, 4).double(), torch.randn(B, 1 + E, A, 2)
    values, masks = values.double(), Interventions().masks(N, 1, h)
    keys[:, 0], values[:, 0] = 0, 0
    read, on_input, _ = rim.read_input(h, keys, values, masks)
    for n in range(N):
        for b in range(B):
            query, shares = (h[n, b] @ rim.W_q[n] + rim.b_q[n, 0]).view(A, 4), []
            for a in range(A):
                scores = torch.stack([torch.zeros(()).double(), *(keys[b, 1 + e, a] @ query[a] for e in range(E))])
                w = scores.exp() / scores.exp().sum()
                shares.append(1 - w[0])
                torch.testing.assert_close(read[n, b, 2 * a : 2 * a + 2], w[1:] @ values[b, 1:, a])
            torch.testing.assert_close(on_input[n, b], torch.stack(shares).mean())


def test_ranking_by_raw_scores_would_choose_others_where_keys_have_a_bias():
    """A bias b in the keys adds Q_n·b to all scores of module n. It cancels in the softmax over {null, input},
    so attention on null is unchanged; the raw score of the input is not."""
    torch.manual_seed(0)
    query, key, bias = torch.randn(6, 50, 1, 8), torch.randn(50, 1, 8), torch.randn(8)
    unbiased = (query * key).sum(-1, keepdim=True)  # [N,B,A,E=1]
    biased = torch.cat(((query * bias).sum(-1, keepdim=True), (query * (key + bias)).sum(-1, keepdim=True)), -1)
    by_definition = choose_active(-biased.softmax(-1)[..., 0, 0], 3)
    assert torch.equal(choose_active(eagerness(with_null(unbiased)), 3), by_definition)
    assert torch.equal(choose_active(eagerness(biased), 3), by_definition)
    assert not torch.equal(choose_active(biased[..., 0, 1], 3), by_definition)


def test_with_several_heads_least_attention_on_null_is_not_the_largest_mean_score():
    """One head all for the input and one against it leave half of the attention on null."""
    torn, calm = [20.0, -10.0], [1.0, 1.0]
    scores = torch.tensor([torn, calm]).view(2, 1, 2, 1)
    assert scores[0].mean() > scores[1].mean()
    assert choose_active(eagerness(with_null(scores)), 1).flatten().tolist() == [False, True]


def test_with_several_elements_least_attention_on_null_is_not_the_largest_single_score():
    one_good, three_fair = [2.0, -9.0, -9.0], [1.5, 1.5, 1.5]
    scores = torch.tensor([one_good, three_fair]).view(2, 1, 1, 3)
    assert choose_active(eagerness(with_null(scores)), 1).flatten().tolist() == [False, True]


def test_eagerness_does_not_round_to_a_tie_where_attention_saturates():
    scores = torch.tensor([-60.0, -50.0, 60.0, 50.0]).view(4, 1, 1, 1)  # in float32 null weights are 1, 1, 0, 0
    assert eagerness(with_null(scores)).flatten().argsort().tolist() == [0, 1, 3, 2]


def test_softmax_over_modules_shares_out_each_element():
    scores = torch.randn(5, 3, 2, 1 + 4)
    weights, eager = share_out(scores)
    torch.testing.assert_close(weights[..., 1:], scores[..., 1:].exp() / scores[..., 1:].exp().sum(0))
    assert not weights[..., 0].any()
    torch.testing.assert_close(eager, weights.sum(-1).mean(-1))


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
