"""A mission in a terminal: what is shown is the world, and every letter does what it says."""

from minigrid.utils.baby_ai_bot import BabyAIBot

import metarim_lite as ml
from metarim_lite.envs import make_minigrid
from metarim_lite.lens.game import Game
from metarim_lite.lens.terminal import KEYS, board, play

LEVEL = "BabyAI-UnlockLocal-v0"
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")


def typed(game, lines):
    """Everything that is said while these lines are typed; then the input ends."""
    said, lines = [], iter(lines)

    def ask(_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    play(game, ask, said.append)
    return "\n".join(said)


def test_a_mission_is_won_by_typing_what_minigrids_own_bot_would_do():
    env, letters = make_minigrid(LEVEL), {action: letter for letter, action in KEYS.items()}
    env.reset(seed=1)
    bot, moves, over = BabyAIBot(env.unwrapped), "", False
    while not over:
        action = int(bot.replan())
        *_, terminated, truncated, _ = env.step(action)
        moves += letters[ACTIONS[action]]
        over = terminated or truncated
    game = Game(LEVEL, seed=1)
    assert "Mission accomplished" in typed(game, [moves[:3], moves[3:]])
    assert game.success and game.steps == len(moves)


def test_the_board_shows_each_thing_of_minigrids_grid_at_its_place():
    env = make_minigrid(LEVEL)
    env.reset(seed=1)
    grid, rows = env.unwrapped.grid, board(Game(LEVEL, seed=1)).split("\n")
    assert len(rows) == grid.height and all(len(row) == 2 * grid.width for row in rows)
    for x in range(grid.width):
        for y in range(grid.height):
            thing, shown = grid.get(x, y), rows[y][2 * x : 2 * x + 2]
            if (x, y) == tuple(env.unwrapped.agent_pos):
                assert shown == " " + "→↓←↑"[env.unwrapped.agent_dir]
            elif thing is None:
                assert shown == " ."
            elif thing.type == "wall":
                assert shown == "##"
            else:
                assert shown[0] == {"grey": "e"}.get(thing.color, thing.color[0])
                assert shown[1] == {"key": "k", "ball": "o", "box": "x"}.get(thing.type) or shown[1] in "/DL"


def test_undo_restart_new_level_the_agents_move_and_quit():
    game = Game(LEVEL, seed=1)
    game.ask(ml.load_agent("meta-rim-gotolocal"))
    assert "the agent would choose" in typed(game, ["ag", "u"])
    assert game.steps == 1
    typed(game, ["r", "q", "aaa"])
    assert game.steps == 0
    typed(game, ["n"])
    assert game.seed == 2


def test_a_letter_that_is_no_move_gets_a_sentence_and_the_game_goes_on():
    game = Game(LEVEL, seed=1)
    said = typed(game, ["z", "u", "g", "a"])
    assert "There is no move 'z'" in said and "nothing to undo" in said and "choose an agent first" in said
    assert game.steps == 1
