# %% [markdown] slideshow={"slide_type": "slide"}
# # 01 · Worlds and missions
#
# **Why does this agent need memory?**
#
# After this lesson you can
#
# - say what the agent is told at each step, number by number, and what it is never told;
# - tell, for two moments that look the same, whether a memory could have told them apart;
# - say what a memory buys in these worlds, and why a success rate alone does not show it.
#
# About 35 minutes to read and run, and 65 minutes of exercises. You need [lesson 00](00_start_here.ipynb), Python, and
# arrays with several axes. Letters: [notation](notation.ipynb); words: [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

import metarim_lite as ml
from metarim_lite.bots import demonstrate
from metarim_lite.bots.ways import right_actions, steps_to_face, things_called
from metarim_lite.course import predict, show
from metarim_lite.course.figures import COLORS, subplots
from metarim_lite.course.hand_written import HandWritten

LEFT, RIGHT, FORWARD = 0, 1, 2  # three of the seven actions; going to things needs no other
EMPTY = 1  # type of a cell that one can walk on

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What you see, and what the agent sees
#
# A *level* is a room with things in it, a place to begin, and a mission. Each *seed* makes another one. We take the
# level of one seed and turn the agent on the spot, by a quarter each time, until it looks again where it looked at first.

# %% slideshow={"slide_type": "subslide"}
bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=[1_000_003])
worlds = ml.GridWorlds(bank, num_envs=1)
observation = worlds.reset()

figure, axes = subplots(2, 4, size=(10, 5.2))
for turn in range(4):
    axes[0, turn].imshow(worlds.frame(0))
    axes[1, turn].imshow(worlds.frame(0, agent_view=True))
    axes[0, turn].set_title("at the beginning" if turn == 0 else f"after {turn} × right")
    observation = worlds.step(torch.tensor([RIGHT])).observation
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("what you see")
axes[1, 0].set_ylabel("what the agent sees")
show(
    figure,
    f"four times the same room, mission “{worlds.mission_text(0)}”. Above, the agent, a red "
    "triangle, points another way each time, and the lit cells are those that it sees. Below, its "
    "view: always the agent at the middle of the bottom, looking up, and another part of the room.",
)

# %% [markdown] slideshow={"slide_type": "subslide"}
# The room did not change; the view changed wholly. A *view* is 7 × 7 cells, seen from the agent: it stands at the middle
# of the last row and looks up. What it holds in its hands shows in its own cell. What walls and closed doors hide is left
# out (black). A cell is three numbers: its *type* (empty, wall, key, ball …), its *colour*, and a *state*, which says of a
# door whether it is open, closed or locked. This is all that reaches the agent:
#
# | what | shape | numbers |
# |---|---|---|
# | `image` | [B, 7, 7, 3] | the view: `image[b, i, j]` is column i from the left, row j from the top |
# | `direction` | [B] | a compass: 0 right, 1 down, 2 left, 3 up |
# | `mission` | [B, L] | the words of the mission, one number for each |
#
# B worlds are played at once (here B = 1). L is the length of the longest mission. The same letters are used all
# through the course.
#
# The agent is *not* told where it is, what lies behind it, or what it saw a step ago. The cell just ahead of it, say, is
# `image[0, 3, 5]`. It is empty, which is type 1:

# %%
print("mission:                  ", worlds.mission_text(0))
print("image:                    ", list(observation.image.shape))
print("image[0, 3, 5]:           ", observation.image[0, 3, 5].tolist(), "= type, colour, state")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What it is paid
#
# Nothing, until the mission is done. Then, once, after t steps of at most `limit`:
#
# $$r = 1 - 0.9\,\frac{t}{\text{limit}}$$
#
# In our rooms the limit is 64. Done in 5 steps pays 0.93, done in 32 pays 0.55, not done pays 0. So a policy is judged by
# two numbers: **how often** it succeeds, and **how soon**.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict, then run
#
# Four players, the same 500 levels of "go to the …", one room each.
#
# 1. **dice**: one of the seven actions, drawn blindly;
# 2. **a rule without a memory**: *go to the thing if you see it; otherwise go straight on, and turn right where you
#    cannot*;
# 3. **a rule with a memory**: the same wish, but it keeps a map of what it saw, and goes where it has not looked yet;
# 4. **minigrid's own bot**, which plans, and remembers what it saw as well.
#
# The dice solve about three levels in ten. How many does the rule **without** a memory solve?
#
# - **a** Fewer than half: without a memory it is lost.
# - **b** Between half and nine in ten.
# - **c** More than nine in ten: it only takes longer.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abc")  # your letter between the quotes

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Timing, wrong answers and what they reveal, a 10-minute and a 50-minute path:
# [the guide to this lesson](guides/01_worlds_and_missions.md).
#
# Collect hands, then ask one for **c**: "when it does not see the thing, what will it see after a while?" and one for **a**:
# "in how many levels does it see the thing at the beginning?" (about half).
# </details>

