"""A Reader in numbers: rewards, and the value of what comes after the last step, beside a slow reading."""

import math

import pytest
import torch

import metarim_lite as ml
from metarim_lite.bots import demonstrate
from metarim_lite.envs import Observation
from metarim_lite.envs.lottery import draw
from metarim_lite.models import ControllerState
from metarim_lite.training.imitation import Reader, imitation_loss
from metarim_lite.training.ppo import PPOConfig, cut_into_spans

LEVEL = "BabyAI-GoToObjS4-v0"
SMALL = ml.AgentConfig(
    controller="lstm", lstm_size=8, input_size=8, channels=2, mission_size=4, head_size=8, kernel="plain"
)


@pytest.fixture(scope="module")
def shown():
    return demonstrate(ml.LevelBank.generate(LEVEL, range(30)))


def read_slowly(agent, shown, reader_seed, T, skip):
    """What a reader of seed and number 0 … 4 reads: per reader, steps `skip` to `skip + T` and the one after them.

    Which episodes is asked of a Reader; all else is read from the demonstrations, step by step, from a cleared state.
    """
    asked = Reader(shown, agent, B=5, seed=reader_seed)
    rows = []
    for b in range(5):
        row, state, begun = [], None, 0
        episode, offset = int(asked.episode[b]), 0
        while len(row) < skip + T + 1:
            at = int(shown.begins[episode]) + offset
            seen = Observation(shown.image[at][None, None], shown.direction[at].long()[None, None],
                        shown.mission[episode].long()[None, None])  # fmt: skip
            out, state = agent(seen, None if offset == 0 else state)
            last = offset == int(shown.lengths[episode]) - 1
            action = int(shown.actions[at])
            row.append(
                {
                    "resets": offset == 0, "dones": last, "actions": action, "values": out.value.item(),
                    "log_probs": out.logits[0, 0].log_softmax(-1)[action].item(),
                    "rewards": float(shown.reward[episode]) if last else 0.0,
                }
            )  # fmt: skip
            offset += 1
            if last:
                begun, offset = begun + 1, 0
                episode = int(draw(asked.salt[b : b + 1], torch.tensor([begun]), len(shown.lengths)))
        rows.append(row)
    return rows


@torch.no_grad()
def test_a_rollout_of_demonstrations_is_a_slow_reading_of_them(shown):
    torch.manual_seed(1)
    agent = ml.Agent(SMALL)
    reader = Reader(shown, agent, B=5, seed=3)
    reader.collect(agent, 8, 4)
    rollout = reader.collect(agent, 12, 4)
    rows = read_slowly(agent, shown, 3, T=12, skip=8)
    for b, row in enumerate(rows):
        for name in ("resets", "dones", "actions", "values", "log_probs", "rewards"):
            expected = [float(step[name]) for step in row[8:20]]
            assert getattr(rollout, name)[:, b].tolist() == pytest.approx(expected, abs=1e-5), name
        assert rollout.last_value[b].item() == pytest.approx(row[20]["values"], abs=1e-5)
    assert len({float(r) for r in rollout.rewards[rollout.dones]}) > 1, "all rewards are alike: nothing is tested"
    ends = [row[20] for row in rows]
    assert any(step["resets"] for step in ends) and not all(step["resets"] for step in ends)
    assert (rollout.last_value - rollout.values[-1]).abs().min() > 1e-4
    assert rollout.episodes == {} and len(rollout.states) == 3


@torch.no_grad()
def test_the_state_before_each_span_is_that_in_which_it_was_read(shown):
    torch.manual_seed(1)
    agent = ml.Agent(SMALL)
    reader = Reader(shown, agent, B=5, seed=3)
    reader.collect(agent, 8, 8)
    rollout = reader.collect(agent, 12, 4)
    for i, state in enumerate(rollout.states):
        part = slice(4 * i, 4 * i + 4)
        out, _ = agent(Observation(*(x[part] for x in rollout.observation)), state, rollout.resets[part])
        torch.testing.assert_close(out.value, rollout.values[part], rtol=1e-4, atol=1e-5)


class Table(torch.nn.Module):
    def __init__(self, logits, value):
        super().__init__()
        self.logits, self.value = logits, value

    def forward(self, seen, state, resets):
        return ml.models.AgentOutput(self.logits, self.value, None), state


def test_every_watched_number_of_imitation_by_hand(shown):
    """Two steps: π of the bot's actions ½ and ¼, values 1 and 2, returns 3 and 1; the first action is the likeliest."""
    reader = Reader(shown, ml.Agent(SMALL), B=1)
    spans = cut_into_spans(reader.collect(ml.Agent(SMALL), 2, 2), 2, PPOConfig())
    pi = torch.full((2, 1, 7), 1e-12)
    pi[0, 0, :3], pi[1, 0, :3] = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.25, 0.7, 0.05])
    spans = spans._replace(actions=torch.zeros(2, 1, dtype=torch.int64), returns=torch.tensor([[3.0], [1.0]]),
                           state=ControllerState(torch.zeros(1, 1), torch.zeros(1, 1)))  # fmt: skip
    table = Table(pi.log(), torch.tensor([[1.0], [2.0]]))
    loss, watched = imitation_loss(table, spans, PPOConfig(value=0.5, entropy=0.1))
    entropy = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2, 0.25, 0.7, 0.05)) / 2
    cross, value = -(math.log(0.5) + math.log(0.25)) / 2, 0.5 * (4 + 1) / 2
    expected = {"cross_entropy": cross, "value_loss": value, "entropy": entropy, "accuracy": 0.5,
                "loss": cross + 0.5 * value - 0.1 * entropy}  # fmt: skip
    assert {k: v.item() for k, v in watched.items()} == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
