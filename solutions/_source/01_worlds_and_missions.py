# %% [markdown] slideshow={"slide_type": "slide"}
# # 01 · Worlds and missions: exercises
#
# For [lesson 01](../notebooks/01_worlds_and_missions.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Four exercises, about 65 minutes. Places are (x, y), x to the right and y **down**; directions are 0 right, 1 down, 2 left,
# 3 up. The numbers of a cell are its type, colour and state:
#
# | | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
# |---|---|---|---|---|---|---|---|---|
# | type | unseen | empty | wall | floor | door | key | ball | box |
# | colour | red | green | blue | purple | yellow | grey | | |

# %% slideshow={"slide_type": "skip"}
import torch

import metarim_lite as ml
from metarim_lite.bots import demonstrate
from metarim_lite.bots.ways import right_actions, steps_to_face, things_called
from metarim_lite.course import check, once_written, solved_or_reference
from metarim_lite.course.hand_written import HandWritten

# %% tags=["exercise"] metarim={"exercise": "egocentric_view", "role": "answer"}
def egocentric_view(grid, x, y, direction):
    """The window that an agent sees, turned so that it looks up. Walls hide nothing here.

    Args:
        grid: int [W, V], the type of each cell; grid[x, y]: the first axis goes to the right.
        x, y: where the agent is.
        direction: where it looks, 0 to 3.

    Returns:
        view: int [7, 7], column i from the left, row j from the top; the agent is at view[3, 6].
    """
    # SOLUTION-BEGIN
    fx, fy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]  # a step ahead; (-fy, fx): to the right
    i, j = torch.arange(7)[:, None], torch.arange(7)[None, :]
    ahead, aside = 6 - j, i - 3  # (1, 7), (7, 1): together (7, 7)
    around = torch.nn.functional.pad(grid, (6, 6, 6, 6), value=2)  # no index is outside of it
    return around[6 + x + ahead * fx - aside * fy, 6 + y + ahead * fy + aside * fx]
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** A room of 3 × 3 cells in its walls, a ball (6) in the upper left corner. The agent stands in the middle
# and looks right, so that the ball is behind it; then up, and the ball is ahead and to its left. Drawn row by row, `#` for
# walls, `A` for the agent's own cell:
#
# ```
# the room     looks right    looks up
#
#              #######        #######
#              #######        #######
# #####        #######        #######
# #o..#        #######        #######
# #.A.#        #######        #######
# #...#        ##...##        ##o..##
# #####        ##.A.##        ##.A.##
# ```

# %% metarim={"exercise": "egocentric_view", "role": "example"}
def drawn(view):
    """A view [7, 7] as seven lines of text."""
    signs = {0: "?", 1: ".", 2: "#", 4: "D", 5: "k", 6: "o", 7: "b"}
    rows = [[signs.get(int(kind), "*") for kind in row] for row in view.T]
    rows[6][3] = "A"
    return ["".join(row) for row in rows]


room = torch.full((5, 5), 2)
room[1:4, 1:4] = 1
room[1, 1] = 6  # x = 1, y = 1
with once_written(egocentric_view):
    looks_right, looks_up = (drawn(egocentric_view(room, 2, 2, direction)) for direction in (0, 3))
    print("\n".join(f"{a}   {b}" for a, b in zip(looks_right, looks_up, strict=True)))

# %% [markdown] tags=["solution-only"]
# **About this solution.** Ahead is the direction's own step (fx, fy), and a quarter turn to the right makes (−fy, fx) of it,
# because y points down. You may also crop a 13 × 13 window around the agent and turn it with `torch.rot90`; then count the turns with
# care.
#
# **Wrong answers that run without an error.** A mirror image shows everything, and in the right distance; an agent that learns
# from it never notices, until it is to play with somebody else's views.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# A real level of several rooms, with doors (D), keys (k) and balls (o). Your view, and what the agent really sees, where `?` is
# unseen. What hides the rest?

# %% metarim={"exercise": "egocentric_view", "role": "next"}
cut = solved_or_reference("egocentric_view", egocentric_view)

worlds = ml.GridWorlds(ml.LevelBank.generate("BabyAI-GoTo-v0", seeds=[4]), num_envs=1)
seen = worlds.reset().image[0, :, :, 0]  # types, [7, 7]
whole = cut(worlds.cells(0)[..., 0].long(), *worlds.agent_place(0))
print("all of it  what is seen")
print("\n".join(f"{a}    {b}" for a, b in zip(drawn(whole), drawn(seen), strict=True)))
visible = seen != 0
visible[3, 6] = False  # there the agent sees what it holds
print("where something is seen, the two agree:", bool((whole == seen)[visible].all()))

