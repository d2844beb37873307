# %% [markdown] slideshow={"slide_type": "slide"}
# # 06 · Fast and slow
#
# **What changes when parts of one network learn on different clocks?**
#
# After this lesson you can
#
# - put the parameters of a network on two clocks, and say what each update moves and what it leaves, bit for bit;
# - say what a slow clock can do that a low rate cannot, in a world where you can see why;
# - tell what is known of it in grid worlds from what is not.
#
# About 50 minutes to read and run, and 115 minutes of exercises. You need [lesson 04](04_recurrent_independent_mechanisms.ipynb) (what a RIM
# is) and of [lesson 02](02_recurrent_controllers.ipynb) the word *span*: how many steps a gradient runs back through.
# Letters stand on the [notation card](notation.ipynb), words in the [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
import numpy as np
import torch
from IPython.display import Markdown
from tqdm.auto import tqdm

from metarim_lite import METHODS, TrainConfig
from metarim_lite.course import predict
from metarim_lite.course.clocks import clock_sliders, draw_clocks, draw_skill, miniature_sliders
from metarim_lite.course.figures import COLORS, GREY, MARKERS, show, subplots
from metarim_lite.course.study import draw_scores, study_curves, study_table
from metarim_lite.experiments.miniature import RULE, difference, learn, middle, shipped
from metarim_lite.experiments.search import searched
from metarim_lite.experiments.studies import shipped_study
from metarim_lite.training import Trainer

# %% [markdown] slideshow={"slide_type": "slide"}
# ## One network, two clocks
#
# The idea of the Meta-RIM paper (Madan et al., [arXiv 2105.08710](https://arxiv.org/abs/2105.08710)): what there is
# to know comes in pieces that stay true from task to task. *Attention* chooses which modules deal with the task at
# hand. So let **the modules learn fast**, on short spans, and **attention slowly**, on long ones.
#
# Three things make a clock. All of them are numbers that you choose:
#
# - a **beat**: how often it ticks. At a tick some experience is played, and its parameters are updated on it;
# - a **span**: through how many steps its gradients run;
# - a **rate**: α for the fast clock, β for the slow one.
#
# Every parameter is on one clock, or on none. That is a *partition*:

# %%
for method in ("rim", "meta-rim", "meta-rim-reversed", "rim-frozen-attention"):
    scales = METHODS[method].timescales
    print(
        f"{method:21} fast: {', '.join(scales.fast):36} slow: {', '.join(scales.slow) or '–':10}",
        end=" ",
    )
    print("never:", ", ".join(scales.frozen) or "–")

# %% [markdown] slideshow={"slide_type": "subslide"}
# *Encoder* turns view and mission into numbers, *heads* turn the state into actions and values. θ_M, the modules, and
# θ_A, both attentions (input and communication), are what the paper speaks of. **On which clock encoder and heads are
# in the paper, we do not know**; nor its rates, its spans, or how often the slow clock ticks. Ours are a choice.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A fast step, a slow step
#
# Time runs to the right. Each bar is one tick: as long as what was played for it, cut by white lines into spans.

# %%
show(*draw_clocks(METHODS["meta-rim"].timescales))

# %% [markdown] slideshow={"slide_type": "subslide"}
# Turn the clocks. What must you do to give attention as many updates as the modules have, and what does it cost?

# %% tags=["nbval-ignore-output"]
clock_sliders()

# %% [markdown] slideshow={"slide_type": "subslide"}
# **What a tick does not move, stays to the bit**, Adam's running means included. Five ticks of a real agent in real
# worlds:

# %%
trainer = Trainer(
    TrainConfig("meta-rim", "BabyAI-GoToObjS4-v0", num_envs=16, train_levels=50, device="cpu")
)
groups = trainer.agent.parameter_groups()
for tick in range(5):
    before = {
        group: [p.detach().clone() for p in parameters] for group, parameters in groups.items()
    }
    trainer.tick()
    moved = [g for g, ps in groups.items() if not all(map(torch.equal, ps, before[g]))]
    print(f"tick {tick}, {trainer.config.scales.clock_of_tick(tick)}: moved", ", ".join(moved))

