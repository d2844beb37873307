"""The agent: its heads, how they start, what is handed on to the controller."""

import dataclasses

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.envs import Observation
from metarim_lite.models import GROUPS, ControllerState

SIZES = ml.AgentConfig(
    num_modules=4, active=2, hidden_size=8, lstm_size=24, input_size=16, channels=4, mission_size=8, head_size=20,
    kernel="plain",
)  # fmt: skip


def observation(T, B, seed=0):
    dice = torch.Generator().manual_seed(seed)
    image = torch.stack([torch.randint(0, n, (T, B, 7, 7), generator=dice) for n in (11, 6, 3)], -1).to(torch.uint8)
    return Observation(
        image, torch.randint(0, 4, (T, B), generator=dice), torch.randint(0, 34, (T, B, 9), generator=dice)
    )


@pytest.fixture(params=["rim", "lstm"])
def agent(request):
    torch.manual_seed(0)
    return ml.Agent(dataclasses.replace(SIZES, controller=request.param))


def test_logits_and_value_are_two_layers_on_what_the_controller_says(agent):
    """actor and critic: W₂ tanh(W₁ h + b₁) + b₂, with episodes' resets and the state handed on."""
    seen, dice = observation(5, 3), torch.Generator().manual_seed(1)
    state = ControllerState(*(torch.randn(x.shape, generator=dice) for x in agent.initial_state(3)))
    resets = torch.rand(5, 3, generator=dice) < 0.4
    out, after = agent(seen, state, resets)
    x = agent.encoder(*seen)
    hidden, expected, _ = agent.controller(x, state, resets)
    p = dict(agent.named_parameters())

    def head(name):
        inner = torch.tanh(hidden @ p[f"{name}.0.weight"].T + p[f"{name}.0.bias"])
        return inner @ p[f"{name}.2.weight"].T + p[f"{name}.2.bias"]

    torch.testing.assert_close(out.logits, head("actor"))
    torch.testing.assert_close(out.value, head("critic")[..., 0])
    assert all(torch.equal(a, b) for a, b in zip(after, expected, strict=True))
    assert out.logits.shape == (5, 3, 7) and out.value.shape == (5, 3) and out.diagnostics is None


def test_heads_start_orthogonal_at_the_documented_scales(agent):
    """First layers √2, the critic's last 1, the actor's last 0.01: singular values are the scale, all of them."""
    for head, layer, scale in (
        (agent.actor, 0, 2**0.5), (agent.critic, 0, 2**0.5), (agent.actor, 2, 0.01), (agent.critic, 2, 1.0)
    ):  # fmt: skip
        singular = torch.linalg.svdvals(head[layer].weight)
        torch.testing.assert_close(singular, torch.full_like(singular, scale), rtol=1e-4, atol=1e-6)
        assert (head[layer].bias == 0).all()


def test_the_first_policy_is_nearly_uniform(agent):
    out, _ = agent(observation(4, 6))
    assert (out.logits.softmax(-1) - 1 / 7).abs().max() < 0.01
    assert out.value.std() > 0.01


def test_every_parameter_is_in_the_group_that_its_name_says(agent):
    groups = agent.parameter_groups()
    assert tuple(groups) == GROUPS
    where = {id(p): group for group, parameters in groups.items() for p in parameters}
    assert len(where) == len(list(agent.parameters()))
    attention = {"W_e", "W_v", "W_q", "b_q", "C_qkv", "C_out", "C_gate"}
    for name, p in agent.named_parameters():
        part, rest = name.split(".", 1)
        expected = {"encoder": "encoder", "actor": "heads", "critic": "heads"}.get(part)
        assert where[id(p)] == (expected or ("attention" if rest in attention else "modules")), name


def test_diagnostics_come_when_they_are_asked_for():
    agent = ml.Agent(SIZES)
    out, _ = agent(observation(5, 3), record=True)
    assert out.diagnostics.active.shape == (5, 3, 4) and (out.diagnostics.active.sum(-1) == 2).all()
    off = agent(observation(5, 3), record=True, interventions=ml.models.Interventions(off=(1,)))[0]
    assert not off.diagnostics.active[..., 1].any()


def test_sizes_reach_the_parts():
    agent = ml.Agent(
        dataclasses.replace(SIZES, key_size=5, value_size=6, comm_heads=3, comm_key_size=7, comm_value_size=2)
    )
    rim = agent.controller
    assert (rim.num_modules, rim.active, rim.hidden_size, rim.input_size) == (4, 2, 8, 16)
    assert (rim.key_size, rim.value_size, rim.comm_heads, rim.comm_key_size, rim.comm_value_size) == (5, 6, 3, 7, 2)
    lstm = ml.Agent(dataclasses.replace(SIZES, controller="lstm")).controller
    assert (lstm.input_size, lstm.hidden_size) == (16, 24)


def test_the_uniform_agent_is_uniform():
    out, state = ml.UniformAgent()(observation(2, 3))
    assert state is None and out.value.shape == (2, 3)
    assert torch.equal(out.logits.softmax(-1), torch.full((2, 3, 7), 1 / 7))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"channels": True}, "AgentConfig.channels is True; it must be a whole number of at least 1"),
        ({"head_size": 0}, "AgentConfig.head_size is 0; it must be a whole number of at least 1"),
        ({"lstm_size": 8.0}, "AgentConfig.lstm_size is 8.0; it must be a whole number of at least 1"),
        ({"message_scale": 0}, "AgentConfig.message_scale is 0.* it must be greater than 0"),
        ({"controller": "lstn"}, "unknown controller 'lstn'; did you mean 'lstm'"),
        ({"kernel": "fuse"}, "unknown kernel 'fuse'; did you mean 'fused'"),
        ({"output_gate": "open"}, "unknown output gate 'open'"),
        ({"active": 7}, "active=7 is more than num_modules=6: choose k between 1 and 6"),
    ],
)
def test_impossible_sizes_get_one_sentence(wrong, said):
    with pytest.raises(ml.UserError, match=said):
        ml.AgentConfig(**wrong)


def test_every_size_may_be_a_number_of_numpy_and_none_may_be_a_bool():
    sizes = {name: size for name, size in vars(SIZES).items() if type(size) is int}
    assert len(sizes) == 13
    config = ml.AgentConfig(**{name: np.int64(size) for name, size in sizes.items()})
    assert vars(config) == vars(ml.AgentConfig(**sizes)) and type(config.channels) is int
    for name in sizes:
        with pytest.raises(ml.UserError, match=f"AgentConfig.{name} is True"):
            ml.AgentConfig(**{name: True})
    assert ml.models.RIM(np.int64(5), np.int32(4), np.int64(3), np.int64(2))(torch.zeros(1, 1, 5))[0].shape == (
        1,
        1,
        12,
    )