# %% slideshow={"slide_type": "subslide"}
def rule(image, direction, mission, memory):
    """To the thing if it is in view; else straight on, and right where something is in the way."""
    # columns and rows, (i, j), of all that the mission can mean
    things = things_called(image, mission)
    free = int(image[3, 5, 0]) == EMPTY  # the agent is at (3, 6); this is the cell ahead
    if not things:
        return FORWARD if free else RIGHT
    i, j = min(things, key=lambda place: abs(place[0] - 3) + 6 - place[1])  # the nearest one
    if free and j < 6:  # it is further ahead
        return FORWARD
    return LEFT if i < 3 else RIGHT


# %% [markdown] slideshow={"slide_type": "subslide"}
# The rule with a memory is the one that you write in exercise 1.3; here it comes with the package. All are judged alike:
# each level is played once. In brackets: the 95 % interval, for these 500 levels are a sample, too. "Steps" is a mean in
# which a level that is not solved counts as 64.

# %% slideshow={"slide_type": "subslide"}
from metarim_lite.course.exercises.lesson1 import explore

levels = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_500))
players = {
    "dice": ml.UniformAgent(),
    "rule, no memory": HandWritten(rule),
    "rule, memory": HandWritten(explore),
}


def line(name, result):
    steps = f"{result.length.value:4.1f} steps"
    print(f"{name:22} success {result.success}   reward {result.reward}   {steps}")


played = {}
for name, player in players.items():
    played[name] = ml.evaluate(player, levels, episodes=500)
    line(name, played[name])
bot = demonstrate(levels)  # the bot's successes
success, reward = f"{len(bot.lengths) / 500:.3f}", f"{bot.reward.sum() / 500:.3f}"
steps = f"{bot.lengths.float().mean():4.1f} steps"
print(f"{'bot':22} success {success:20}   reward {reward:20}   {steps}")

# %%
share = played["rule, no memory"].success.value
my_prediction.happened("a" if share < 0.5 else "b" if share <= 0.9 else "c")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "slide"}
# ## How it fails
#
# The rule without a memory is far better than dice, and yet it fails in more than a quarter of the levels. How? Below is
# one of them (the room of the first figure), with its path, and with that of the rule that has a memory.

# %% slideshow={"slide_type": "subslide"}
failing = [
    n
    for n in range(500)
    if not played["rule, no memory"].successes[n] and played["rule, memory"].successes[n]
]
figure, axes = subplots(1, 2, size=(9, 4.8))
told = []
for ax, name in zip(axes, ("rule, no memory", "rule, memory"), strict=True):
    trace = ml.Trace.record(players[name], levels, level=failing[0])
    places = torch.tensor([world.agent_place(0)[:2] for world in trace.worlds])  # [T+1, 2]
    ax.imshow(trace.frame(0, tile_size=32))
    ax.plot(*(32 * places.T + 16), color=COLORS[5], marker="o", markersize=5)
    ax.set(xticks=[], yticks=[], title=f"{name}: {trace.num_steps} steps")
    cells = len(places.unique(dim=0))
    told.append(f"{trace.num_steps} steps over {cells} different cells")
show(
    figure,
    f"two paths in one room, mission “{trace.mission}”: without a memory {told[0]}; with a memory "
    f"{told[1]}.",
)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# The rule came up to the purple ball: a green key is behind it, in view. It cannot go straight on, so it turns. Now the key
# is out of view, or to the other side, and it turns back. To walk around the ball it would have to lose sight of
# the key for a moment, and *go on wanting it*.
#
# Without a memory, a policy is a function from what is seen to what is done. When it comes back to a view that it had before,
# it does what it did before, and comes back once more. **Who neither remembers nor throws dice succeeds soon, or circles for
# ever.**

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Two moments, one view
#
# What exactly can no policy without a memory do? Call two moments **aliased** if the agent sees and is told the same in
# both, and no action is right in both. Whatever it does, it is wrong in one of them.
#
# "Right" needs somebody who sees all: an action is right if it begins a *shortest way* to the thing, found by searching
# the whole level. We take 300 levels with a single thing in the room, and an agent that turns and walks at random. At every
# step we note what it saw, what was right, and whether the thing had been in view before.

