"""The widgets in JupyterLab: each button is pressed, and what is shown then is compared with what the package draws."""

import base64
import os
import re
import statistics

import pytest
from pressing import SIZES, Widget, until

import metarim_lite as ml
from metarim_lite.lens import describe
from metarim_lite.lens.drawing import png_bytes
from metarim_lite.lens.field import policy_field
from metarim_lite.lens.game import Game
from metarim_lite.lens.interventions import ModulesOff
from metarim_lite.lens.view import describe_view
from metarim_lite.lens.what_if import compare
from metarim_lite.lens.xray import largest_drop, next_change

LEVEL, SEED, AGENT = "BabyAI-GoToLocal-v0", 1_000_017, "meta-rim-gotolocal"
LOOKS = [(size, theme) for size in SIZES for theme in ("light", "dark")]
SOME = [pytest.param(look, marks=pytest.mark.swift if look == LOOKS[0] else ()) for look in LOOKS]
CELLS = [
    f"""import metarim_lite as ml
from metarim_lite.lens.field_view import FieldView
from metarim_lite.lens.use import map_of_use
agent = ml.load_agent({AGENT!r})
trace = ml.Trace.record(agent, ml.LevelBank.generate({LEVEL!r}, seeds=[{SEED}]), level=0, seed=0)""",
    f"ml.Stepper({LEVEL!r}, seed=3)",
    "ml.XRay(trace)",
    "ml.WhatIf(trace, t=2)",
    "FieldView(agent, trace, t=5)",
    f"map_of_use(agent, ml.LevelBank.generate({LEVEL!r}, seeds=range(40)), 40, shuffles=20)",
]
WATCHED = f"""import metarim_lite as ml
small = dict(frames=1_000_000, num_envs=16, report_every=2, train_levels=20, device="cpu")
watching = ml.watch(ml.TrainConfig(method="meta-rim", level={LEVEL!r}, **small), earlier={AGENT!r})
watching"""


@pytest.fixture(scope="module")
def trace():
    bank = ml.LevelBank.generate(LEVEL, seeds=[SEED])
    return ml.Trace.record(ml.load_agent(AGENT), bank, level=0, seed=0)


@pytest.fixture(scope="module")
def run(lab, browser):
    lab.add("widgets", CELLS)
    opened = lab.open(browser, "widgets")
    opened.run_all()
    yield opened
    opened.close()


@pytest.fixture(params=SOME, ids="-".join)
def opened(request, run):
    """All widgets, on this screen and in this theme."""
    size, theme = request.param
    run.dress(SIZES[size], theme)
    yield run, size, theme
    assert not run.errors


def frame_of(game):
    return "data:image/png;base64," + base64.b64encode(png_bytes(game.frame())).decode()


def fits_across(widget, size):
    """Nothing that can be pressed lies beyond the screen."""
    for button in widget.at.get_by_role("button").all():
        if button.is_visible():
            box = button.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= SIZES[size][0]


def test_stepper(opened):
    page, size, theme = opened[0].page, *opened[1:]
    stepper = Widget(page, "restart")
    stepper.press("restart")
    start = int(re.search(r"seed (\d+)", stepper.text()).group(1))
    game = Game(LEVEL, start)

    def shows_the_game():
        until(lambda: f"step {game.steps} of {game.max_steps}" in stepper.text(), True)
        until(lambda: f"seed {game.seed} " in stepper.text(), True)
        until(lambda: stepper.seen(".metarim-view"), [describe_view(game.view)])
        until(lambda: stepper.pictures()[0], frame_of(game))

    assert set(stepper.names()) >= {"↶ left", "undo", "hand over", "restart", "new level", "play it"}
    shows_the_game()
    words = {"left": "↶ left", "forward": "↑ forward", "right": "↷ right"}
    for action in ("left", "forward", "right", "pickup", "drop", "toggle", "done"):
        stepper.press(words.get(action, "pick up" if action == "pickup" else action))
        game.act(action)
        shows_the_game()
        assert game.message in stepper.text()
    stepper.press("undo")
    game.undo()
    shows_the_game()
    stepper.choose("agent's opinion", AGENT)
    game.ask(ml.load_agent(AGENT))
    until(
        lambda: stepper.seen(".metarim-opinion")[:1], lambda said: said and f"value {game.opinion.value:.2f}" in said[0]
    )
    on_one_screen(stepper, size)
    assert (stepper.ground() < 300) == (theme == "dark") and stepper.smallest_letters() >= 8.5
    stepper.press("hand over")
    until(lambda: "The agent chose" in stepper.text() or "accomplished" in stepper.text(), True)
    if stepper.button("take back").count():
        stepper.press("take back")
    stepper.button("hand over").wait_for(timeout=15_000)
    stepper.choose("agent's opinion", "nobody")
    stepper.press("restart")
    game.restart()
    shows_the_game()
    on_one_screen(stepper, size)
    stepper.at.locator(".metarim-keys").click()
    for key, action in (("ArrowLeft", "left"), ("ArrowUp", "forward"), ("u", "undo")):
        page.keyboard.press(key)
        game.undo() if action == "undo" else game.act(action)
        shows_the_game()
    stepper.press("new level")
    game = Game(LEVEL, start + 1)
    shows_the_game()
    stepper.at.get_by_label("seed", exact=True).fill("3")
    stepper.at.get_by_label("seed", exact=True).press("Tab")
    stepper.press("play it")
    game = Game(LEVEL, 3)
    shows_the_game()


