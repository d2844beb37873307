"""The step that a student reads is the step that runs once it is changed, whatever kernel was asked for."""

import copy
import types

import pytest
import torch

import metarim_lite as ml
from metarim_lite.models import RIM, ControllerState

D, SIZES = 5, {"hidden_size": 4, "num_modules": 3, "active": 2}


def forgetful_step(self, h, c, keys, values, masks):
    """A step that sees the state at half its size."""
    return RIM_STEP(self, h / 2, c / 2, keys, values, masks)


def deaf(self, h, keys, values, masks):
    """Modules read nothing."""
    read, on_input, eager = RIM_READ_INPUT(self, h, keys, values, masks)
    return 0 * read, on_input, eager


def linear_cell(self, h, c, read):
    return h + (read @ self.W_in)[..., : self.hidden_size], c


SCALES = {"fast_span": 5, "slow_span": 10}
RIM_STEP, RIM_READ_INPUT = RIM.step, RIM.read_input
CHANGES = {"step": forgetful_step, "read_input": deaf, "cell_step": linear_cell}
CHANGES |= {
    "compete": lambda self, eager, masks: [torch.ones_like(eager, dtype=torch.bool).unsqueeze(-1)] * 3,
    "message": lambda self, heard: heard @ self.C_out + 1,
}


def subclass(name, kernel):
    return type("Mine", (RIM,), {name: CHANGES[name]})(D, **SIZES, kernel=kernel)


def instance(name, kernel):
    rim = RIM(D, **SIZES, kernel=kernel)
    setattr(rim, name, types.MethodType(CHANGES[name], rim))
    return rim


def function_on_an_instance(name, kernel):
    rim = RIM(D, **SIZES, kernel=kernel)
    setattr(rim, name, lambda *args, **named: CHANGES[name](rim, *args, **named))
    return rim


def copied(name, kernel):
    return copy.deepcopy(instance(name, kernel))


def values_and_gradients(rim):
    rim.reset_parameters(torch.Generator().manual_seed(0))
    x, resets = torch.randn(4, 3, D, generator=torch.Generator().manual_seed(1)), torch.zeros(4, 3, dtype=torch.bool)
    resets[2, 1] = True
    state = ControllerState(torch.ones(3, 3, 4), torch.ones(3, 3, 4))
    outputs, _, seen = rim(x, state, resets)
    grads = torch.autograd.grad(outputs.square().sum(), list(rim.parameters()), allow_unused=True)
    return [outputs, seen.input_attention, *(g for g in grads if g is not None)]


@pytest.mark.parametrize("kernel", ["fused", "compiled"])
@pytest.mark.parametrize("how", [subclass, instance, function_on_an_instance, copied])
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_part_of_the_step_runs_whatever_kernel_was_asked_for(name, how, kernel):
    changed, wanted = values_and_gradients(how(name, kernel)), values_and_gradients(how(name, "plain"))
    assert all(torch.equal(a, b) for a, b in zip(changed, wanted, strict=True))
    assert not torch.allclose(changed[0], values_and_gradients(RIM(D, **SIZES))[0])


def test_an_unchanged_rim_and_a_subclass_that_changes_nothing_of_the_step_run_fused(monkeypatch):
    class Named(RIM):
        def parameter_groups(self):
            return super().parameter_groups()

    for rim in (RIM(D, **SIZES), Named(D, **SIZES)):
        with monkeypatch.context() as patched:
            patched.setattr("metarim_lite.models.rim.walk", None)  # the plain way would call it
            rim(torch.zeros(2, 1, D))


@pytest.mark.parametrize("name", CHANGES)
def test_an_agent_learns_with_the_changed_part(name):
    """One gradient step on the controller of an agent: as with kernel="plain"."""
    found = []
    for kernel in ("fused", "plain"):
        torch.manual_seed(0)
        agent = ml.Agent(ml.AgentConfig(**SIZES, input_size=D, channels=2, mission_size=2, head_size=3))
        agent.controller = subclass(name, kernel)
        agent.controller.reset_parameters(torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(agent.parameters(), 0.1)
        image, zeros = torch.ones(4, 2, 7, 7, 3, dtype=torch.uint8), torch.zeros(4, 2, dtype=torch.int64)
        out, _ = agent(ml.envs.Observation(image, zeros, torch.ones(4, 2, 5, dtype=torch.int64)))
        (out.logits.square().sum() + out.value.sum()).backward()
        optimizer.step()
        found.append([p.detach().clone() for p in agent.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", ["step", "read_input", "cell_step"])
def test_training_runs_with_a_step_changed_on_the_class_itself(name, monkeypatch, small_bank):
    """What a student does in a notebook: `RIM.step = mine`, then `ml.train`."""
    agent = ml.AgentConfig(**SIZES, input_size=D, channels=2, mission_size=2, head_size=3)
    config = ml.TrainConfig(method="rim", num_envs=8, steps=10, frames=80, agent=agent, device="cpu", timescales=SCALES)
    calls, original = [], getattr(RIM, name)

    def mine(self, *args, **named):
        calls.append(torch.is_grad_enabled())
        return original(self, *args, **named)

    monkeypatch.setattr(RIM, name, mine)
    ml.train(config, bank=small_bank, progress=False)
    assert True in calls and False in calls, "it must be there to play and to learn"