# %% slideshow={"slide_type": "subslide"}
B = 300
rooms = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(1_000_000, 1_000_000 + B))
walk = ml.GridWorlds(rooms, num_envs=B, autoreset=False)
observation, dice = walk.reset(torch.arange(B)), torch.Generator().manual_seed(0)
missions = [walk.mission_text(b) for b in range(B)]
steps = [steps_to_face(walk.cells(b), things_called(walk.cells(b), missions[b])) for b in range(B)]
seen_before, walks, moments = [False] * B, [], []
for t in range(25):
    walks.append(walk.fork())  # to draw it later
    for b in (~walk.finished).nonzero()[:, 0].tolist():
        visible = bool(things_called(observation.image[b], missions[b]))
        told = (
            *observation.image[b].flatten().tolist(), int(observation.direction[b]),
            *observation.mission[b].tolist(),
        )
        right = right_actions(steps[b], walk.agent_place(b))
        moment = {"world": b, "t": t, "right": right, "told": told, "visible": visible}
        moments.append({**moment, "saw": seen_before[b]})
        seen_before[b] |= visible
    observation = walk.step_unfinished(torch.randint(3, (B,), generator=dice)).observation

# %% slideshow={"slide_type": "subslide"}
groups = {}
for moment in moments:
    groups.setdefault(moment["told"], []).append(moment)
pairs = [
    (a, b)
    for group in groups.values()
    for a in group
    for b in group
    if not {*a["right"]} & {*b["right"]}
]
twins = {(a["world"], a["t"]) for a, _ in pairs}  # (each pair is there twice)

for where, visible in (("in view", True), ("out of view", False)):
    these = [m for m in moments if m["visible"] == visible]
    aliased = sum((m["world"], m["t"]) in twins for m in these)
    share = f"{aliased / len(these):.0%}"
    print(f"the thing is {where:11} in {len(these):,} moments; aliased: {share} of them")

# %% [markdown] tags=["reveals"]
# While the thing is in view, no moment is ambiguous: what is seen says what to do. As soon as it is out of view, about one
# moment in five has a twin that calls for something else. (With more levels more twins would be found: this is a lower
# bound.) One such pair:

# %% slideshow={"slide_type": "subslide"}
a, b = next(
    (a, b)
    for a, b in pairs
    if (a["right"], b["right"]) == ((LEFT,), (RIGHT,)) and a["saw"] and b["saw"]
)
figure, axes = subplots(1, 3, size=(10, 3.9))
for ax, moment, right in ((axes[0], a, "turn left"), (axes[2], b, "turn right")):
    ax.imshow(walks[moment["t"]].frame(moment["world"]))
    ax.set_title(f"called for here: {right}")
axes[1].imshow(walks[a["t"]].frame(a["world"], agent_view=True))
axes[1].set_title("the view, here and there")
for ax in axes:
    ax.set(xticks=[], yticks=[])
show(
    figure,
    f"at the left and at the right two rooms, mission “{missions[a['world']]}” in both. In both "
    "the agent has the view of the picture in the middle, without the thing; in one room it is "
    "soonest reached by turning left, in the other by turning right.",
)

# %%
both_saw = sum(a["saw"] and b["saw"] for a, b in pairs) / len(pairs)
neither = sum(not a["saw"] and not b["saw"] for a, b in pairs) / len(pairs)
print(f"of all pairs: both had seen the thing before {both_saw:.0%}, neither had {neither:.0%}")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Does a memory help with every aliased pair? **No.** It helps where the two *histories* say different things. In this pair both
# agents had the thing in view some steps before: who remembers where, knows which way to turn. It helps, too, where only
# one of them had seen it: that one knows. Where neither has seen it yet (a few pairs in a hundred), the one history may be
# as empty as the other. That is not forgetting; it is a world that has not been looked at, and what helps there is a habit
# of looking around.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict again: a trained agent
#
# Does an agent that *learned* use its memory? One comes with the package: an LSTM (lesson 02) that learned "go to the …".
# We let it play 1,000 levels that it never met, first as it is, then with its memory **cleared before every single step**.
# What does it lose?
#
# - **a** Nearly everything: it solves fewer than half of the levels.
# - **b** It fails a little more often and takes clearly longer, at least a fifth more steps.
# - **c** Nothing changes to speak of: it never learned to use its memory.

