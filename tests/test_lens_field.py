"""The policy field says of each place what the agent itself says when it is put there."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from lens_traces import bright_in_the_dark

import metarim_lite as ml
from metarim_lite.envs import make_minigrid
from metarim_lite.errors import UserError
from metarim_lite.lens import ModulesOff, SwapMission, Trace
from metarim_lite.lens.field import CLEARED, WITH_MEMORY, policy_field
from metarim_lite.lens.field_drawing import FULL, field_html, panel_svg

LEVEL = "BabyAI-GoToRedBallGrey-v0"
SIZES = dict(num_modules=4, active=2, hidden_size=8, lstm_size=16, input_size=16)


def make_agent(controller="rim", seed=0):
    """An agent whose first policy is not uniform, so that every wrong place shows."""
    torch.manual_seed(seed)
    agent = ml.Agent(ml.AgentConfig(controller=controller, **SIZES))
    with torch.no_grad():
        agent.actor[2].weight.mul_(100)
    return agent


@pytest.fixture(scope="module")
def bank():
    return ml.LevelBank.generate(LEVEL, seeds=range(3))


def asked_alone(agent, trace, t, image, direction, cleared, off=None):
    """What the agent says of one view after the first t steps of the trace, in one forward pass over t + 1 steps."""
    images = np.concatenate([trace.images[:t], image[None]])
    directions = np.append(trace.directions[:t], direction)
    missions = np.concatenate([trace.mission_tokens[:t], trace.mission_tokens[t : t + 1]])
    seen = ml.Observation(*(torch.as_tensor(x)[:, None] for x in (images, directions, missions)))
    resets = torch.zeros(t + 1, 1, dtype=torch.bool)
    resets[0] = True
    resets[t] = cleared or t == 0
    with torch.no_grad():
        out, _ = agent(seen, None, resets)
    return out.logits[t, 0].double().softmax(-1).numpy(), float(out.value[t, 0])


@pytest.mark.parametrize("controller", ["rim", "lstm"])
def test_the_field_is_what_minigrid_shows_there_and_the_agent_answers(bank, controller):
    """minigrid's own agent is put into each place of the level; its view goes to ours, one at a time."""
    agent, t = make_agent(controller), 4
    trace = Trace.record(agent, bank, level=1, seed=3)
    trace_field = policy_field(agent, trace, t)
    env = make_minigrid(LEVEL)
    env.reset(seed=int(bank.seeds[1]))
    for action in trace.actions[:t]:
        env.step(int(action))
    env = env.unwrapped
    free = {(x, y) for x in range(env.width) for y in range(env.height) if env.grid.get(x, y) is None}
    assert {(x, y) for x, y, _ in trace_field.places.tolist()} == free
    assert len(trace_field.places) == 4 * len(free)
    assert tuple(trace_field.places[trace_field.here]) == (*map(int, env.agent_pos), env.agent_dir)
    for n, (x, y, direction) in list(enumerate(trace_field.places.tolist()))[::5]:
        env.agent_pos, env.agent_dir = np.array((x, y)), direction
        image = env.gen_obs()["image"]
        for which in (WITH_MEMORY, CLEARED):
            chances, value = asked_alone(agent, trace, t, image, direction, which == CLEARED)
            np.testing.assert_allclose(trace_field.probabilities[which, n], chances, atol=1e-5)
            assert trace_field.values[which, n] == pytest.approx(value, abs=1e-5)
    assert trace_field.distance.max() > 0.01  # the memory does add something, else the test could not tell


def test_where_the_agent_is_the_field_is_the_trace(bank):
    agent = make_agent()
    trace = Trace.record(agent, bank, level=2, seed=1)
    for t in (0, 3):
        found = policy_field(agent, trace, t)
        np.testing.assert_allclose(found.probabilities[WITH_MEMORY, found.here], trace.probabilities[t], atol=1e-5)
        assert found.values[WITH_MEMORY, found.here] == pytest.approx(trace.values[t], abs=1e-5)


def test_at_step_0_nothing_is_remembered(bank):
    agent = make_agent()
    found = policy_field(agent, Trace.record(agent, bank), 0)
    np.testing.assert_allclose(found.probabilities[WITH_MEMORY], found.probabilities[CLEARED], atol=1e-6)
    assert not found.changed.any() and "both fields are the same" in str(found)


def test_the_trace_and_its_worlds_stay_as_they_are(bank):
    agent = make_agent()
    trace = Trace.record(agent, bank)
    before = [w.state_dict() for w in trace.worlds]
    policy_field(agent, trace, 2)
    for one, world in zip(before, trace.worlds, strict=True):
        assert all(torch.equal(one[k], v) for k, v in world.state_dict().items())


