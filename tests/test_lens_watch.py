"""Watching a training changes nothing of it, costs little, and says whatever becomes of it."""

import threading
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

import metarim_lite as ml
from metarim_lite.errors import Diverged, UserError
from metarim_lite.lens import learning as pictures
from metarim_lite.lens import watching
from metarim_lite.lens.background import Background, Budget
from metarim_lite.lens.charts import BOTTOM, LEFT, RIGHT, TOP, Curve, curves_svg, shares_svg, thinned
from metarim_lite.lens.learning import Learning

RIM = dict(num_modules=3, active=2, hidden_size=4, key_size=4, value_size=4, comm_key_size=4, comm_value_size=4)
TIMED = ("seconds", "frames_per_second")


def config(**changes):
    small = dict(
        method="meta-rim", level="BabyAI-GoToObjS6-v1", frames=900, num_envs=4, steps=10, device="cpu", report_every=2,
        agent=ml.AgentConfig(**RIM, channels=4, mission_size=8, input_size=8, head_size=8, lstm_size=8),
        timescales=dict(fast_span=5, slow_span=10, slow_every=2), ppo=ml.PPOConfig(minibatches=1, epochs=1),
    )  # fmt: skip
    return ml.TrainConfig(**small | changes)


@pytest.fixture
def watch(small_bank):
    """`ml.watch` on a few levels, closed after the test."""
    opened = []

    def begin(**settings):
        changes = {k: settings.pop(k) for k in list(settings) if k in ml.TrainConfig.__dataclass_fields__}
        opened.append(ml.watch(config(**changes), **{"bank": small_bank} | settings))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()
        assert not one.background._thread.is_alive()


