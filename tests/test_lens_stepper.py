"""The stepper: every button does what it says, and a move that changes nothing is explained."""

import asyncio

import numpy as np
import pytest
import torch
from minigrid.utils.baby_ai_bot import BabyAIBot

import metarim_lite as ml
from metarim_lite.envs import COLOURS, TYPES, GridWorlds, make_minigrid
from metarim_lite.errors import UserError
from metarim_lite.lens.game import Game, why_nothing

LEVEL = "BabyAI-GoToObjS6-v1"
NAMES = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


def play_with_the_bot(stepper, limit=60):
    """Click what minigrid's own bot would do, until the episode is over; returns minigrid's last reward."""
    env = make_minigrid(LEVEL)
    env.reset(seed=stepper.game.seed)
    bot = BabyAIBot(env.unwrapped)
    for _ in range(limit):
        action = int(bot.replan())
        _, reward, terminated, truncated, _ = env.step(action)
        stepper.buttons[NAMES[action]].click()
        if terminated or truncated:
            return reward
    raise AssertionError("the bot did not finish")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_mission_can_be_won_by_clicking_and_pays_what_minigrid_pays(seed):
    stepper = ml.Stepper(LEVEL, seed=seed)
    reward = play_with_the_bot(stepper)
    game = stepper.game
    assert game.over and game.success and game.reward == pytest.approx(reward)
    assert f"Mission accomplished in {game.steps} steps" in stepper.screen.value
    assert f"{reward:.3f}" in stepper.screen.value


@pytest.mark.parametrize("action", NAMES)
def test_each_button_takes_its_own_action(action):
    stepper = ml.Stepper(LEVEL, seed=5)
    env = make_minigrid(LEVEL)
    env.reset(seed=5)
    seen, *_ = env.step(NAMES.index(action))
    stepper.buttons[action].click()
    np.testing.assert_array_equal(stepper.game.view, seen["image"])
    assert stepper.game.steps == 1
    assert "step 1 of 36" in stepper.screen.value


def test_a_click_redraws_the_screen():
    stepper = ml.Stepper(LEVEL, seed=0)
    before = stepper.screen.value
    stepper.buttons["left"].click()
    assert stepper.screen.value != before


def test_running_out_of_time_is_said_and_more_clicks_change_nothing():
    stepper = ml.Stepper(LEVEL, seed=0)
    for _ in range(36):
        stepper.buttons["drop"].click()
    assert stepper.game.over and not stepper.game.success
    assert "Out of time after 36 steps" in stepper.screen.value
    view = stepper.game.view.copy()
    stepper.buttons["left"].click()
    assert "press “restart” or “new level”" in stepper.screen.value
    assert stepper.game.steps == 36
    np.testing.assert_array_equal(stepper.game.view, view)


def test_restart_begins_the_same_level_again():
    stepper = ml.Stepper(LEVEL, seed=0)
    first = stepper.screen.value
    for name in ("left", "forward", "forward"):
        stepper.buttons[name].click()
    stepper.buttons["restart"].click()
    assert stepper.screen.value == first


def test_new_level_deals_the_level_of_the_next_seed():
    stepper = ml.Stepper(LEVEL, seed=0)
    stepper.buttons["new level"].click()
    assert stepper.game.seed == 1
    assert stepper.screen.value == ml.Stepper(LEVEL, seed=1).screen.value


def test_going_from_level_to_level_deals_what_each_seed_gives_however_one_gets_there():
    game, larger = Game(LEVEL, 5), "BabyAI-GoToLocal-v0"
    way = [*((seed, LEVEL) for seed in (*range(6, 20), 2, 3)), (7, larger), (8, larger), (9, LEVEL)]
    for seed, level in way:
        game.deal(seed, level)
        alone = GridWorlds(ml.LevelBank.generate(level, seeds=[seed], cache=False), 1, autoreset=False)
        alone.reset(levels=torch.zeros(1, dtype=torch.int64))
        assert (game.seed, game.level_id, game.mission) == (seed, level, alone.mission_text(0))
        np.testing.assert_array_equal(game.worlds.cells(0), alone.cells(0))
    with pytest.raises(UserError, match="-1"):
        game.deal(-1)
    assert game.seed == 9