# %% tags=["exercise"] metarim={"exercise": "success_reward", "role": "answer"}
def success_reward(success, steps, limit):
    """What an episode pays.

    Args:
        success: bool [B], whether the mission was done.
        steps: int [B], t: how many steps it took.
        limit: int [B], how many were allowed.

    Returns:
        reward: float [B].
    """
    # SOLUTION-BEGIN
    return torch.where(success, 1 - 0.9 * steps / limit, 0.0)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Three episodes with a limit of 64: done in 16 steps, done in the last one, not done.
#
# | success | steps | reward |
# |---|---|---|
# | yes | 16 | 0.775 |
# | yes | 64 | 0.1 |
# | no | 64 | 0 |

# %% metarim={"exercise": "success_reward", "role": "example"}
with once_written(success_reward):
    paid = success_reward(
        torch.tensor([True, True, False]), torch.tensor([16, 64, 64]), torch.tensor([64, 64, 64])
    )
    print("paid:", [round(r, 3) for r in paid.tolist()])

# %% [markdown] tags=["solution-only"]
# **About this solution.** Whole numbers divided by `/` give floating-point numbers of the right kind. Multiplying by `success`
# does as well as `where`.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# minigrid's own bot plays 100 levels. Your reward for its steps, and what the worlds paid it.

# %% metarim={"exercise": "success_reward", "role": "next"}
pay = solved_or_reference("success_reward", success_reward)

bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_100))
bot = demonstrate(bank)  # its successes
mine = pay(
    torch.ones(len(bot.lengths), dtype=torch.bool), bot.lengths,
    torch.full_like(bot.lengths, bank.step_limit),
)
print(
    f"the bot takes {bot.lengths.float().mean():.1f} steps in the mean, and is paid "
    f"{bot.reward.mean():.3f}"
)
print("the worlds paid the same in every level:", torch.allclose(mine, bot.reward, atol=1e-5))

# %% tags=["exercise"] metarim={"exercise": "explore", "role": "answer"}
def explore(image, direction, mission, memory):
    """The next action of a policy with a memory.

    Args:
        image: int [7, 7, 3], what is in view: (type, colour, state) of column i, row j; you: 3, 6.
        direction: where you look, 0 right, 1 down, 2 left, 3 up.
        mission: such as "go to the red ball", or "go to a ball" where any will do.
        memory: a dict of yours, empty when an episode begins; what you put there, you find again.

    Returns:
        action: 0 left, 1 right, 2 forward.
    """
    # SOLUTION-BEGIN
    directions = ((1, 0), (0, 1), (-1, 0), (0, -1))
    x, y = memory.setdefault("here", (0, 0))  # counted from where the episode began
    known = memory.setdefault("known", {})  # place -> (type, colour)
    fx, fy = directions[direction]
    for i in range(7):
        for j in range(7):
            kind, colour, _ = image[i, j].tolist()
            ahead, aside = 6 - j, i - 3
            if kind != 0 and (i, j) != (3, 6):
                known[x + ahead * fx - aside * fy, y + ahead * fy + aside * fx] = (kind, colour)
    known[x, y] = (1, 0)

    def wanted(place):
        *_, colour, kind = mission.split()
        kinds = {"key": 5, "ball": 6, "box": 7}
        colours = ("red", "green", "blue", "purple", "yellow", "grey")
        there = known.get(place)
        return (
            there is not None
            and there[0] == kinds[kind]
            and (colour not in colours or colours[there[1]] == colour)
        )

    goals = {place for place in known if wanted(place)}
    queue, first = [(x, y)], {(x, y): None}  # place -> the first step of the way to it
    while queue:
        place = queue.pop(0)
        for dx, dy in directions:
            beside = (place[0] + dx, place[1] + dy)
            if beside in first:
                continue
            first[beside] = first[place] or (dx, dy)
            if beside in goals or (not goals and beside not in known):
                turn = (directions.index(first[beside]) - direction) % 4
                # a step ahead that succeeds
                if turn == 0 and known.get((x + fx, y + fy), (1, 0))[0] == 1:
                    memory["here"] = (x + fx, y + fy)
                return {0: 2, 1: 1, 2: 1, 3: 0}[turn]
            if known.get(beside, (0, 0))[0] == 1:
                queue.append(beside)
    return 1  # nothing left to look for: turn
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** An empty room, nothing ahead but a red ball two cells ahead and one to the left. Forward is a
# good beginning; a turn to the right is not. Then nothing is in view: whatever you do, do not do it for ever.