@pytest.fixture
def slowly(monkeypatch):
    """Every tick takes a moment, so that there is time to press a button."""
    tick = watching.Trainer.tick
    monkeypatch.setattr(watching.Trainer, "tick", lambda trainer: (time.sleep(0.03), tick(trainer))[1])


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def same_parameters(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", ["meta-rim", "lstm"])
def test_a_watched_training_is_bit_for_bit_that_of_train(watch, small_bank, method):
    changes = dict(method=method) if method == "meta-rim" else dict(method=method, timescales=dict(fast_span=5))
    run = ml.train(config(**changes), bank=small_bank, progress=False)
    watched = watch(**changes).wait()
    assert same_parameters(run.agent, watched.agent)
    assert watched.run.finished and watched.learning.episode is not None
    plain = [[{k: v for k, v in line.items() if k not in TIMED} for line in r.metrics] for r in (run, watched.run)]
    assert plain[0] == plain[1]


def test_a_training_that_was_stopped_goes_on_to_the_same_end(watch, small_bank, slowly):
    run = ml.train(config(), bank=small_bank, progress=False)
    watched = watch()
    watched.buttons["stop"].click()
    watched.wait()
    at = watched.trainer.counters["frames"]
    assert at < 900 and "Stopped after" in watched.status.value and not watched.run.finished
    assert watched.buttons["stop"].disabled and not watched.buttons["go on"].disabled
    time.sleep(0.1)
    assert watched.trainer.counters["frames"] == at
    watched.buttons["go on"].click()
    watched.wait()
    assert "Finished" in watched.status.value and watched.run.finished
    assert same_parameters(run.agent, watched.agent)


def test_the_kernel_stays_usable_and_the_agent_can_be_asked_while_it_learns(watch, slowly, small_bank):
    watched = watch(frames=4000)
    until(lambda: watched.learning.lines)
    assert watched.background.state == "running"
    early = watched.agent
    assert 0 <= ml.evaluate(early, small_bank, 4).success.value <= 1
    until(lambda: len(watched.learning.lines) > 2)
    assert watched.agent is not early and "frames/s" in watched.status.value


def test_a_loss_that_is_not_finite_is_said_in_the_widget_and_the_last_good_agent_is_left(watch, monkeypatch):
    tick = watching.Trainer.tick

    def diverge(trainer):
        watched, episodes = tick(trainer)
        if trainer.counters["tick"] > 3:
            next(trainer.agent.parameters()).data.fill_(float("nan"))
            watched = watched | {"fast/loss": torch.tensor(float("nan"))}
        return watched, episodes

    monkeypatch.setattr(watching.Trainer, "tick", diverge)
    watched = watch()
    with pytest.raises(Diverged, match="fast/loss is not finite"):
        watched.wait()
    assert "Failed" in watched.status.value and "fast/loss is not finite" in watched.status.value
    assert all(p.isfinite().all() for p in watched.agent.parameters()) and not watched.run.finished
    assert watched.buttons["stop"].disabled and watched.buttons["go on"].disabled


def test_any_other_error_of_the_training_is_said_and_raised_too(watch, monkeypatch):
    def fail(trainer):
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(watching.Trainer, "tick", fail)
    watched = watch()
    with pytest.raises(RuntimeError, match="out of <memory>"):
        watched.wait()
    assert "RuntimeError: out of &lt;memory&gt;" in watched.status.value


@pytest.mark.parametrize("where", ["success_svg", "episode_html"])
def test_an_error_in_a_picture_is_said_and_raised_but_the_training_goes_on(watch, monkeypatch, where, slowly):
    watched = watch()

    def fail(learning):
        raise KeyError("no colour")

    monkeypatch.setattr(watching, where, fail)
    with pytest.raises(KeyError, match="no colour"):
        watched.wait()
    assert watched.run.finished and watched.background.state == "finished"
    assert "No picture: KeyError" in watched.status.value


def test_a_closed_widget_stops_the_training(watch, slowly):
    watched = watch(frames=100_000)
    watched.widget.close()
    watched.background._thread.join(20)
    assert watched.background.state == "closed" and watched.trainer.counters["frames"] < 100_000
    watched.wait()


def test_who_watches_a_second_training_stops_the_first_which_can_go_on(watch, slowly):
    first, second = watch(frames=100_000), None
    second = watch()
    first.wait()
    assert first.background.state == "stopped"
    second.wait()
    first.go_on()
    until(lambda: first.background.state == "running")


def test_an_interrupted_kernel_stops_the_training_and_the_widget_still_works(watch, slowly, monkeypatch):
    watched = watch()
    wait, interrupts = watched.background._condition.wait, iter([KeyboardInterrupt])

    def interrupted(seconds=None):
        if threading.current_thread() is threading.main_thread():
            for error in interrupts:
                raise error
        return wait(seconds)

    monkeypatch.setattr(watched.background._condition, "wait", interrupted)
    watched.wait()
    assert watched.background.state == "stopped" and "press “go on”" in watched.status.value
    watched.buttons["go on"].click()
    assert watched.wait().run.finished


def test_a_run_that_is_kept_goes_on_when_its_folder_is_watched_again(watch, small_bank, slowly, tmp_path):
    run = ml.train(config(), bank=small_bank, progress=False, folder=tmp_path / "trained")
    first = watch(folder=tmp_path / "watched")
    until(lambda: first.learning.lines)
    second = watch(folder=tmp_path / "watched")  # the cell is run again, while the first is training
    assert first.background.state == "closed" and "watch the same folder again" in first.status.value
    assert second.learning.lines[: len(first.learning.lines)] == first.learning.lines
    second.stop()
    second.wait()
    assert "Kept in" in second.status.value
    second.close()
    third = watch(folder=tmp_path / "watched").wait()
    assert same_parameters(run.agent, third.agent) and third.run.finished and third.run.folder == tmp_path / "watched"
    assert same_parameters(run.agent, ml.load_agent(tmp_path / "watched" / "agent"))
    again = watch(folder=tmp_path / "watched").wait()
    assert "Finished" in again.status.value and again.run.metrics == third.run.metrics
    assert ml.train(config(), bank=small_bank, progress=False, folder=tmp_path / "watched").metrics == third.run.metrics


def test_a_folder_of_another_run_is_refused_before_anything_begins(small_bank, tmp_path):
    ml.train(config(frames=100), bank=small_bank, progress=False, folder=tmp_path / "run")
    kept = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match="seed"):
        ml.watch(config(seed=1), bank=small_bank, folder=tmp_path / "run")
    assert kept == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    assert not [t for t in threading.enumerate() if t.name == "metarim-background" and t.is_alive()]