def test_interventions_hold_in_the_field_too(bank):
    agent = make_agent()
    changes = (ModulesOff((0, 1)), SwapMission("go to the green key", start=1))
    trace = Trace.record(agent, bank, interventions=changes)
    found = policy_field(agent, trace, 2)
    np.testing.assert_allclose(found.probabilities[WITH_MEMORY, found.here], trace.probabilities[2], atol=1e-5)


def test_another_agent_a_step_outside_and_an_agent_without_memory(bank):
    agent = make_agent()
    trace = Trace.record(agent, bank)
    with pytest.raises(UserError, match="did not play this episode"):
        policy_field(make_agent(seed=1), trace, 3)
    for t in (-1, trace.num_steps, 1.5):
        with pytest.raises(UserError, match="no step"):
            policy_field(agent, trace, t)
    uniform = ml.UniformAgent()
    trace = Trace.record(uniform, bank)
    found = policy_field(uniform, trace, min(1, trace.num_steps - 1))
    np.testing.assert_allclose(found.probabilities, 1 / 7, atol=1e-6)


def test_the_picture_has_a_wedge_for_each_place_and_marks_what_the_memory_changes(bank):
    agent = make_agent()
    found = policy_field(agent, Trace.record(agent, bank, level=1, seed=3), 4)
    for which in (WITH_MEMORY, CLEARED):
        drawn = list(ElementTree.fromstring(panel_svg(found, which)).iter())
        paths = [e for e in drawn if e.tag.endswith("path")]
        wedges = [e for e in paths if e.get("stroke") in ("#E69F00", "#C9D1D9")]
        shades = [float(e.get("fill-opacity")) / FULL for e in wedges]
        low, high = found.values.min(), found.values.max()
        np.testing.assert_allclose(sorted(shades), sorted((found.values[which] - low) / (high - low)), atol=0.01)
        assert len(wedges) == len(found.places)
        assert sum(e.get("stroke") == "#E69F00" for e in wedges) == found.changed.sum()
        full = sum(e.get("fill") == "#1B1F24" for e in paths)
        assert full == (found.actions[which] == 2).sum()  # forward
        open_ones = sum(e.get("stroke") == "#1B1F24" for e in paths)
        assert open_ones == (found.actions[which] < 2).sum()  # turns
    html = field_html(found)
    assert "metarim-room" in html and not bright_in_the_dark(html)


def test_arrows_point_where_the_agent_would_face(bank):
    """One place, facing right, on a made-up field: turning left points up, turning right down, forward right."""
    from dataclasses import replace

    agent = make_agent()
    found = policy_field(agent, Trace.record(agent, bank), 0)
    n = next(i for i, place in enumerate(found.places) if place[2] == 0)
    for action, way in ((0, (0, -1)), (1, (0, 1)), (2, (1, 0))):
        chances = np.zeros((2, 1, 7), np.float32)
        chances[:, 0, action] = 1
        one = replace(found, places=found.places[n : n + 1], probabilities=chances, values=np.zeros((2, 1)), here=0)
        (arrow,) = [
            e.get("d")
            for e in ElementTree.fromstring(panel_svg(one, 0)).iter()
            if e.tag.endswith("path") and "#1B1F24" in (e.get("fill"), e.get("stroke"))
        ]
        wing, tip, other = ([float(v) for v in p.split()] for p in arrow.strip("Mz").split("L"))
        forward = np.array(tip) - (np.array(wing) + np.array(other)) / 2
        np.testing.assert_allclose(forward / np.linalg.norm(forward), way, atol=0.1)


def test_the_widget_goes_to_any_step_and_says_what_it_cannot_do(bank, monkeypatch):
    from metarim_lite.lens import FieldView, field_view

    agent = make_agent()
    trace = Trace.record(agent, bank, level=1, seed=3)
    view = FieldView(agent, trace, t=0)
    assert view.buttons["back"].click() is None and view.t == 0
    view.buttons["next"].click()
    assert view.t == view.field.t == 1 and "with the memory of step 1" in view.screen.value
    view.slider.value = 3
    assert "At step 3 the memory changes" in view.screen.value and panel_svg(view.field, 0) in view.screen.value
    with pytest.raises(UserError):
        FieldView(make_agent(seed=1), trace, t=3)

    def fail(*_):
        raise RuntimeError("no <memory>")

    monkeypatch.setattr(field_view, "policy_field", fail)
    view.slider.value = 2
    assert "no &lt;memory&gt;" in view.screen.value
    monkeypatch.undo()
    view.slider.value = 1
    assert "with the memory of step 1" in view.screen.value
    bundle = view._repr_mimebundle_()
    assert "At step 1" in bundle["text/plain"] and len(bundle["image/png"]) < 200_000
