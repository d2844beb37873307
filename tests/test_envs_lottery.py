"""Draws of levels: a hash of (seed, world, episode), written once more with Python's whole numbers."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs.lottery import draw, make_salt

MASK = (1 << 64) - 1


def scramble(z):
    signed = z - (1 << 64) if z >> 63 else z
    z = (z ^ (signed >> 29)) * -4658895280553007687 & MASK
    signed = z - (1 << 64) if z >> 63 else z
    return (z ^ (signed >> 32)) & MASK


def drawn(seed, world, episode, count):
    golden = 0x1E3779B97F4A7C15
    salt = scramble((scramble(seed * golden & MASK) + world) & MASK)
    return (scramble((salt + episode * golden) & MASK) & (MASK >> 1)) % count


def test_draws_equal_the_hash_in_whole_numbers():
    for seed, first, count in ((0, 0, 10), (5, 3, 1000), (-7, 100, 7), (2**62, 2, 12345)):
        salt = make_salt(seed, 4, torch.device("cpu"), first)
        for episode in (0, 1, 17):
            expected = [drawn(seed, first + b, episode, count) for b in range(4)]
            assert draw(salt, torch.full((4,), episode), count).tolist() == expected


@pytest.mark.parametrize("visits", [1, 3])
def test_worlds_side_by_side_draw_what_each_would_draw_alone(small_bank, visits):
    """Banks of one task and of two; one bank that others play."""
    other = ml.LevelBank.generate("BabyAI-GoToObjS4-v0", range(40))
    banks, seeds = [small_bank, ml.LevelBank.concat([other, small_bank]), other], [3, 4, 5]
    for counts in ([3, 0, 4], [2, 6, 1]):
        together = ml.GridWorlds.side_by_side(banks, counts, seeds, visits=visits)
        parts = [ml.GridWorlds(b, n, seed=s, visits=visits) for b, n, s in zip(banks, counts, seeds, strict=True) if n]
        begins = torch.tensor([0, 200, 440]).repeat_interleave(torch.tensor(counts))
        for _ in range(8):
            images = [part.reset().image for part in parts]
            assert torch.equal(together.reset().image, torch.cat(images))
            assert torch.equal(together.levels - begins, torch.cat([part.levels for part in parts]))
            assert torch.equal(together.visit_begins, torch.cat([part.visit_begins for part in parts]))


def test_some_of_many_worlds_play_what_they_would_among_all(small_bank):
    together = ml.GridWorlds(small_bank, 6, seed=3)
    parts = [ml.GridWorlds(small_bank, 2, seed=3), ml.GridWorlds(small_bank, 4, seed=3, first=2)]
    for _ in range(3):
        images = [part.reset().image for part in parts]
        assert torch.equal(together.reset().image, torch.cat(images))
    assert together.levels.tolist() == [drawn(3, b, 2, 200) for b in range(6)]
