"""What a Player records: every field of a rollout against the worlds and the agent, stepped by a slow loop."""

import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs import Observation
from metarim_lite.envs.missions import MISSION_KINDS
from metarim_lite.training.rollouts import Player, sample_actions

AGENT = ml.AgentConfig(
    controller="lstm", lstm_size=8, input_size=8, channels=2, mission_size=4, head_size=8, kernel="plain"
)
T, B = 60, 6


def opinionated_agent():
    torch.manual_seed(3)
    agent = ml.Agent(AGENT)
    with torch.no_grad():
        agent.actor[2].weight.mul_(100)
    return agent


@pytest.fixture(scope="module")
def short_bank():
    """Levels with 8 to 20 steps' limit, so that episodes end in both ways inside a rollout."""
    bank = ml.LevelBank.generate("BabyAI-GoToObjS4-v0", seeds=range(40))
    limits = 8 + torch.arange(40) % 13
    tables = bank.tables | {"max_steps": limits.to(bank.tables["max_steps"].dtype)}
    return ml.LevelBank(tables, bank.level_ids, bank.task, bank.seeds)


@pytest.fixture(scope="module")
def recorded(short_bank):
    """Two rollouts in a row, the second of which is looked at, and worlds that played the first one's actions."""
    agent = opinionated_agent()
    player = Player(ml.GridWorlds(short_bank, B, seed=5), agent, torch.Generator().manual_seed(7))
    first = player.collect(agent, T, 20)
    rollout = player.collect(agent, T, 20)
    return agent, first, rollout, player