def test_a_mistake_is_shown_as_a_sentence_and_the_game_goes_on(monkeypatch):
    stepper = ml.Stepper(LEVEL, seed=0)

    def fail(*_):
        raise UserError("no level today")

    monkeypatch.setattr(stepper.game, "deal", fail)
    stepper.buttons["new level"].click()
    assert "no level today" in stepper.screen.value
    stepper.buttons["left"].click()
    assert "no level today" not in stepper.screen.value and stepper.game.steps == 1


def test_undo_takes_moves_back_one_by_one_to_the_beginning():
    stepper = ml.Stepper("BabyAI-GoToLocal-v0", seed=3)
    screens = [stepper.game.frame()]
    for name in ("left", "forward", "right", "pickup"):
        stepper.buttons[name].click()
        screens.append(stepper.game.frame())
    for expected in screens[-2::-1]:
        stepper.buttons["undo"].click()
        np.testing.assert_array_equal(stepper.game.frame(), expected)
    assert stepper.game.steps == 0
    stepper.buttons["undo"].click()
    assert "nothing to undo" in stepper.screen.value


def test_undo_brings_back_an_episode_that_was_over():
    stepper = ml.Stepper(LEVEL, seed=0)
    for _ in range(36):
        stepper.buttons["drop"].click()
    stepper.buttons["undo"].click()
    assert not stepper.game.over and stepper.game.steps == 35
    stepper.buttons["left"].click()
    assert stepper.game.over


def test_the_opinion_is_what_the_agent_says_after_all_that_was_seen():
    """Asked in one span over the whole episode, whatever was chosen, undone, and whenever it began to look on."""
    agent = ml.load_agent("meta-rim-gotolocal")
    stepper = ml.Stepper(LEVEL, seed=4, agents={"mine": agent})
    stepper.buttons["left"].click()
    stepper.choice["agent"].value = "mine"
    for name in ("forward", "right", "undo", "left"):
        stepper.buttons[name].click()
    seen = [moment.seen for moment in stepper.game.history]
    span = type(seen[0])(*(torch.stack(column) for column in zip(*seen, strict=True)))  # (T, 1, …)
    with torch.no_grad():
        out, _ = agent(span)
    for moment, logits, value in zip(stepper.game.history, out.logits, out.value, strict=True):
        np.testing.assert_allclose(moment.opinion.probabilities, logits[0].softmax(-1), atol=1e-5)
        assert moment.opinion.value == pytest.approx(float(value), abs=1e-5)
    assert f"value {float(out.value[-1]):.2f}" in stepper.screen.value and stepper.screen.value.count("<svg") == 2
    stepper.choice["agent"].value = "nobody"
    assert stepper.game.opinion is None and stepper.screen.value.count("<svg") == 1