# %% slideshow={"slide_type": "fragment"}
my_second_prediction = predict("", among="abc")  # your letter between the quotes

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Most say **a**: a memory sounds necessary. Ask what clearing does besides
# taking the memory away: from the second step on, the network meets a state that it knows from first steps only. This
# objection is lesson 02's experiment.
# </details>

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
class Cleared(ml.UniformAgent):
    """Another agent, whose memory is cleared before every step."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent

    def forward(self, observation, state, resets, **options):
        return self.agent(observation, None, torch.ones_like(resets), **options)


agent = ml.load_agent("lstm-gotolocal")
never_met = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_001_000))
whole, cleared = (
    ml.evaluate(player, never_met, episodes=1000) for player in (agent, Cleared(agent))
)
line("trained", whole)
line("trained, cleared", cleared)

# %%
slower = cleared.length.value / whole.length.value
my_second_prediction.happened("a" if cleared.success.value < 0.5 else "b" if slower >= 1.2 else "c")

# %% [markdown] tags=["reveals"]
# It was **b**. Nearly all missions are still done: somebody who looked at success alone would hardly have noticed that the
# agent had lost its memory. Why does it not go round in circles? It throws dice: its actions are *drawn* from
# probabilities, and luck breaks circles as long as there is time. Take the dice away, too, and let it always do what it
# thinks best, the action of the highest probability:

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
certain, cleared_certain = (
    ml.evaluate(player, never_met, episodes=1000, greedy=True) for player in (agent, Cleared(agent))
)
line("trained, no dice", certain)
line("cleared, no dice", cleared_certain)

# %%
print("without a memory, dice help:", cleared.success.low > cleared_certain.success.high)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# So this is why the agent needs a memory: **in one room, not to succeed, but to succeed soon and without luck.** Whoever
# reports success alone will not see what a memory is for. Remember it when you look at learning curves, here and elsewhere.
#
# Now doubt it. This agent was never *trained* without a memory. Perhaps a network that never had one would do as well as the
# whole agent: to take something away from a trained network is not the same as never to have had it. Lesson 02 trains both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# Open [the exercises](../exercises/01_worlds_and_missions.ipynb): cut the view out of a grid yourself (1.1), pay the reward
# (1.2), write the rule with a memory (1.3), and find aliased moments (1.4). About 65 minutes. Each check tells you
# which mistake it thinks you made.
#
# To see your points, save that notebook, open a new one beside it, and run this in a cell there:
#
# ```
# import sys
# !{sys.executable} -m metarim_lite check 01_worlds_and_missions.ipynb
# ```
#
# (Or, in a terminal where the course is installed: `metarim check`, and the file.)
#
# Then go on to [lesson 02](02_recurrent_controllers.ipynb).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# Answer aloud, then unfold.
#
# 1. The agent turns right twice. What of its old view does it still see?
#    <details><summary>answer</summary>The row that it stands in, its own cell included, left and right exchanged. All else
#    was ahead of it and is now behind it.</details>
# 2. Two moments look the same, and one needs *left*, the other *right*. When does a memory help?
#    <details><summary>answer</summary>When the histories differ in a way that tells where the thing is. If neither agent has
#    seen it yet, no memory helps.</details>
# 3. A policy without a memory has 99 % success. Somebody concludes that the task needs no memory. What do you ask?
#    <details><summary>answer</summary>How many steps it took, beside a policy with one; and whether it throws dice.
#    Luck replaces a memory as long as there is time.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **Several rooms.** Behind doors, luck gets expensive: the more there is to search, the more a memory is worth. We showed
#   one room only.
# - **Where levels come from.** minigrid makes them, one for each seed; our worlds play them, thousands at once, and are
#   tested to do what minigrid does, step by step.
# - **Missions of several parts** ("put the ball next to the box, then open the door"). Same worlds, longer sentences.
# - **The best policy without a memory.** We showed one rule, and an agent that was cleared. A cleverer rule does better,
#   but without dice none gets around aliased moments.
#
# *Further reading.* Chevalier-Boisvert et al., [BabyAI](https://arxiv.org/abs/1810.08272): the levels and missions, and how much
# experience learning them costs. Kaelbling, Littman and Cassandra,
# [Planning and acting in partially observable stochastic domains](https://doi.org/10.1016/S0004-3702(98)00023-X): what the best
# possible memory would be, the probability of every state of the world.