@torch.no_grad()
def test_a_rollout_is_what_a_slow_loop_over_steps_and_worlds_sees(recorded, short_bank):
    """One world at a time, from its first step on; memory cleared where an episode ended in either way."""
    agent, first, rollout, _ = recorded
    worlds = ml.GridWorlds(short_bank, B, seed=5)
    observation, words = worlds.reset(), short_bank.max_mission_length
    states, begins, now, limit = [None] * B, [True] * B, 0, 20
    episode = [[0, 0.0] for _ in range(B)]  # when it began, reward so far
    ended = []  # (when it began, success, reward, length) of every episode
    for r in (first, rollout):
        for t in range(T):
            step = worlds.step(r.actions[t])
            for b in range(B):
                seen = Observation(*(x[None, b : b + 1] for x in (*observation[:2], observation[2][:, :words])))
                assert all(torch.equal(x[0, 0], y[t, b]) for x, y in zip(seen, r.observation, strict=True))
                assert bool(r.resets[t, b]) == begins[b]
                if t % 20 == 0 and states[b] is not None:
                    torch.testing.assert_close(r.states[t // 20].h[b], states[b].h[0], rtol=1e-4, atol=1e-5)
                out, states[b] = agent(seen, None if begins[b] else states[b])
                log_pi = out.logits[0, 0].log_softmax(-1)[r.actions[t, b]]
                assert log_pi.item() == pytest.approx(r.log_probs[t, b].item(), abs=1e-4)
                assert out.value.item() == pytest.approx(r.values[t, b].item(), abs=1e-4)
                over = bool(step.terminated[b] or step.truncated[b])
                assert bool(r.dones[t, b]) == over and r.rewards[t, b] == step.reward[b]
                episode[b][1] += step.reward[b].item()
                begins[b] = over
                if over:
                    began, reward = episode[b]
                    ended.append((began, bool(step.success[b]), reward, now + 1 - began))
                    episode[b] = [now + 1, 0.0]
            now += 1
            observation = step.observation
        # Those count that began so long ago that all which began then are over, and did not count before.
        counted = [e for e in ended if now - T - limit < e[0] <= now - limit]
        sums = {name: sum(e[i] for e in counted) for i, name in ((1, "success"), (2, "reward"), (3, "length"))}
        sums["count"] = len(counted)
        assert {k: float(r.episodes[k]) for k in sums} == pytest.approx(sums, rel=1e-5)
        assert sums["count"] > B and 0 < sums["success"] < sums["count"] and sums["reward"] < 0.99 * sums["success"]
        for b in range(B):  # the value of what comes after the last step
            seen = Observation(*(x[None, b : b + 1] for x in (*observation[:2], observation[2][:, :words])))
            value = agent(seen, None if begins[b] else states[b])[0].value.item()
            assert value == pytest.approx(r.last_value[b].item(), abs=1e-4)
    assert (rollout.last_value - rollout.values[-1]).abs().max() > 1e-3, "they would do for one another"


def test_the_next_rollout_begins_where_the_last_one_ended(recorded):
    agent, first, rollout, player = recorded
    assert torch.equal(rollout.resets[0], first.dones[-1])
    assert torch.equal(rollout.resets[1:], rollout.dones[:-1])
    assert torch.equal(player.resets, rollout.dones[-1])
    third = player.collect(agent, 1, 1)
    torch.testing.assert_close(third.values[0], rollout.last_value, rtol=1e-4, atol=1e-5)


def test_actions_are_drawn_as_often_as_the_policy_says():
    logits = torch.tensor([[0.0, 1.0, -2.0, 0.5, -1.0, 2.0, -30.0], [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    n = 20_000
    actions, log_probs = sample_actions(logits.repeat_interleave(n, 0), torch.Generator().manual_seed(0))
    pi = logits.softmax(-1)
    for i in range(2):
        drawn = actions[i * n : (i + 1) * n]
        often = torch.bincount(drawn, minlength=7) / n
        assert (often - pi[i]).abs().max() < 4 * (0.25 / n) ** 0.5
        torch.testing.assert_close(log_probs[i * n : (i + 1) * n], pi[i].log()[drawn])


def test_the_longest_mission_decides_how_many_words_are_kept_side_by_side():
    banks = [ml.LevelBank.generate("BabyAI-GoToObjS4-v0", range(9)), ml.LevelBank.generate("BabyAI-MiniBossLevel-v0",
                                                                                         range(3))]  # fmt: skip
    for order in (banks, banks[::-1]):
        worlds = ml.GridWorlds.side_by_side(order, [2, 2], [1, 1])
        player = Player(worlds, opinionated_agent(), torch.Generator())
        longest = max(bank.max_mission_length for bank in banks)
        assert player.words == longest > min(bank.max_mission_length for bank in banks)


def test_a_player_goes_on_from_what_it_saved(short_bank):
    agent = opinionated_agent()
    player, other = (
        Player(ml.GridWorlds(short_bank, B, seed=5), agent, torch.Generator().manual_seed(seed)) for seed in (7, 8)
    )
    player.collect(agent, 13, 13)
    other.load_state_dict(player.state_dict())
    a, b = player.collect(agent, 30, 10), other.collect(agent, 30, 10)
    for name in ("resets", "actions", "log_probs", "values", "rewards", "dones", "last_value"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert all(torch.equal(a.episodes[k], b.episodes[k]) for k in a.episodes)
    assert all(torch.equal(x, y) for s, u in zip(a.states, b.states, strict=True) for x, y in zip(s, u, strict=True))


def test_an_episode_counts_for_the_mission_that_was_played_not_for_the_next_one():
    """Two levels with missions of different kinds, drawn in turn: the kind goes with the step that was acted upon."""
    levels = ("BabyAI-GoToObjS4-v0", "BabyAI-OpenRedDoor-v0")
    bank = ml.LevelBank.concat([ml.LevelBank.generate(level, seeds=range(10)) for level in levels])
    limits = torch.full_like(bank.tables["max_steps"], 4)
    bank = ml.LevelBank(bank.tables | {"max_steps": limits}, bank.level_ids, bank.task, bank.seeds)
    agent = opinionated_agent()
    player = Player(ml.GridWorlds(bank, B, seed=5), agent, torch.Generator().manual_seed(7))
    handed, add = [], player.counter.add
    player.counter.add = lambda *columns: handed.append(columns) or add(*columns)
    rollout = player.collect(agent, 20, 20)
    worlds = ml.GridWorlds(bank, B, seed=5)
    worlds.reset()
    changes = 0
    for t in range(20):
        played = [MISSION_KINDS.index(worlds.mission_text(b).split()[0].replace("go", "go to")) for b in range(B)]
        assert handed[0][3][t].tolist() == played
        worlds.step(rollout.actions[t])
        after = [MISSION_KINDS.index(worlds.mission_text(b).split()[0].replace("go", "go to")) for b in range(B)]
        changes += played != after
    assert changes > 2