def test_handed_over_the_agent_plays_to_the_end_and_the_player_takes_back_by_any_move():
    stepper = ml.Stepper("BabyAI-GoToLocal-v0", seed=3)
    stepper.buttons["hand over"].click()  # without a running loop: at once
    assert stepper.game.over and stepper.game.success and stepper.choice["agent"].value == "meta-rim-gotolocal"
    stepper.buttons["restart"].click()

    async def take_back():
        stepper.ticker.start(stepper._playing(), stepper._taken_back, pause=0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert stepper.ticker.busy and stepper.game.steps > 0 and "The agent chose" in stepper.screen.value
        before = stepper.game.steps
        stepper.buttons["left"].click()
        await asyncio.sleep(0)
        assert not stepper.ticker.busy and stepper.game.steps == before + 1

    asyncio.run(take_back())


def test_handed_over_it_is_the_student_s_own_agent_that_plays():
    own = ml.Agent(ml.AgentConfig(hidden_size=8))
    stepper = ml.Stepper("BabyAI-GoToLocal-v0", seed=3, agents={"mine": own})
    stepper.buttons["hand over"].click()
    assert stepper.choice["agent"].value == "mine" and stepper.game.steps > 0


def test_level_and_seed_are_chosen_in_the_widget_and_a_wrong_one_changes_nothing():
    stepper = ml.Stepper(LEVEL, seed=0)
    stepper.choice["level"].value, stepper.choice["seed"].value = "BabyAI-GoToLocal-v0", 7
    stepper.buttons["play it"].click()
    assert (stepper.game.level_id, stepper.game.seed) == ("BabyAI-GoToLocal-v0", 7)
    stepper.choice["seed"].value = -1
    stepper.buttons["play it"].click()
    assert "-1" in stepper.screen.value and stepper.game.seed == 7
    stepper.buttons["left"].click()
    assert stepper.game.steps == 1


@pytest.mark.parametrize(
    ("action", "ahead", "hands", "reason"),
    [
        ("forward", ("wall", "grey", 0), None, "a wall is in the way"),
        ("forward", ("door", "red", 1), None, "a closed red door is in the way"),
        ("forward", ("ball", "blue", 0), None, "a blue ball is in the way"),
        ("pickup", ("empty", "red", 0), None, "there is nothing in front of you"),
        ("pickup", ("wall", "grey", 0), None, "there is a wall in front of you, which cannot be picked up"),
        ("pickup", ("ball", "blue", 0), ("key", "red", 0), "your hands are full with the red key"),
        ("drop", ("empty", "red", 0), None, "you carry nothing"),
        ("drop", ("wall", "grey", 0), ("key", "red", 0), "there is a wall in front of you, and no room"),
        ("toggle", ("door", "red", 2), None, "the door is locked, and opens to one who carries the red key"),
        ("toggle", ("ball", "red", 0), None, "there is a red ball in front of you, and only doors and boxes open"),
        ("done", ("empty", "red", 0), None, "only says that you are done"),
    ],
)
def test_a_move_that_changes_nothing_says_why(action, ahead, hands, reason):
    view = np.ones((7, 7, 3), np.uint8)
    for place, (kind, colour, state) in {(3, 5): ahead, (3, 6): hands or ("empty", "red", 0)}.items():
        view[place] = TYPES.index(kind), COLOURS.index(colour), state
    assert reason in why_nothing(action, view)


def test_exactly_the_moves_that_change_nothing_are_explained():
    """Against minigrid: 120 random moves in a room with doors; same picture from above before and after, or not."""
    level, rng, silent = "BabyAI-UnlockLocal-v0", np.random.default_rng(0), 0
    env, game = make_minigrid(level), Game(level, seed=2)
    env.reset(seed=2)
    for action in rng.integers(0, 7, 120):
        before, held = env.get_frame(tile_size=8), env.unwrapped.carrying
        *_, terminated, truncated, _ = env.step(int(action))
        game.act(NAMES[action])
        if terminated or truncated:
            break
        same = np.array_equal(before, env.get_frame(tile_size=8)) and held is env.unwrapped.carrying
        assert ("Nothing happened" in game.message) == same
        silent += same
    assert silent > 20


def test_an_unknown_level_is_refused_when_the_stepper_is_made():
    with pytest.raises(UserError, match="BabyAI-GoToObj"):
        ml.Stepper("BabyAI-GoToObjj-v0")


def test_an_unknown_action_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="'forward'"):
        ml.Stepper(LEVEL).game.act("foward")


def test_the_stepper_needs_nothing_from_the_network():
    assert "http" not in ml.Stepper(LEVEL).screen.value.replace('xmlns="http://www.w3.org/2000/svg"', "")