def on_one_screen(stepper, size):
    """All pictures and all the buttons that move, together."""
    stepper.show()
    fits_across(stepper, size)
    top = stepper.box(".metarim-sights")["y"]
    last = stepper.button("new level").bounding_box()
    assert last["y"] + last["height"] - top <= (620 if size == "laptop" else 740)


def test_xray(opened, trace):
    page, size, theme = opened[0].page, *opened[1:]
    xray = Widget(page, "next change")
    form = ".metarim-wide" if size == "laptop" else ".metarim-narrow"

    def shows(t):
        until(lambda: xray.seen(form), [describe(trace, t)])
        until(lambda: describe(trace, t) in xray.text(), True)

    fits_across(xray, size)
    xray.press("start")
    shows(0)
    for _ in range(2):
        xray.press("next")
    shows(2)
    xray.press("back")
    shows(1)
    xray.press("next change")
    shows(next_change(trace, 1))
    xray.press("value drop")
    shows(largest_drop(trace))
    xray.press("end")
    shows(trace.num_steps)
    xray.press("next change")
    until(lambda: "does not change any more" in xray.text(), True)
    xray.press("start")
    shows(0)
    xray.press("▶ play")
    until(lambda: xray.seen(form) != [describe(trace, 0)], True)
    if xray.button("pause").count():
        xray.press("pause")
    xray.button("▶ play").wait_for(timeout=15_000)
    xray.at.locator(".metarim-keys").click()
    page.keyboard.press("End")
    shows(trace.num_steps)
    page.keyboard.press("Home")
    shows(0)
    handle = xray.at.get_by_role("slider")
    handle.focus()
    handle.press("ArrowRight")
    shows(1)
    assert (xray.ground() < 300) == (theme == "dark") and xray.smallest_letters() >= (10 if size == "laptop" else 8)
    room, last = xray.box(".metarim-room"), xray.button("value drop").bounding_box()
    assert last["y"] + last["height"] - room["y"] <= 690
    if size == "laptop":
        assert xray.at.bounding_box()["height"] <= 679
    if (size, theme) == LOOKS[0]:
        other = ml.Trace.record(ml.load_agent(ml.shipped_agents()[0]), trace.worlds[0].bank, 0, seed=0)
        xray.choose("beside", ml.shipped_agents()[0])
        xray.press("record")
        until(lambda: xray.seen(".metarim-pair .metarim-wide"), [describe(one, 0) for one in (trace, other)])
        xray.choose("beside", "nobody")
        xray.press("record")
        shows(0)


def test_what_if(opened, trace):
    page, size, theme = opened[0].page, *opened[1:]
    what_if = Widget(page, "what if?")
    form = f".metarim-pair .metarim-{'wide' if size == 'laptop' else 'narrow'}"
    fits_across(what_if, size)
    result = compare(trace, ModulesOff((0,), 2))
    what_if.choose("from this step:", "switch off")
    what_if.press("what if?")
    until(lambda: str(result) in what_if.text(), True)
    until(lambda: what_if.seen(form), [describe(one, 2) for one in (trace, result.changed)])
    what_if.choose("beside it", "the control")
    until(lambda: what_if.seen(form), [describe(one, 2) for one in (trace, result.control)])
    what_if.choose("beside it", "the change")
    what_if.choose("from this step:", "edit a cell")
    world = what_if.at.locator("[style*=crosshair] svg image").locator("visible=true").first
    place, (across, down) = until(world.bounding_box, bool), trace.worlds[0].cells(0).shape[:2]
    world.click(position={"x": place["width"] * 1.5 / across, "y": place["height"] * 2.5 / down})
    until(lambda: what_if.at.get_by_label("click a cell").input_value(), "1, 2")
    on_one_page(what_if, "what if?")
    what_if.press("over 200 levels")
    until(lambda: "belongs to one level" in what_if.text(), True)
    what_if.choose("from this step:", "tell another mission")
    what_if.at.get_by_label("mission", exact=True).fill("go to the red unicorn")
    what_if.press("what if?")
    until(lambda: "unicorn" in what_if.text() and what_if.at.get_by_role("alert").count(), 1)
    what_if.choose("from this step:", "switch off")
    what_if.press("over 200 levels")
    what_if.button("stop").click(timeout=20_000)
    until(lambda: "Stopped before all levels" in what_if.text(), True)
    assert (what_if.ground() < 300) == (theme == "dark")
    if (size, theme) == LOOKS[0]:
        what_if.press("over 200 levels")
        until(what_if.text, lambda said: "200 held-out levels: success" in said, 120)
        assert "the control's difference" in what_if.text()