# %% [markdown]
# In code: `Clock.update` in `metarim_lite/training/timescales.py`, about forty lines. Exercises 6.1 to 6.3 are its
# parts.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The paper's algorithm, and its last line
#
# As reported by readers, with $L_i$ for the loss on task *i*, for each task of a batch:
#
# 1. play with $\theta_M, \theta_A$;
# 2. adapt: $\theta_M^i \leftarrow \theta_M - \alpha \nabla L_i(\theta_M, \theta_A)$;
# 3. play again, with the adapted $\theta_M^i$;
#
# and then once, for all tasks: 4. $\theta_A \leftarrow \theta_A - \alpha \nabla \sum_i L_i(\theta_M^i, \theta_A)$.
#
# Read line 4 once more. Whose rate is that? Exercise 6.4 asks what the misprint would do. (A viewer of a talk noticed
# it. Be glad of such viewers, and write β.)

# %% [markdown] slideshow={"slide_type": "subslide"}
# ### Does the gradient of line 4 run through line 2?
#
# $\theta_M^i$ was made with $\theta_A$, so moving $\theta_A$ also changes *how the modules adapt*. Whether the paper
# counts that, is not known. It makes a difference. The smallest model that shows it: $f(x) = x\,(a \odot w)$, where input
# d counts $a_d w_d$ times, with w fast and a slow, and one inner step (line 2). If you shake a and measure what that does
# to the loss, adaptation included, which gradient do you find?

# %%
dice = torch.Generator().manual_seed(0)
w, a, truth = (torch.randn(3, generator=dice) for _ in range(3))
x, x_query = torch.randn(30, 3, generator=dice), torch.randn(30, 3, generator=dice)


def loss(w, a, x):
    return (x @ (a * w) - x @ truth).square().mean()


def adapted(a, w=w):
    w = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(w, a, x), w, create_graph=True)
    return w - 0.1 * slope


a.requires_grad_()
(through,) = torch.autograd.grad(loss(adapted(a), a, x_query), a)
(first_order,) = torch.autograd.grad(loss(adapted(a).detach(), a, x_query), a)
shaken = [
    loss(adapted(a + e), a + e, x_query) - loss(adapted(a - e), a - e, x_query)
    for e in 0.01 * torch.eye(3)
]
measured = torch.stack(shaken) / 0.02
gradients = {"through adaptation": through, "first order": first_order, "shaken": measured}
for name, g in gradients.items():
    print(f"{name:19}", [f"{value:6.2f}" for value in g.tolist()])

# %% [markdown]
# Shaking finds the gradient *through* adaptation. *First order* leaves a term out: cheap, often good enough, and not
# the same. Our `online` methods (`meta-rim`) are first order: fast ticks follow one another, then one slow tick on
# fresh experience. `meta-rim-per-task` is the algorithm above, either way.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A world with two time scales
#
# Why should any of this help? Take a world where we know the answer's parts. A task is a sum in which two of six
# inputs matter: $y = t_1 x_1 + t_2 x_2 + \text{noise}$. Tasks follow one another, and with each
#
# - **where to look stays**: the same two inputs matter, for ever;
# - **what to do with them is new**: $t_1$ and $t_2$ are drawn again.
#
# And a network in miniature: a RIM without memory. Each of its four modules spreads its attention over the six inputs (a
# softmax of six numbers $a_n$), reads the mean that comes of it, and multiplies by one number, $w_n$:
#
# $$f(x) = \sum_n w_n \sum_d \mathrm{softmax}(a_n)_d\, x_d$$
#
# $$\theta_M = w\;[N], \qquad \theta_A = a\;[N, D]$$
#
# A task lasts 20 fast updates. The slow clock ticks once a task, at its end. **Skill** is 1 for a perfect answer, 0
# for who always says 0, and below 0 for who is wrong with confidence. A number with brackets is the mean of the middle
# half of the seeds, with its 95 % interval ([lesson 07](07_reading_results_critically.ipynb) has both).

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Say the world aloud twice, once as "where", once as "what". Ask which of the two parts of the network should be
# slow here. Then ask what a *low rate* would do instead: most see no difference, and that is the prediction.
# </details>

