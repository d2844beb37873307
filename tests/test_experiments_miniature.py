"""Fast and slow in miniature: its learning against a slow loop written from the equations, its clocks, its table."""

import numpy as np
import pytest
import torch

from metarim_lite.course.clocks import clock_sliders, miniature_sliders, words_on_clocks
from metarim_lite.errors import UserError
from metarim_lite.experiments import miniature
from metarim_lite.experiments.miniature import GRID, SEEDS, WAYS, Miniature, Stream, difference, learn, shipped
from metarim_lite.training.methods import METHODS

SMALL = {"tasks": 3, "updates": 4, "batch": 5}


def by_hand(c, seed, slow_ticks, which):
    """Skills [tasks, ticks + 1] of one seed, Adam and gradients written out; `which` of w and a is fast."""
    (targets, x, noise), (w, a) = miniature._draw(c, seed)
    theta, memory = {"w": w.double().numpy(), "a": a.double().numpy()}, {}
    targets, x, noise = (part.double().numpy() for part in (targets, x, noise))
    skills, ticks = [], c.updates + 1

    def weights():
        e = np.exp(theta["a"])
        return theta["w"] @ (e / e.sum(1, keepdims=True))

    for tick in range(c.tasks * ticks):
        t = targets[tick // ticks]
        skills.append(1 - ((weights() - t) ** 2).sum() / (t**2).sum())
        wrong = x[tick] @ (weights() - t) - noise[tick]
        slope = 2 * wrong @ x[tick] / c.batch  # dL/d(weights) [D]
        e = np.exp(theta["a"])
        p = e / e.sum(1, keepdims=True)
        gradients = {"w": p @ slope, "a": theta["w"][:, None] * p * (slope - (p @ slope)[:, None])}
        slow = tick % ticks in slow_ticks
        name, rate = ({"w": "a", "a": "w"}[which], c.other_lr) if slow else (which, c.fast_lr)
        m, v, n = memory.get(name, (0, 0, 0))
        g = gradients[name]
        m, v, n = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2, n + 1
        theta[name] = theta[name] - rate * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-5)
        memory[name] = m, v, n
        if tick % ticks == c.updates:
            skills.append(1 - ((weights() - t) ** 2).sum() / (t**2).sum())
    return np.array(skills).reshape(c.tasks, ticks + 1)


@pytest.mark.parametrize(
    ("way", "slow_ticks", "fast"),
    [("slow clock", [4], "w"), ("reversed roles", [4], "a"), ("slow clock, too early", [0], "w")],
)
@pytest.mark.parametrize("world", ["what", "where"])
def test_learning_equals_a_loop_written_from_the_equations(way, slow_ticks, fast, world):
    c = Miniature(world, way, 0.1, 0.3, **SMALL)
    found = learn(c, seeds=(7, 8))
    for row, seed in enumerate((7, 8)):
        np.testing.assert_allclose(found.skill[row], by_hand(c, seed, slow_ticks, fast), atol=2e-4)
    np.testing.assert_allclose(found.scores, found.skill[:, :, -1].mean(1))


def test_a_seed_learns_alone_as_among_others():
    alone, among = (learn(Miniature(**SMALL), seeds=seeds).skill for seeds in ((5,), (4, 5, 6)))
    np.testing.assert_allclose(alone[0], among[1], atol=1e-5)


def test_settings_that_learn_side_by_side_end_as_they_do_alone():
    grid = [
        Miniature("what", way, alpha, other, **SMALL)
        for way in ("slow clock",)
        for alpha in (0.1, 0.3)
        for other in (0.2, 0.4)
    ]
    together = miniature.learn_all(grid, seeds=(4, 5))
    for c, found in zip(grid, together, strict=True):
        np.testing.assert_allclose(found.skill, learn(c, seeds=(4, 5)).skill, atol=1e-4)


def test_every_way_meets_the_same_tasks_and_frozen_attention_stays():
    found = {way: learn(Miniature("what", way, **SMALL), seeds=(3,)) for way in WAYS}
    begins = {way: f.skill[0, 0, 0] for way, f in found.items()}
    assert len(set(begins.values())) == 1 and len({tuple(f.targets[0]) for f in found.values()}) == 1
    (_, (_, a)) = miniature._draw(Miniature(**SMALL), 3)
    assert np.array_equal(found["frozen attention"].attention[0], a.softmax(-1).numpy())
    assert not np.array_equal(found["slow clock"].attention[0], a.softmax(-1).numpy())


def test_in_each_world_that_changes_which_is_named():
    drawn = {world: Stream(*miniature._draw(Miniature(world, tasks=6), 1)[0]).targets for world in miniature.WORLDS}
    places = {world: {tuple((t != 0).tolist()) for t in targets} for world, targets in drawn.items()}
    factors = {world: {tuple(sorted(t[t != 0].tolist())) for t in targets} for world, targets in drawn.items()}
    assert len(places["what"]) == 1 and len(factors["what"]) == 6
    assert len(places["where"]) > 1 and len(factors["where"]) == 1
    assert len(torch.unique(drawn["nothing"], dim=0)) == 1


def test_the_shipped_table_is_whole_and_one_run_of_it_comes_out_again():
    rows = {(row.world, row.way): row for row in shipped()}
    assert set(rows) == {("what", way) for way in WAYS} | {("where", way) for way in list(WAYS)[:5]}
    for (_, way), row in rows.items():
        assert len(row.scores) == len(row.curve) == len(SEEDS) and len(row.tried) == np.prod(
            [len(g) for g in GRID[way]]
        )
        best = max(row.tried, key=lambda point: point[2])
        assert (row.fast_lr, row.other_lr) == tuple(best[:2])
        np.testing.assert_allclose(np.mean(row.curve, axis=1), row.scores, atol=1e-3)
    again = learn("slow clock", world="what", seeds=SEEDS[:1])
    np.testing.assert_allclose(again.scores, rows["what", "slow clock"].scores[:1], atol=0.02)


def test_the_effect_that_lesson_06_shows_is_in_the_table():
    rows = {row.way: row.scores for row in shipped() if row.world == "what"}
    for way in ("one clock", "low rate", "frozen attention", "reversed roles", "slow clock, too early"):
        effect, says = difference(rows["slow clock"], rows[way])
        assert says == "supported" and effect.low > 0 and effect.value >= 0.1


def test_sliders_draw_again_and_say_what_is_wrong(monkeypatch):
    panel = clock_sliders()
    controls, picture = panel.children
    assert words_on_clocks(METHODS["meta-rim"].timescales) in picture.value and "<svg" in picture.value
    controls.children[1].value = 8
    assert picture.value.split("<p>")[1].startswith(
        "Updates in a million frames: encoder 1,248, modules 1,248, attention 144"
    )
    monkeypatch.setattr("metarim_lite.course.clocks.learn", lambda *_, **__: (_ for _ in ()).throw(UserError("no")))
    assert "no" in miniature_sliders().children[1].value


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="slow clock"):
        learn("slow clok")