def on_one_page(widget, button):
    """From the top of the picture to the button that counts most: what a phone shows at once in JupyterLab."""
    last = widget.button(button).bounding_box()
    assert last["y"] + last["height"] - widget.box(".metarim-room")["y"] <= 787


def test_field_view(opened, trace):
    page, size, theme = opened[0].page, *opened[1:]
    field = Widget(page, "next", without="end")
    fits_across(field, size)
    agent = trace.agent
    now = int(re.search(r"At step (\d+)", field.text()).group(1))
    for name, t in (("next", now + 1), ("back", now)):
        field.press(name)
        until(lambda t=t: str(policy_field(agent, trace, t)) in field.text(), True)
    assert (field.ground() < 300) == (theme == "dark") and field.smallest_letters() >= 9
    assert field.at.bounding_box()["height"] <= 787
    assert field.at.locator("summary").is_visible() == (size == "phone")


def test_map_of_use_is_whole(opened):
    page, size, theme = opened[0].page, *opened[1:]
    tables = page.locator("svg[aria-label*='modules is active'], svg[aria-label^='Share of steps']")
    assert tables.count() == 3
    ground = tables.first.locator("rect").first.evaluate("e => getComputedStyle(e).fill")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 300) == (theme == "dark")
    for table in tables.all():
        table.scroll_into_view_if_needed()
        box = table.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= SIZES[size][0]
        beyond = "s => [...s.querySelectorAll('text')].filter(e => e.getBBox().x + e.getBBox().width > 440).length"
        assert table.evaluate(beyond) == 0


def test_watch_stops_goes_on_and_says_how_it_stands(lab, browser):
    lab.add("watched", [WATCHED, "watching.config.frames"])
    opened = lab.open(browser, "watched")
    opened.run_all()
    page = opened.page
    watch = Widget(page, "stop")
    for size, theme in LOOKS:
        opened.dress(SIZES[size], theme)
        watch.show()
        fits_across(watch, size)
        before = frames_of(watch)
        until(lambda before=before: frames_of(watch) > before, True, 60)
        watch.press("stop")
        until(lambda: "Stopped after" in watch.text(), True, 60)
        assert watch.button("stop").is_disabled()
        watch.press("go on")
        until(lambda: "Training" in watch.text(), True)
        assert (watch.ground() < 300) == (theme == "dark")
    assert watch.at.locator("img[alt^='the agent plays']").count() == 1
    watch.press("stop")
    until(lambda: "Stopped after" in watch.text(), True, 60)
    assert not opened.errors
    opened.close()


def frames_of(watch):
    return int(re.search(r"([\d,]+) of [\d,]+ frames", watch.text()).group(1).replace(",", ""))


def test_from_click_to_picture(run):
    """The median of 100 clicks is printed. What is tested is loose: a busy machine is no failure."""
    run.dress(SIZES["laptop"], "light")
    medians = {}
    for name, has, first, pair in (
        ("Stepper", "restart", "restart", ("↶ left", "undo")), ("XRay", "next change", "start", ("next", "back")),
    ):  # fmt: skip
        widget = Widget(run.page, has)
        widget.press(first)
        run.page.wait_for_timeout(500)
        medians[name] = statistics.median(widget.timed(pair[i % 2]) for i in range(100))
    stepper = Widget(run.page, "restart")
    medians["Stepper, new level"] = statistics.median(stepper.timed("new level") for _ in range(10))
    busy = f"{os.getloadavg()[0]:.1f} programs want {os.cpu_count()} cores"
    told = ", ".join(f"{name} {median:.0f} ms" for name, median in medians.items())
    print(f"\nfrom click to picture, median of 100 (of 10 for a new level): {told}; {busy}")
    assert medians["Stepper"] < 500 and medians["XRay"] < 500
