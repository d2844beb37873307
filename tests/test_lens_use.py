"""The map of use shows modules that specialise, and only those."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from lens_traces import bright_in_the_dark

import metarim_lite as ml
from metarim_lite.envs.cells import TYPE
from metarim_lite.errors import UserError
from metarim_lite.experiments.modules_at_play import watch_modules
from metarim_lite.lens import map_of_use
from metarim_lite.lens.use import IN_VIEW, make_table, nearest_in_view, table_svg

SIZES = dict(num_modules=4, active=2, hidden_size=8, input_size=16)


def tables_of(active, label, names=("a", "b")):
    return make_table(active, label, names, np.random.default_rng(0))


def test_shares_are_those_counted_by_hand():
    active = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 1]] * 5, bool)
    label = np.array([0, 0, 0, 1, 1, 1] * 5)
    table = tables_of(active, label)
    np.testing.assert_allclose(table.shares, [[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    assert table.columns == ("a", "b") and table.counts.tolist() == [15, 15]


def test_a_module_that_follows_the_label_lies_beyond_chance_and_one_that_does_not_lies_within():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 500)
    active = np.stack([label == 1, rng.random(500) < 0.5], axis=1)
    table = tables_of(active, label)
    assert table.beyond[0].all() and not table.beyond[1].any()
    np.testing.assert_allclose(table.shares[0], [0, 1])
    assert table.told.bits > 0.9 and table.told.chance < 0.01


def test_of_modules_that_do_not_specialise_a_twentieth_lies_beyond():
    """500 steps, 40 modules, 3 values: the interval is one of 95 %."""
    rng = np.random.default_rng(2)
    found = [tables_of(rng.random((500, 40)) < 0.5, rng.integers(0, 3, 500), ("a", "b", "c")) for _ in range(5)]
    assert 0.03 < np.mean([t.beyond.mean() for t in found]) < 0.08


def test_values_that_hardly_come_up_are_left_out():
    label = np.array([0] * 50 + [1] * 3)
    assert tables_of(np.ones((53, 2), bool), label).columns == ("a",)


def test_the_nearest_object_in_view_is_the_one_fewest_steps_away():
    image = torch.zeros(4, 7, 7, 3, dtype=torch.uint8)
    image[..., 0] = TYPE["empty"]
    image[1, 3, 5, 0], image[1, 2, 5, 0] = TYPE["ball"], TYPE["key"]  # 1 ahead; 1 ahead and 1 to the left
    image[2, 0, 6, 0], image[2, 3, 4, 0] = TYPE["door"], TYPE["box"]  # 3 to the left; 2 ahead
    image[3, 3, 6, 0] = TYPE["key"]  # carried
    assert [IN_VIEW[i] for i in nearest_in_view(image)] == ["nothing", "ball", "box", "nothing"]


@pytest.fixture(scope="module")
def agent():
    torch.manual_seed(0)
    return ml.Agent(ml.AgentConfig(**SIZES))


def test_episodes_played_side_by_side_are_recorded_as_they_are_alone(agent, small_bank):
    """Greedy by construction: an actor so sure of itself leaves the dice nothing to decide."""
    with torch.no_grad():
        agent.actor[2].weight.mul_(1e5)
    active, in_view, mission, playing = watch_modules(agent, small_bank.select(range(6)), 0, nearest_in_view)
    for level in range(6):
        trace = ml.Trace.record(agent, small_bank, level=level)
        T = trace.num_steps
        assert playing[:, level].sum() == T and playing[:T, level].all()
        np.testing.assert_array_equal(active[:T, level], trace.active)
        np.testing.assert_array_equal(in_view[:T, level], nearest_in_view(torch.as_tensor(trace.images[:-1])))
    assert (mission == 0).all()  # go to


def test_the_map_of_an_agent_says_what_it_found_and_draws_it(agent, small_bank):
    use = map_of_use(agent, small_bank, episodes=60, shuffles=20)
    assert list(use.tables) == ["mission", "phase", "nearest in view"]
    assert "mission: always go to, so nothing can be told" in str(use) and "of 1.5" in str(use)
    assert use.overall.sum() == pytest.approx(2)
    for name, table in use.tables.items():
        svg = table_svg(use, name)
        drawn = list(ElementTree.fromstring(svg).iter())
        thick = [e for e in drawn if e.get("stroke") == "#E69F00"]
        assert len(thick) == table.beyond.sum()
        assert all(f">{share:.0%}<" in svg for share in table.shares.flat)
    bundle = use._repr_mimebundle_()
    assert bundle["text/plain"] == str(use) and len(bundle["text/html"]) < 60_000
    assert 'class="metarim-room"' in bundle["text/html"] and not bright_in_the_dark(bundle["text/html"])
    played, lengths = watch_modules(agent, small_bank.select(range(60)), 0, nearest_in_view), np.random.default_rng(0)
    drawn = [int(share * n) for share, n in zip(lengths.random(60), played.playing.sum(0), strict=True)]
    seen = [IN_VIEW[played.seen[step, episode]] for episode, step in enumerate(drawn)]
    found = use.tables["nearest in view"]
    assert dict(zip(found.columns, found.counts, strict=True)).items() <= {n: seen.count(n) for n in IN_VIEW}.items()
    again = map_of_use(agent, small_bank, episodes=60, shuffles=20)
    assert str(again) == str(use)


def test_mistakes_are_one_sentence(agent, small_bank):
    with pytest.raises(UserError, match="an LSTM has no modules"):
        map_of_use(ml.Agent(ml.AgentConfig(controller="lstm", lstm_size=8)), small_bank)
    with pytest.raises(UserError, match="episodes must"):
        map_of_use(agent, small_bank, episodes=10_000)