# %% [markdown] slideshow={"slide_type": "subslide"}
# ## Predict, then run
#
# Five ways to learn, each at the best rates that a search on other seeds found for it:
#
# | way | attention | modules |
# |---|---|---|
# | one clock | every update, as fast as modules | every update |
# | low rate | every update, at a low rate | every update |
# | frozen attention | never | every update |
# | slow clock | once a task | every update |
# | reversed roles | every update | once a task |
#
# What skill do they have at the end of a task?
#
# - **a** All that train attention come out about the same: two inputs of six are soon found.
# - **b** Low rate and slow clock are about the same, and ahead of one clock: slow is slow.
# - **c** The slow clock is ahead of the low rate, too.
# - **d** Frozen attention is enough: modules make up for it.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abcd")  # your letter between the quotes

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
WAYS = ("one clock", "low rate", "frozen attention", "slow clock", "reversed roles")
my_seeds = range(100, 132)  # 32 of them learn side by side; take others
found = {}
for way in WAYS:
    found[way] = learn(way, world="what", seeds=my_seeds)
    print(f"{way:17} skill at the end of a task, mean over 100 tasks: {middle(found[way].scores)}")

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
# seeds 51 to 82, rates chosen on seeds 0 to 15
table = {row.way: row for row in shipped() if row.world == "what"}
figure, (left, right) = subplots(1, 2, size=(10, 4), width_ratios=(3, 2))
tens = np.arange(5, 100, 10)  # the shipped curves are means of ten tasks
for i, way in enumerate(WAYS):
    for curve in table[way].curve:
        left.plot(tens, curve, color=COLORS[i], alpha=0.08, linewidth=1, linestyle="-")
    mine = found[way].skill[:, :, -1].mean(0)  # (S, tasks, ticks) -> (tasks,)
    left.plot(tens, mine.reshape(-1, 10).mean(1), color=COLORS[i], label=way)
left.set(xlabel="task (means of ten)", ylabel="skill at the end of a task", ylim=(-0.5, 1))
left.legend(loc="lower right", fontsize=9)
words = draw_scores(right, {w: table[w].scores for w in WAYS}, {w: found[w].scores for w in WAYS})
right.set(xlabel="mean over tasks")
show(figure, f"Faint the shipped seeds, full yours. In the mean over all tasks: {words}.")

# %% slideshow={"slide_type": "subslide"}
def ahead(ours, theirs, of=found):
    """Whether the interval of the difference lies above 0."""
    return difference(of[ours].scores, of[theirs].scores)[0].low > 0


if not ahead("slow clock", "frozen attention"):
    my_prediction.happened("d")
elif ahead("slow clock", "low rate"):
    my_prediction.happened("c")
else:
    my_prediction.happened("b" if ahead("low rate", "one clock") else "a")

# %% [markdown]
# How large a difference has to be to matter, and how the rates were chosen, stood in a rule before the shipped seeds were
# run:

# %%
Markdown(f"> {RULE}")

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
lines = [
    "| slow clock minus | your seeds | verdict | the 32 shipped seeds | verdict |",
    "|---|---|---|---|---|",
]
for way in (w for w in WAYS if w != "slow clock"):
    cells = []
    for of in (found, table):
        effect, says = difference(of["slow clock"].scores, of[way].scores)
        cells.append(f"{effect} | {says}")
    lines.append(f"| {way} | {' | '.join(cells)} |")
Markdown("\n".join(lines))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Why? Look at where they look
#
# Two of the six inputs matter, so a third of all attention lies on them by chance.

