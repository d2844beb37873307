"""Success while training: every episode counts once, when all that began no later have ended, whatever its length."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs.missions import MISSION_KINDS
from metarim_lite.training.counting import Counter
from metarim_lite.training.rollouts import Player

LIMIT = 12


def made_up(T, B, generator):
    """Steps of worlds whose episodes end at random, by success or by the limit: dones, success, rewards, kinds."""
    dones, success = torch.zeros(T, B, dtype=torch.bool), torch.zeros(T, B, dtype=torch.bool)
    kinds = torch.zeros(T, B, dtype=torch.int64)
    for b in range(B):
        length, kind = 0, 0
        for t in range(T):
            length, kinds[t, b] = length + 1, kind
            success[t, b] = torch.rand((), generator=generator) < 0.1
            dones[t, b] = success[t, b] or length == LIMIT
            if dones[t, b]:
                length, kind = 0, int(torch.randint(len(MISSION_KINDS), (), generator=generator))
    return dones, success, torch.rand(T, B, generator=generator) * success, kinds


def episodes_by_loop(dones, success, rewards, kinds):
    """(begin, length, success, reward, kind) of every episode that ended, world by world."""
    found = []
    for b in range(dones.shape[1]):
        begin = 0
        for t in range(dones.shape[0]):
            if dones[t, b]:
                found.append((begin, t + 1 - begin, int(success[t, b]), float(rewards[t, b]), int(kinds[t, b])))
                begin = t + 1
    return found


def test_sums_are_those_of_a_loop_over_episodes_by_their_beginning():
    steps = made_up(150, 7, torch.Generator().manual_seed(1))
    found, counter, played = episodes_by_loop(*steps), Counter(7, LIMIT, torch.device("cpu")), 0
    counted = 0
    for T in (5, 1, 40, 20, 3, 12, 69):
        sums = counter.add(*(x[played : played + T] for x in steps))
        these = [e for e in found if played - LIMIT < e[0] <= played + T - LIMIT]
        played, counted = played + T, counted + len(these)
        assert int(sums["count"]) == len(these) and int(sums["length"]) == sum(e[1] for e in these)
        assert int(sums["success"]) == sum(e[2] for e in these)
        assert float(sums["reward"]) == pytest.approx(sum(e[3] for e in these), abs=1e-4)
        for number, kind in enumerate(MISSION_KINDS):
            own = [e for e in these if e[4] == number]
            assert (int(sums[f"count/{kind}"]), int(sums[f"success/{kind}"])) == (len(own), sum(e[2] for e in own))
    assert counted > 50


class Sprinters:
    """An episode is won in 2 steps with probability 0.2, or else lost after 50: the shorter, the luckier."""

    step_limit = 50

    def __init__(self, B):
        self.B, self.dice = B, torch.Generator().manual_seed(0)
        self.begin(torch.ones(B, dtype=torch.bool))

    def begin(self, ended):
        won = torch.rand(self.B, generator=self.dice) < 0.2
        if ended.all():
            self.wins, self.steps = won, torch.zeros(self.B)
        self.wins = torch.where(ended, won, self.wins)
        self.steps = torch.where(ended, 0, self.steps)

    def play(self, T):
        rows = []
        for _ in range(T):
            self.steps = self.steps + 1
            success = self.wins & (self.steps == 2)
            done = success | (self.steps == self.step_limit)
            rows.append((done, success, success.float(), torch.zeros(self.B, dtype=torch.int64)))
            self.begin(done)
        return [torch.stack(column) for column in zip(*rows, strict=True)]


def test_short_successes_have_no_advantage():
    """Counted as they end, all of the first 40 steps' episodes would be won; counted by beginning, a fifth."""
    worlds, counter = Sprinters(4000), Counter(4000, Sprinters.step_limit, torch.device("cpu"))
    steps = worlds.play(40)
    assert steps[1].sum() == steps[0].sum() > 500
    assert int(counter.add(*steps)["count"]) == 0
    for _ in range(4):
        sums = counter.add(*worlds.play(40))
        assert int(sums["count"]) > 900
        assert float(sums["success"] / sums["count"]) == pytest.approx(0.2, abs=0.05)


def test_success_while_training_is_that_of_an_evaluation():
    """An untrained agent in BabyAI-GoTo: it finds its way to the goal seldom, and then soon."""
    bank = ml.LevelBank.generate("BabyAI-GoTo-v0", seeds=range(60))
    agent = ml.Agent(ml.AgentConfig(controller="lstm", lstm_size=16, channels=4, input_size=16))
    player = Player(ml.GridWorlds(bank, 200, seed=1), agent, torch.Generator().manual_seed(0))
    early = player.collect(agent, 80, 80)
    ended = int(early.dones.sum())
    assert ended > 3 and int((early.rewards > 0).sum()) == ended and int(early.episodes["count"]) == 0
    sums = player.collect(agent, bank.step_limit, bank.step_limit).episodes
    judged = ml.evaluate(agent, bank, len(bank))
    assert int(sums["count"]) >= 200
    assert abs(float(sums["success"] / sums["count"]) - judged.success.value) < 0.12
    assert judged.success.value < 0.6


def test_side_by_side_waits_for_the_longest_of_its_worlds():
    banks = [ml.LevelBank.generate(level, seeds=range(8)) for level in ("MiniGrid-Empty-5x5-v0", "BabyAI-GoToObjS4-v0")]
    assert sorted(bank.step_limit for bank in banks) == [16, 100]
    assert ml.GridWorlds.side_by_side(banks, [3, 3], [0, 0]).bank.step_limit == 100


def test_a_player_goes_on_counting_where_it_was_saved(small_bank):
    agent = ml.Agent(ml.AgentConfig(controller="lstm", lstm_size=8, channels=4, input_size=8))

    def player():
        return Player(ml.GridWorlds(small_bank, 9, seed=1), agent, torch.Generator().manual_seed(0))

    whole, stopped, resumed = player(), player(), player()
    whole.collect(agent, 130, 130)
    stopped.collect(agent, 130, 130)
    resumed.load_state_dict(stopped.state_dict())
    expected = whole.collect(agent, 200, 200).episodes
    found = resumed.collect(agent, 200, 200).episodes
    assert int(expected["count"]) > 5 and all(torch.equal(expected[k], found[k]) for k in expected)