def test_a_kept_run_that_fails_says_so_and_leaves_its_last_checkpoint(watch, monkeypatch, tmp_path):
    tick = watching.Trainer.tick

    def diverge(trainer):
        watched, episodes = tick(trainer)
        return watched | ({"fast/loss": torch.tensor(float("nan"))} if trainer.counters["tick"] > 3 else {}), episodes

    monkeypatch.setattr(watching.Trainer, "tick", diverge)
    watched = watch(folder=tmp_path)
    with pytest.raises(Diverged, match="the last good checkpoint is kept"):
        watched.wait()
    assert "Failed" in watched.status.value and (tmp_path / "diverged.json").exists()


def test_mistakes_are_one_sentence_before_anything_begins(small_bank):
    for settings, told in (
        (dict(earlier="meta-rim-gotolocl"), "meta-rim-gotolocal"),
        (dict(earlier=3), "has no success curve"),
        (dict(level=500), "level must"),
    ):
        with pytest.raises(UserError, match=told):
            ml.watch(config(), bank=small_bank, **settings)
    assert not [t for t in threading.enumerate() if t.name == "metarim-background" and t.is_alive()]


def test_shares_are_those_of_the_worlds_as_they_stand(watch):
    watched = watch().wait()
    player, agent = watched.trainer.player, watched.trainer.agent
    seen = ml.Observation(*(x[None] for x in player.observation))
    out, _ = agent(seen, player.state, player.resets[None], record=True)
    expected = out.diagnostics.active[0].double().mean(0)  # (B, N) -> (N)
    np.testing.assert_allclose(watched.learning.shares[-1], expected, atol=1e-6)
    assert watched.learning.shares[-1].sum() == pytest.approx(2)  # k modules in every world


def test_earlier_curves_stand_behind_under_their_names(watch, small_bank, tmp_path):
    run = ml.train(config(frames=100), bank=small_bank, progress=False, folder=tmp_path / "before")
    watched = watch(earlier=["meta-rim-gotolocal", run, run, tmp_path / "before"])
    assert list(watched.learning.earlier) == ["meta-rim-gotolocal", "meta-rim", "meta-rim (2)", "before"]
    assert watched.learning.earlier["before"] == run.metrics
    assert "meta-rim-gotolocal" in watched.panels["success"].value


def learned(**fields):
    lines = [
        {"frames": 250, "seconds": 1.0, "frames_per_second": 250.0, "fast/grad_norm/modules": 0.5},
        {"frames": 500, "seconds": 2.0, "frames_per_second": 250.0, "success": 0.25, "fast/grad_norm/modules": 5.0},
        {"frames": 750, "seconds": 3.0, "frames_per_second": 250.0, "success": 0.75, "slow/grad_norm/attention": 0.05},
    ]
    shares = [np.array([0.0, 1.0]), np.array([0.5, 1.0])]
    made = dict(
        method="meta-rim", level="a level", total=1000, has_modules=True, frames=750, lines=lines, shares=shares
    )
    return Learning(**made | fields)


def curve(svg, color):
    """The points of the one curve of this colour: [(x, y), …]."""
    drawn = [
        e.get("d") for e in ElementTree.fromstring(svg).iter() if e.get("stroke") == color and e.tag.endswith("path")
    ]
    (d,) = [d for d in drawn if not d.startswith("M14 36") and "36L" not in d]  # at 36 stands its name
    return [tuple(map(float, point.split())) for point in d[1:].split("L")]