# %% tags=["nbval-ignore-output"]
figure, axes = subplots(1, 3, size=(10, 2.6))
for ax, way in zip(axes, ("one clock", "low rate", "slow clock"), strict=True):
    # (N, D), (D,) of the first seed
    attention, matter = found[way].attention[0], found[way].targets[0] != 0
    ax.imshow(attention, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set(title=way, xlabel="input (▲ matters)", ylabel="module", yticks=range(4))
    ax.set_xticks(range(6), ["▲" if m else "·" for m in matter])
on_them = {
    way: (f.attention * (f.targets != 0)[:, None]).sum(-1).mean() for way, f in found.items()
}
words = ", ".join(f"{way} {share:.0%}" for way, share in on_them.items())
show(figure, f"Attention on the inputs that matter, all seeds: {words}.")

# %% [markdown] slideshow={"slide_type": "subslide"}
# And at what happens within a task, from its first update to its last:

# %% tags=["nbval-ignore-output"]
figure, ax = subplots(size=(7, 3.6))
for i, way in enumerate(WAYS):
    draw_skill(ax, found[way], i, way)
ax.axhline(0, color=GREY, linewidth=0.8)
ax.set(xlabel="updates since the task began", ylabel="skill")
ax.legend(fontsize=9)
first, last = (found["slow clock"].skill[:, :, at].mean() for at in (0, -1))
words = f"with a slow clock the skill is {first:.2f}, and {last:.2f} at the end."
show(figure, f"As a task begins, everybody still does what the last one asked: {words}")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# A hypothesis. The gradient of $a$ holds $w$ as a factor: attention is told "look where it helps *the modules as they
# are now*". As a task begins, the modules still do what the last one asked, and half of the time that has the wrong
# sign: then the advice is to look **away** from the very inputs that matter. At the end of a task the advice is good.
# A low rate takes the mean of all advice, good and bad. A slow clock takes only the last.
#
# > **A slow clock is not about being slow. It is about looking when the modules have adapted.**
#
# It sounds right, and the pictures fit. You know from lesson 04 what that is worth. What could break it?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Try to break it
#
# Leave everything as it is: one attention update a task, the same clocks, rates searched as widely. Only move the
# tick: let the slow clock tick just **after** a new task has begun, or at **any** moment of a task, one after the
# other.
#
# - **a** Nothing changes: what counts is that attention learns seldom.
# - **b** Both become worse, the early one most.
# - **c** Only the early one becomes worse.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abc")  # your letter between the quotes

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
for way in tqdm(("slow clock, at any moment", "slow clock, too early")):
    found[way] = learn(way, world="what", seeds=my_seeds)
names = ("slow clock", "slow clock, at any moment", "slow clock, too early", "low rate")
figure, ax = subplots(size=(8, 2.8))
words = draw_scores(ax, {w: table[w].scores for w in names}, {w: found[w].scores for w in names})
ax.set_xlabel("skill at the end of a task")
show(figure, f"Faint the shipped seeds, full yours: {words}.")

# %%
any_moment, early = (ahead("slow clock", way) for way in names[1:3])
my_prediction.happened("b" if any_moment and early else "c" if early else "a")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# The hypothesis has survived an experiment that could have sunk it. With the same clocks and as many updates, what
# the slow clock gave is gone when it ticks too early. And a slow clock that knows nothing of the tasks, that ticks at
# any moment, lies between: it takes good advice and bad, as the low rate does.
#
# So mind what this does *not* say. Somebody told our clock when a task ends. In a stream without that knowledge, most
# of what you saw is not to be had.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A trap: what the measure hides
#
# All of this was skill *at the end* of a task. Somebody chose that number: we did, since "faster adaptation" is about what
# has been reached after some updates. Look once more at the curves within a task, and ask how good each way is **on the
# whole way there**, from the first update to the last.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
lines = [
    "| way | at the end of a task | on the whole way there | after half of the updates |",
    "|---|---|---|---|",
]
for way in WAYS:
    skill = found[way].skill  # [S, tasks, ticks + 1]
    numbers = (
        middle(part.mean(axis=1)) for part in (skill[:, :, -1], skill.mean(axis=2), skill[:, :, 10])
    )
    lines.append(
        f"| {way} | "
        + " | ".join(f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" for m in numbers)
        + " |"
    )
Markdown("\n".join(lines))

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Another number, another winner. Whoever has learned to look at two inputs only, and hard, is *badly* wrong as a new task
# begins, and pays for it until about the middle of the task. The low rate, half decided, is wrong more softly. Both tables
# are true. A paper would print one of them.
#
# It is also why the first curves cross: one clock and low rate begin well and wear away, task by task; the slow clock begins
# behind them and rises.

# %% [markdown] slideshow={"slide_type": "subslide"}
# Now turn it yourself. (Two seconds a run; the run before stays, in grey.) How many fast updates does a task need
# before the slow clock pays? How early is too early? Must β be smaller than α?

# %% tags=["nbval-ignore-output"]
miniature_sliders()

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn the world round
#
# Slow attention is a bet that *where to look* stays. Make it false: with each task **other inputs matter**, and the
# two factors stay. Now attention has to be fast. Which way wins?
#
# - **a** The slow clock on attention, again.
# - **b** Reversed roles: the world is reversed, too.
# - **c** Neither is ahead of one clock for all.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abc")  # your letter between the quotes

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
turned = {way: learn(way, world="where", seeds=my_seeds) for way in tqdm(WAYS)}
turned_table = {row.way: row for row in shipped() if row.world == "where"}
figure, ax = subplots(size=(8, 3))
words = draw_scores(
    ax, {w: turned_table[w].scores for w in WAYS}, {w: turned[w].scores for w in WAYS}
)
ax.set_xlabel("skill at the end of a task, where to look is new each time")
show(figure, f"Faint the shipped seeds, full yours: {words}.")

# %%
slow_ahead, reversed_ahead = (
    ahead(way, "one clock", of=turned) for way in ("slow clock", "reversed roles")
)
my_prediction.happened("b" if reversed_ahead else "a" if slow_ahead else "c")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# The slow clock's lead is gone: in the shipped table it is no better than one clock for all, and at the bottom are reversed
# roles and frozen attention. Where the bet is false, slow attention pays nothing. But turning the clocks round does not win
# what turning the world round lost: the two parts are not mirror images. Fast factors walk from −1 to 1 in a few steps; a
# softmax that has settled on one input must walk far to settle on another. What came nearest to winning is the *low rate*.
#
# So "which part should be slow" has two answers in it: what stays true in the world, and what each part can do quickly.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## From the miniature to the worlds
#
# What you saw holds in a world made for it. Before you carry it to agents in grid worlds, look at three differences:
#
# - our clock **knew** when a task ends. An agent's worlds do not wait for each other: in every batch all tasks are
#   present, old and new, and no fast update "has adapted" to one of them;
# - in the miniature attention had one thing to find, and it was the same thing for ever;
# - there was no reward, no exploration, no memory.
#
# So the miniature *predicts* little for a mix of tasks in one batch. Here is what we have. First, the search by which
# the rates of our methods were found: three tasks in one batch, go to, pick up, put next to. The number of a run is its
# **area**, the mean success over the training: 1 is perfect from the first frame on. *Fresh* are runs with seeds that
# had played no part in the search.

# %% slideshow={"slide_type": "skip"}
FRESH, ROUND_1 = "chosen in round 2, fresh seeds, ", "round 1, one clock"
# messages as the paper writes them
plain = ("output-gate none", "message-scale 1.0", "fast-lr 0.002")
others = ("messages", "slower", "square", "max-grad")  # settings that change something else
rows = {
    "one clock, attention at the full rate": searched(ROUND_1, "rim", *plain, without=others),
    "… at a tenth": searched(ROUND_1, "rim", *plain, "slower attention 0.1", without=("messages",)),
    "… frozen": searched(ROUND_1, "rim-frozen-attention", *plain, without=("messages",)),
    "fresh: one clock, all at half the rate": searched(FRESH + "one clock", "rim", "fast-lr 0.001"),
    "fresh: attention at a tenth": searched(
        FRESH + "one clock", "rim", "message-scale 1.0", "slower attention 0.1", without=("fall",)
    ),
    "fresh: slow clock": searched(
        FRESH + "two clocks", "meta-rim", "slow-lr 0.0005", without=("fall",)
    ),
    "an LSTM, searched seeds, fewer frames": searched(
        "round 2, LSTM", "lstm", "fast-lr 0.002", without=("fall",)
    ),
}

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
figure, ax = subplots(size=(9, 3.4))
for i, row in enumerate(rows.values()):
    kind = 0 if row.series == ROUND_1 else 1 if row.series.startswith(FRESH) else 2
    ax.plot(
        row.area, [i] * len(row.area), linestyle="", marker=MARKERS[kind], color=COLORS[kind],
        alpha=0.8,
    )
    ax.plot(np.mean(row.area), i, "|", color="black", markersize=16)
labels = [f"{name} ({row.frames / 1e6:.1f} M frames)" for name, row in rows.items()]
ax.set(xlabel="area (stroke: mean of the seeds)", xlim=(0, 1))
ax.set_yticks(range(len(rows)), labels, fontsize=9)
ax.invert_yaxis()
words = ", ".join(f"{np.mean(row.area):.2f}" for row in rows.values())
show(
    figure,
    f"Means from top to bottom: {words}. Compare like marks with each other: the rest have other "
    "frames and seeds.",
)

# %% slideshow={"slide_type": "subslide"}
slow = rows["fresh: slow clock"].area
for name in ("fresh: attention at a tenth", "fresh: one clock, all at half the rate"):
    effect, says = difference(slow, rows[name].area, smallest=0.05)
    print(f"slow clock − {name.removeprefix('fresh: ')}, six seeds each:")
    print(f"    {effect.value:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]: {says}")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Read it slowly.
#
# - **Attention that learns as fast as modules seems to do harm**, at the rate where an LSTM learns best: two seeds of
#   each, so a hint and no more.
# - **But frozen attention did as well as any**, there. In the miniature it was nearly the worst. Whatever helped
#   here, it was not what helped there.
# - **Slow clock and low rate cannot be told apart** on six fresh seeds: the interval contains 0, and it contains
#   differences that would matter. That is "undecided", not "the same".
# - **The LSTM is ahead of every RIM**, with fewer frames, on these three tasks. (Its seeds are those of the search,
#   which flatters; its distance is larger than that.)
#
# And on one small task alone nothing differs: in *go to* in a room of 5 × 5 (80,000 frames, 64 worlds, small agents,
# all rates at 4e-3, seeds 0 and 1) the mean success over training was .82 and .85 for an LSTM, .85 and .85 for a RIM,
# .85 and .85 with frozen attention, .81 and .81 with a slow clock, .78 and .82 with reversed roles. We looked for an
# effect that you could watch in a minute in a grid world, and did not find one.

# %% [markdown] slideshow={"slide_type": "subslide"}
# Second, memory. In lesson 04's copying task our RIM's queries learn at a tenth of the rate: a **low rate**, for one
# part of attention. Here is what is shipped of it:

# %% tags=["nbval-ignore-output"]
lines = [
    "| copying, 50 blanks in training | updates | error after 200 blanks, each seed |",
    "|---|---|---|",
]
for row in shipped_study("copying").rows:
    if row.setting.startswith("RIM 6/4") and "unbounded" not in row.setting:
        errors = ", ".join(f"{error:.3f}" for error in list(row.tests.values())[-1])
        rate, updates = row.config["query_rate"], row.config["updates"]
        lines.append(f"| queries at {rate:g} × the rate | {updates:,} | {errors} |")
Markdown("\n".join(lines))

# %% [markdown]
# Three seeds each, and another number of updates: nobody can tell the two rows apart. What made us choose the low
# rate stands in the notes beside the table: trained on to 9,000 updates *at one rate*, seeds 0 to 3 ended with 0.228,
# 0.000, 0.010 and 0.035, so one in four wore away, and with slower queries none has. Found on these very seeds: a
# lead, no proof.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What the study says today
#
# Thirteen claims, each with a rule for its verdict that was committed before the first run. These are the first five,
# in the mix of three tasks (4 million frames a run). The table is drawn from what is shipped with your copy of the
# course: where it says "no runs yet", there are none, and `metarim study meta` makes them.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
study_table({1, 2, 3, 4, 5}, {"mix"})

# %% [markdown] slideshow={"slide_type": "subslide"}
# Behind each of these differences stand learning curves. Here are the three that the papers compare, and three
# controls: attention on the fast clock at a tenth of the rate, the roles reversed, and attention frozen as it was drawn.
# The RIM with one clock is dashed behind the others:

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
controls = ["rim-slow-lr", "meta-rim-reversed", "rim-frozen-attention"]
study_curves("mix", ["rim", "meta-rim", "lstm", *controls])

# %% [markdown] slideshow={"slide_type": "subslide"}
# Look at the bands before the lines. Of the first six seeds, an LSTM learned all three tasks with every one. A RIM with
# one clock did with five, and with the sixth it solved 3 of 100 levels of the third task, putting a thing next to
# another, when the frames ran out; so did a Meta-RIM, with another seed. Between "learned it" and "not yet" lies most of
# what makes the intervals wide: which seed it is says more here than which clock. The settings had been found on other
# seeds, and nothing was changed after these were seen.
#
# The frozen one is not behind the one that learns, and the one with reversed roles is a little behind Meta-RIM: by the rules
# of claims 4 and 2 both are *undecided*. [Lesson 07](07_reading_results_critically.ipynb) looks closer, seed by seed, and
# at how far that can be trusted.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **Claim 3 is decided, against the slow clock.** With one clock and attention at a tenth of the rate, a RIM is no
# worse than with two clocks; and with each of ten seeds it learned the third task, which Meta-RIM missed with two of
# thirteen and half missed with another. In the miniature, you saw that a slow clock can do what no low rate does. In these
# worlds, nothing of that is seen: if attention should be slow here, a low rate is all it takes. (It is one setting of
# either, untuned, on three tasks learned at once. Where would you look for the clock instead?) How sure is it? Seeds 31
# to 35 were made to check it: by themselves they are undecided, with Meta-RIM a hair ahead. What all of them rule out is
# a gain that would matter, no more.
#
# Claim 5 asks whether the **long span** is the gain. There is no gain to explain, so the claim is undecided; but one
# clock with everything on the long span, and as many updates as a RIM makes, learned the third task with each of five
# seeds, too (0.89 to 0.99 at the end). One line here does speak for Meta-RIM: it is ahead of a RIM that updates as
# seldom. [Lesson 07](07_reading_results_critically.ipynb) asks what else differs between those two. Whether it matters
# how the two clocks are set (claim 12) is undecided; for some hours one line of it was not, and lesson 07 tells how.
#
# Over a sequence of tasks, a slow clock seemed to forget less than one clock, until five more seeds were run (claim 8,
# in [lesson 05](05_catastrophic_forgetting.ipynb)). Of what a second clock is said to add to a RIM, these worlds have
# shown nothing yet that a rate could not explain as well.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A new task after the old ones
#
# What the papers promise of slow attention is *faster adaptation*. So: agents that learned two of the three tasks, to go
# to a thing and to put one next to another, get 200,000 frames of the third, *pick up*. Its word and its goal are new
# to them, its acts are not; each goes on learning by its own clocks (condition *shift*). The number is the mean success
# on held-out levels in these frames. **Before you look:** who is ahead? And would being ahead be *faster* learning?

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
study_table({1}, {"shift"})

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
study_curves("shift", ["rim", "meta-rim", "lstm"])

# %% [markdown] slideshow={"slide_type": "subslide"}
# An LSTM is ahead of a RIM. Whether Meta-RIM is, too, five seeds leave *undecided*: it is in four of five pairs, by
# 0.02, 0.04, 0.29 and 0.44. That is the best sign for a slow clock in these worlds, so look for what else it could be.
# One thing is in the picture: **where the curves begin.** Before its first frame of the new task Meta-RIM solves 32 of
# 100 levels, the RIM 20, the LSTM 37. Over all fifteen runs, who begins higher has the larger area (correlation 0.94).
# And who begins low has often not learned the old tasks: in the two pairs of 0.29 and 0.44, the RIM was behind on *put
# next* already (87 and 4 of 100 levels, against 96 and 100). So what is seen is first of all agents that *know* more,
# not agents that *learn* faster. To tell the two apart, one would have to stop all of them at the same success. (How
# many frames each has then used is a result as well.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Which part of attention must be slow?
#
# Claim 13 is ours. The small table above hinted that attention does harm when it learns as fast as the modules. If so,
# is it the **queries**, the **keys**, the **values**, or **communication**? One clock, everything at the rate where the
# hint came from (2e-3); *slow* means a tenth of that, for all of attention or for one part. First the question itself,
# then one part alone against all of the rest. These runs were made on a GPU, with 1,024 worlds: as many frames as
# above, a quarter of the updates. **Before you look:** which part do you suspect?

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
study_table({13}, {"mix"})

# %% [markdown] slideshow={"slide_type": "subslide"}
# Read the first line first. Slow attention is not ahead of fast attention: the interval contains 0, and what harm there
# could be is less than the differences between seeds. Where the whole does no harm that can be seen, no part can be
# found guilty, and none is. So the hint of two seeds did not survive five fresh ones, on larger batches. That is what
# usually becomes of hints; it is why the rule asks for five. (And how does that go with claim 3, where a low rate
# looked good? There it was compared with other settings, in other runs. Two true sentences need not add up to a story.)
#
# (Two settings have four runs. The machine's time was up a few seconds before the fifth; by the rule they decide
# nothing, whatever their numbers.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# Open [the exercises](../exercises/06_fast_and_slow.ipynb): two clocks (6.1), a fast update (6.2), a slow update
# (6.3), whose rate (6.4), the gradient through adaptation (6.5, the hardest of the course), slow clock or low rate
# (6.6). Under two hours for all.
#
# Then try, each a few seconds, and say first what you expect:
#
# 1. `learn("slow clock", world="nothing")`: there is one task for ever. What has a slow clock to offer?
# 2. `learn("slow clock", updates=5)`: tasks too short to adapt to.
# 3. `learn("slow clock", noise=3.0)`: when can attention no longer tell?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# Answer aloud, then unfold.
#
# 1. Name the three numbers that make a clock. Which of them does a low rate change?
#    <details><summary>answer</summary>Beat, span, rate. A low rate changes the last alone: attention still looks at every
#    moment, and on the short span.</details>
# 2. On a tick of the slow clock the gradients of the modules are set to 0, and one Adam moves all. What goes wrong?
#    <details><summary>answer</summary>The modules move all the same, by their momentum, and Adam's means decay. Left out of the
#    update means: bit for bit.</details>
# 3. In a world in which *nothing* stays from task to task, what can slow attention learn?
#    <details><summary>answer</summary>Nothing that helps. Slow parameters can hold only what stays true; that something
#    does is an assumption about the world, not a property of the network.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **Long spans.** Meta-RIM's slow clock also sees more context. In the miniature there is no time, so that could not
#   help; in worlds it could explain everything. [Lesson 07](07_reading_results_critically.ipynb) takes that apart.
# - **Is this meta-learning?** In the sense of "learning what makes learning faster", the miniature's attention did
#   that. Whether one wants the word where nothing ever adapts to a task by itself (`online`), people differ.
# - **Two-time-scale training elsewhere.** GANs, actor and critic: there, two rates serve *convergence*. It is another
#   argument.
# - **Parts of attention on a clock of their own.** Above they had rates of their own, which is less.
# - **Per-task adaptation in worlds**, where the modules *have* adapted when attention is updated:
#   `meta-rim-per-task`. By the hypothesis above that is where to look; nobody has yet.
#
# *Further reading.* Finn et al. 2017, [MAML](https://arxiv.org/abs/1703.03400): the gradient through adaptation, in
# its plainest form. Raghu et al. 2020, [ANIL](https://arxiv.org/abs/1909.09157): what if only the last layer adapts?
# The same split as here, found from the other side. · Before: [lesson 05](05_catastrophic_forgetting.ipynb). Next:
# [lesson 07](07_reading_results_critically.ipynb).