# %% metarim={"exercise": "explore", "role": "example"}
image = torch.zeros(7, 7, 3, dtype=torch.uint8)
image[..., 0] = 1  # empty cells
image[2, 4] = torch.tensor([6, 0, 0])  # a red ball: column 2, row 4
with once_written(explore):
    print(
        "with the ball in view:",
        ("left", "right", "forward")[explore(image, 0, "go to the red ball", {})],
    )

# %% [markdown] tags=["solution-only"]
# **About this solution.** A map, counted from where the episode began, and a breadth-first search over cells that are known to be
# empty: to the thing, or else to the nearest cell that was never seen. A step ahead is written into the memory only if it
# will succeed: who believes to have moved and has not draws a crooked map from then on.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# It is an agent like any other: to be evaluated, beside the shipped one that learned, and to be watched. (`ml.XRay(trace)` shows
# it step by step.)

# %% metarim={"exercise": "explore", "role": "next"}
policy = HandWritten(solved_or_reference("explore", explore))

levels = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_200))
by_hand = ml.evaluate(policy, levels, episodes=200)
print("in at least 90 % of 200 levels:", by_hand.success.value >= 0.9)
trace = ml.Trace.record(policy, levels, level=3)
print(f"level 3, “{trace.mission}”:", "done" if trace.success else "not done")

# %% tags=["exercise"] metarim={"exercise": "aliased", "role": "answer"}
def aliased(views, missions, actions):
    """Which pairs of moments no policy without a memory can tell apart, although it should.

    Args:
        views: int [M, 7, 7, 3], what was seen.
        missions: int [M, L], the words of the mission.
        actions: int [M], the action that would have been right.

    Returns:
        aliased: bool [M, M].
    """
    # SOLUTION-BEGIN
    told = torch.cat([views.flatten(1), missions], dim=1)  # (M, 147 + L)
    same = (told[:, None] == told[None]).all(-1)  # (M, 1, F) == (1, M, F) -> (M, M)
    return same & (actions[:, None] != actions[None])
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Four moments with one and the same view. Moments 0 and 1 have the same mission and need different actions; moment 2
# needs the same action as 0; moment 3 has another mission.
#
# | | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | 0 | · | **aliased** | · | · |
# | 1 | **aliased** | · | **aliased** | · |
# | 2 | · | **aliased** | · | · |
# | 3 | · | · | · | · |

# %% metarim={"exercise": "aliased", "role": "example"}
views = torch.ones(4, 7, 7, 3, dtype=torch.long)
missions, actions = torch.tensor([[5, 6], [5, 6], [5, 6], [5, 7]]), torch.tensor([0, 1, 0, 1])
with once_written(aliased):
    for row in aliased(views, missions, actions).tolist():
        print(" ".join("x" if pair else "·" for pair in row))

# %% [markdown] tags=["solution-only"]
# **About this solution.** M·M·(147 + L) comparisons are fine for hundreds of moments. For many thousands number the rows first, with
# `torch.unique(told, dim=0, return_inverse=True)[1]`, and compare the numbers: that is how the package does it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# An agent that turns and walks at random, in 40 levels with a single thing in the room. Of those moments in which exactly one
# action begins a shortest way, how many have a twin that calls for another? Then leave the mission out of the comparison: say
# first which way the number goes.

# %% metarim={"exercise": "aliased", "role": "next"}
find = solved_or_reference("aliased", aliased)

B = 40
rooms = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(1_000_000, 1_000_000 + B))
walk = ml.GridWorlds(rooms, num_envs=B, autoreset=False)
generator = torch.Generator().manual_seed(0)
observation, kept = walk.reset(torch.arange(B)), []
steps = [
    steps_to_face(walk.cells(b), things_called(walk.cells(b), walk.mission_text(b)))
    for b in range(B)
]
for _ in range(20):
    for b in (~walk.finished).nonzero()[:, 0].tolist():
        right = right_actions(steps[b], walk.agent_place(b))
        if len(right) == 1:
            kept.append(
                (observation.image[b].long(), observation.mission[b], torch.tensor(right[0]))
            )
    observation = walk.step_unfinished(torch.randint(3, (B,), generator=generator)).observation

views, missions, actions = map(torch.stack, zip(*kept, strict=True))
pairs = find(views, missions, actions)
missions_ignored = find(views, torch.zeros_like(missions), actions)
print(f"{len(views)} moments")
print(f"with a twin that calls for another action: {pairs.any(1).float().mean():.0%}")
print(f"if the mission were not told:              {missions_ignored.any(1).float().mean():.0%}")

# %% [markdown]
# *Three lines: how many moments were kept; which share of them is aliased; and which would be if the agent were not told its
# mission. Whoever is told less has more moments that it cannot tell apart.*