def test_the_success_curve_goes_through_the_numbers_and_earlier_ones_lie_behind():
    earlier = {"before": [{"frames": 0, "success": 0.0}, {"frames": 1000, "success": 1.0}]}
    svg = pictures.success_svg(learned(earlier=earlier))
    across, down = RIGHT - LEFT, BOTTOM - TOP
    assert curve(svg, pictures.PALE[0]) == [(LEFT, BOTTOM), (RIGHT, TOP)]
    expected = [(LEFT + across / 2, BOTTOM - down / 4), (LEFT + across * 3 / 4, BOTTOM - down * 3 / 4)]
    np.testing.assert_allclose(curve(svg, "#009E73"), expected, atol=0.06)
    assert svg.rindex(pictures.PALE[0]) < svg.rindex("#009E73")


def test_held_out_success_is_a_dot():
    lines = [{"frames": 500, "held_out_success": 0.5}]
    svg = pictures.success_svg(learned(lines=lines))
    dots = [e for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("circle")]
    assert (float(dots[-1].get("cx")), float(dots[-1].get("cy"))) == ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)


def test_gradients_are_drawn_by_factors_of_ten():
    svg = pictures.gradients_svg(learned())
    assert all(f">{mark}<" in svg for mark in ("0.01", "0.1", "1", "10"))
    (_, first), (_, second) = curve(svg, "#0072B2")
    assert first - second == pytest.approx((BOTTOM - TOP) / 3, abs=0.2)  # 0.5 to 5 is one of three factors of ten


def test_shares_are_shades_and_the_last_ones_are_numbers():
    svg = pictures.modules_svg(learned())
    blue = [e for e in ElementTree.fromstring(svg).iter() if e.get("fill") == "#0072B2"]
    assert [float(e.get("fill-opacity", 1)) for e in blue] == [0, 0.5, 1, 1]
    assert ">50%<" in svg and ">100%<" in svg
    many = shares_svg("title", [np.array([i / 99]) for i in range(100)], ("a", "b"))
    assert many.count("<rect") <= 45 and ">100%<" in many


def test_an_lstm_gets_a_sentence_instead_of_modules():
    assert "An LSTM has no modules" in pictures.modules_svg(learned(has_modules=False, shares=[]))


def test_a_long_run_makes_no_larger_picture():
    points = [(i, i / 5000) for i in range(5000)]
    assert thinned(points)[-1] == points[-1] and len(thinned(points)) <= 200
    assert len(curves_svg("t", [Curve("c", points, "#000000")], 5000, (0, 1))) < 6000


@pytest.mark.parametrize("state", ["running", "stopped", "finished", "failed", "closed"])
def test_each_state_has_its_own_sentence(state):
    told = pictures.sentence(learned(state=state, problem="it broke"))
    assert "750 of 1,000 frames" in told
    words = dict(running="about 1 s left", stopped="go on", finished="Finished", failed="it broke", closed="Closed")
    assert words[state] in told


def test_what_is_kept_in_a_notebook_is_small_and_says_something_without_a_kernel(watch):
    watched = watch().wait()
    kept = [watched.status, watched.episode, *watched.panels.values()]
    assert sum(len(widget.value) for widget in kept) < 200_000
    bundle = watched._bundle()
    assert bundle["text/plain"].startswith("✓ Finished") and len(bundle["image/png"]) < 150_000
    for name in ("success", "modules", "gradients"):
        ElementTree.fromstring(watched.panels[name].value)
    assert "http" not in "".join(w.value for w in kept).replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_looks_stay_within_their_share_of_the_time():
    now = [0.0]
    budget, looks = Budget(0.1, lambda: now[0]), []
    for _ in range(1000):
        now[0] += 1.0
        if budget.affords():
            budget.last = 3.0
            budget.spent += 3.0
            looks.append(now[0])
    assert looks[:3] == [1.0, 60.0, 90.0]  # the first is free; then as many as a tenth of the time pays for
    assert 0.09 < budget.spent / now[0] <= 0.1


def test_background_says_so_whenever_its_state_changes():
    states, left = [], [3]

    def piece():
        left[0] -= 1
        return left[0] > 0

    background = Background(piece, lambda: states.append(background.state))
    background.stop()
    background.start()
    background.wait()
    assert states == ["stopped"] and left == [3]
    background.go_on()
    background.wait()
    assert states == ["stopped", "running", "finished"] and left == [0]
