"""A trace is what happened: minigrid, the agent itself and a slow replay agree with every number in it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lens_traces import make_agent

import metarim_lite as ml
from metarim_lite.envs import make_minigrid
from metarim_lite.errors import UserError
from metarim_lite.lens import ModulesFrozen, ModulesOff, SwapMission
from metarim_lite.lens.recording import draw_action

LEVEL = "BabyAI-GoToObjS6-v1"


def test_minigrid_itself_sees_and_pays_the_same_for_the_recorded_actions(trace, small_bank):
    env = make_minigrid(LEVEL)
    seen, _ = env.reset(seed=int(small_bank.seeds[7]))
    assert trace.mission == seen["mission"]
    assert trace.level == LEVEL
    for t, action in enumerate(trace.actions):
        np.testing.assert_array_equal(trace.images[t], seen["image"])
        assert trace.directions[t] == seen["direction"]
        seen, reward, terminated, truncated, _ = env.step(int(action))
        assert trace.rewards[t] == pytest.approx(reward)
        assert (terminated or truncated) == (t == trace.num_steps - 1)
    np.testing.assert_array_equal(trace.images[-1], seen["image"])
    assert trace.success == (reward > 0) and trace.truncated == truncated


@pytest.mark.parametrize("controller", ["rim", "lstm"])
def test_reading_the_whole_episode_at_once_gives_the_recorded_numbers(controller, small_bank):
    agent = make_agent(controller)
    trace = ml.Trace.record(agent, small_bank, level=2, seed=0)
    T = trace.num_steps
    seen = SimpleNamespace(
        image=torch.tensor(trace.images[:T])[:, None],
        direction=torch.tensor(trace.directions[:T])[:, None],
        mission=ml.encode_mission(trace.mission).expand(T, 1, -1),
    )
    with torch.no_grad():
        out, _ = agent(seen, None, None, record=True)
    np.testing.assert_allclose(trace.probabilities, out.logits[:, 0].softmax(-1), atol=1e-5)
    np.testing.assert_allclose(trace.values, out.value[:, 0], atol=1e-5)
    if controller == "rim":
        np.testing.assert_array_equal(trace.active, out.diagnostics.active[:, 0])
        np.testing.assert_allclose(trace.input_attention, out.diagnostics.input_attention[:, 0], atol=1e-5)
        np.testing.assert_allclose(trace.communication, out.diagnostics.communication[:, 0], atol=1e-5)
        assert trace.hidden_norms.shape == (T, 5)
    else:
        assert trace.active is None and trace.input_attention is None and trace.communication is None
        assert trace.hidden_norms.shape == (T, 1)


def test_an_action_owns_a_stretch_of_luck_as_wide_as_its_probability():
    probabilities = np.array([0.1, 0.0, 0.4, 0.5, 0.0], np.float32)
    lucks = (np.arange(1000) + 0.5) / 1000
    drawn = np.array([draw_action(probabilities, luck) for luck in lucks])
    assert (np.diff(drawn) >= 0).all()
    np.testing.assert_array_equal(np.bincount(drawn, minlength=5), [100, 0, 400, 500, 0])


def test_an_action_without_probability_is_never_drawn_at_the_edges_of_luck():
    probabilities = np.array([0.0, 0.3, 0.7, 0.0], np.float32)
    assert draw_action(probabilities, 0.0) == 1
    assert draw_action(probabilities, float(np.nextafter(1.0, 0.0))) == 2


def test_the_same_seed_records_the_same_episode_and_another_seed_another(agent, small_bank, trace):
    again = ml.Trace.record(agent, small_bank, level=7, seed=3)
    np.testing.assert_array_equal(again.actions, trace.actions)
    np.testing.assert_array_equal(again.probabilities, trace.probabilities)
    other = ml.Trace.record(agent, small_bank, level=7, seed=4)
    assert list(other.actions) != list(trace.actions)


def test_recording_leaves_the_global_dice_and_the_agent_as_they_were(agent, small_bank):
    before, dice = [p.clone() for p in agent.parameters()], torch.get_rng_state()
    ml.Trace.record(agent, small_bank, level=0)
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, agent.parameters(), strict=True))


def test_a_greedy_recording_takes_the_likeliest_action(agent, small_bank):
    trace = ml.Trace.record(agent, small_bank, level=7, greedy=True)
    np.testing.assert_array_equal(trace.actions, trace.probabilities.argmax(axis=1))


@pytest.mark.parametrize("change", [ModulesOff((0, 2), start=4), ModulesFrozen((0, 1, 2), start=4)])
def test_before_an_intervention_starts_the_episode_is_the_same_bit_for_bit(change, agent, small_bank, trace):
    changed = ml.Trace.record(agent, small_bank, level=7, seed=3, interventions=(change,))
    for field in ("images", "probabilities", "actions", "values", "hidden_norms", "active", "communication"):
        np.testing.assert_array_equal(getattr(changed, field)[:4], getattr(trace, field)[:4])
    assert not np.array_equal(changed.probabilities[4:10], trace.probabilities[4:10])


def test_modules_that_are_off_are_never_active_and_hold_nothing(agent, small_bank):
    trace = ml.Trace.record(agent, small_bank, level=7, interventions=(ModulesOff((0, 2), start=2),))
    assert not trace.active[2:, [0, 2]].any()
    assert (trace.hidden_norms[2:, [0, 2]] == 0).all()
    assert trace.active[2:].sum(axis=1).tolist() == [3] * (trace.num_steps - 2)


def test_a_frozen_module_keeps_its_state_from_the_start_of_the_freeze_on(agent, small_bank):
    trace = ml.Trace.record(agent, small_bank, level=7, interventions=(ModulesFrozen((1,), start=3),))
    assert (trace.hidden_norms[3:, 1] == trace.hidden_norms[2, 1]).all()
    assert len(set(trace.hidden_norms[3:, 0])) > 1


def test_a_swapped_mission_is_what_the_agent_hears_and_not_what_the_world_judges(agent, small_bank, trace):
    swapped = ml.Trace.record(agent, small_bank, level=7, seed=3, interventions=(SwapMission("go to a grey box", 2),))
    assert swapped.mission == trace.mission
    assert swapped.told(1) == trace.mission and swapped.told(2) == "go to a grey box"
    np.testing.assert_array_equal(swapped.mission_tokens[1], trace.mission_tokens[1])
    np.testing.assert_array_equal(swapped.mission_tokens[2], ml.encode_mission("go to a grey box"))
    assert not np.array_equal(swapped.probabilities[2], trace.probabilities[2])


def test_of_several_swaps_the_one_that_came_last_holds(agent, small_bank):
    first, second = SwapMission("go to a grey box", 0), SwapMission("go to a red key", 3)
    for swaps in ((first, second), (second, first)):
        swapped = ml.Trace.record(agent, small_bank, level=7, seed=3, interventions=swaps)
        for t, text in ((2, first.text), (3, second.text)):
            assert swapped.told(t) == text
            np.testing.assert_array_equal(swapped.mission_tokens[t], ml.encode_mission(text))


def test_a_rim_of_one_module_is_recorded_as_a_rim(small_bank):
    trace = ml.Trace.record(ml.Agent(ml.AgentConfig(controller="rim", num_modules=1, active=1)), small_bank)
    assert trace.active.shape == (trace.num_steps, 1) and trace.active.all()


def test_steps_that_are_not_there_get_one_sentence(trace):
    for t in (-1, trace.num_steps + 1, 1.5):
        with pytest.raises(UserError, match="there is no step"):
            trace.frame(t)
    with pytest.raises(UserError, match="there is no step"):
        trace.told(trace.num_steps)


def test_from_the_copy_of_any_step_the_episode_can_be_played_on(trace):
    for t in (0, 3, trace.num_steps - 1):
        worlds = trace.worlds[t].fork()
        for action in trace.actions[t:]:
            step = worlds.step(torch.tensor([int(action)]))
        np.testing.assert_array_equal(step.observation.image[0], trace.images[-1])
        assert float(step.reward) == pytest.approx(float(trace.rewards[-1]))


def test_a_policy_without_state_can_be_recorded_too(small_bank):
    trace = ml.Trace.record(ml.UniformAgent(), small_bank, level=1)
    np.testing.assert_allclose(trace.probabilities, 1 / 7, atol=1e-6)
    assert trace.hidden_norms.shape == (trace.num_steps, 0)


def test_a_trace_cannot_be_changed(trace):
    with pytest.raises(AttributeError):
        trace.mission = "something else"


@pytest.mark.parametrize("level", [-1, 200])
def test_a_level_outside_the_bank_is_refused_with_a_sentence(level, agent, small_bank):
    with pytest.raises(UserError, match=f"level {level} is not in this bank; it holds levels 0 to 199"):
        ml.Trace.record(agent, small_bank, level=level)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (ModulesOff((5,)), "there is no module 5; the agent has modules 0 to 4"),
        (ModulesOff(()), "names no module"),
        (ModulesFrozen((0,), start=-1), "starts at step 0 or later"),
        (ModulesFrozen((0,), start="3"), "starts at step 0 or later"),
        (ModulesOff(2), "write a tuple of indices"),
        (SwapMission("go to the dragon"), "dragon"),
        ("off", "not an intervention"),
    ],
)
def test_an_intervention_that_does_not_fit_is_refused_with_a_sentence(change, sentence, agent, small_bank):
    with pytest.raises(UserError, match=sentence):
        ml.Trace.record(agent, small_bank, interventions=(change,))


def test_modules_of_an_lstm_cannot_be_switched_off(small_bank):
    with pytest.raises(UserError, match="needs an agent made of modules"):
        ml.Trace.record(make_agent("lstm"), small_bank, interventions=(ModulesOff((0,)),))


def test_a_real_trace_can_be_drawn_and_written(trace, tmp_path):
    source = trace.to_html(tmp_path / "replay.html").read_text(encoding="utf-8")
    assert trace.mission in source and len(source) < 1_000_000
    assert trace.frame(0).dtype == np.uint8 and trace.frame(0).ndim == 3
