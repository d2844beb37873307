# %% [markdown] slideshow={"slide_type": "slide"}
# # 08 · Your own experiment
#
# **A question of your own.**
#
# This notebook is a template. Copy it, change the cells marked **yours**, and run it from top to bottom. As it stands
# it asks a small question and answers it in under a minute. At the end there is one page that somebody who was not
# there can read and check.
#
# After this lesson you can
#
# - put a question so that the answer may be no;
# - write a method in ten lines, and compare it on several seeds and levels, on a CPU or a GPU;
# - write one page about it that claims no more than the runs show.
#
# About 25 minutes as it stands; an evening with a question of your own. You need
# [lesson 06](06_fast_and_slow.ipynb) for clocks and [lesson 07](07_reading_results_critically.ipynb) for verdicts.
#
# Letters: [notation](notation.ipynb); words: [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
from pathlib import Path

import numpy as np
import torch
from IPython.display import Markdown

import metarim_lite as ml
from metarim_lite.analysis.statistics import stratified_bootstrap
from metarim_lite.analysis.verdicts import RULES, verdict
from metarim_lite.course import predict, show
from metarim_lite.course.figures import COLORS, MARKERS, STYLES, subplots
from metarim_lite.experiments.sweeps import SweepConfig, sweep
from metarim_lite.training import TimeScales
from metarim_lite.training.methods import METHODS, MethodConfig

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A question that can be answered with no
#
# "Are slow encoders better?" cannot: better at what, than what, by how much? Four things make it a question:
#
# | | in this template |
# |---|---|
# | **what differs**, and nothing else | the encoder's clock: fast, or slow |
# | **what is measured** | the area under the curve of success on levels drawn anew |
# | **the smallest difference that matters** | 0.05 |
# | **what would be a no** | the whole interval of the difference lies below 0.05 |
#
# Questions that nobody has answered as far as we know, each a change of a line or two below: does attention have to
# learn at all on *your* level? Does k = 2 of 6 modules learn sooner than k = 4, once both have their best rate? Does
# a Meta-RIM forget less than a RIM, for the same success before (lesson 05)? Does it help to let the slow clock tick
# more seldom later on?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Yours: the question, and the rule before the runs
#
# Write the rule *now*. Who chooses the rule after the runs has chosen the result.

# %% slideshow={"slide_type": "subslide"}
question = "Does a RIM learn sooner if its encoder learns on the slow clock?"
smallest = 0.05  # the smallest difference of areas that would matter to you
rule = RULES["more"].format(smallest=smallest).replace("A", "mine").replace("B", "rim")
print(question)
print(rule)

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among=("supported", "not supported", "undecided"))

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Let each group say its question in one sentence, and let the others say which result would be a no. A question
# without one goes back. "Undecided" is what most small experiments end with; say so before.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Yours: a method in ten lines
#
# A method is a controller and its `TimeScales`: which groups of parameters learn on which clock, at which rate. All
# groups, `encoder`, `modules`, `attention` and `heads`, have to be named once. What you add here, a sweep's processes
# know, too.

# %% slideshow={"slide_type": "subslide"}
METHODS["mine"] = MethodConfig(
    controller="rim",
    timescales=TimeScales(
        fast=("modules", "attention", "heads"),
        slow=("encoder",),
        fast_lr=1e-3,  # as "rim" has it, so that nothing else differs
        slow_lr=5e-4,
    ),
    about="a RIM whose encoder learns on the slow clock",
)
beside = "rim"  # what it is compared with
print("mine:", METHODS["mine"].about)
print(f"{beside}:", METHODS[beside].about)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Yours: how much of it
#
# The sizes here are for trying out that everything runs. Three seeds are too few for an interval to be trusted, and
# one small room is one small room.

# %% slideshow={"slide_type": "subslide"}
folder = Path("runs/my-experiment")  # a new name for every new question
config = SweepConfig(
    methods=(beside, "mine"),
    levels=("BabyAI-GoToObjS4-v0",),
    seeds=(0, 1, 2),
    episodes=100,  # levels that it is judged on at the end
    evaluate_every=5000,
    evaluate_episodes=100,
    base=ml.TrainConfig(
        frames=15_000, num_envs=64, train_levels=1000, report_every=2,
        device="auto",  # a GPU if there is one
    ),
)
print(len(config.runs()), "runs of", f"{config.base.frames:,} steps")

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
done = sweep(config, folder)
print("failed:", done.failures or "none")
Markdown(done.table())

# %% [markdown] slideshow={"slide_type": "subslide"}
# In the table, *IQM* is the interquartile mean of lesson 07, *area* the mean height of a run's curve, and *P(better …)* the
# share of pairs, one run of each method, in which this one has the larger success. *Never*: 90 % were not reached.
#
# The folder keeps everything: each run's config, metrics and agent, and a line for each in `results.jsonl`. Stopped
# in the middle, the same cell goes on where it was. With more seeds it adds them. Another method under the name
# `mine` it refuses: give it another folder.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Look before you count
#
# Every run is a thin line. If one is unlike all others, find out why before you average over it.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
figure, ax = subplots(size=(7, 3.8))
ends = []
for n, name in enumerate(config.methods):
    curves = [line["curve"] for line in done.results if line["method"] == name]
    for curve in curves:
        ax.plot(
            curve["frames"], curve["success"], color=COLORS[n], linestyle=STYLES[n], linewidth=0.8
        )
    mean = np.mean([curve["success"] for curve in curves], axis=0)
    ax.plot(
        curves[0]["frames"], mean, color=COLORS[n], linestyle=STYLES[n], marker=MARKERS[n],
        label=f"{name}, mean",
    )
    ends.append(f"{name} ends at {mean[-1]:.2f} on average")
ax.set(xlabel="steps of training", ylabel="success on levels drawn anew", ylim=(-0.03, 1.03))
ax.legend()
show(figure, f"thin curves, one for each run, and a thick one for each method; {', '.join(ends)}.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The verdict
#
# The rule was written above. Here it is applied, and not one number may change it (exercise 7.5).

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
def areas(name, level):
    """Of every run of a method on a level: mean height of its curve."""
    runs = (line for line in done.results if (line["method"], line["level"]) == (name, level))
    return np.array([line["area"] for line in runs])


def difference(*groups):
    """Mean over levels of mine minus the other; [runs] of mine on each level, then of the other."""
    half = len(groups) // 2
    pairs = zip(groups[:half], groups[half:], strict=True)
    return sum(a.mean(-1) - b.mean(-1) for a, b in pairs) / half


groups = [areas(name, level) for name in ("mine", beside) for level in config.levels]
effect = stratified_bootstrap(difference, *groups, rng=np.random.default_rng(0))
print(f"mine − {beside}: {effect}, with a 95 % interval over {len(config.seeds)} seeds")
found = verdict(effect, smallest)
my_prediction.happened(found)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## One page
#
# Question, rule, what was run, what came out, what it does not show: one page that can be checked, since it holds the
# command of a run. **Yours:** the last paragraph.

# %% slideshow={"slide_type": "subslide"}
not_shown = (
    "One room, so small that most levels it is judged on occur in training, too. The rate of the "
    "slow clock was not tuned. And the encoder took fewer updates than that of the other method: "
    "what a slow clock does, and what fewer updates do, cannot be told apart here."
)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
page = f"""# {question}

**Rule, written before the runs.** {rule}

**What differs.** {METHODS["mine"].about}; beside it {METHODS[beside].about}.

**What came out.** mine − {beside}: {effect} (areas under the curve, 95 % interval over seeds).
**{found.capitalize()}.**

{done.table()}

**What it does not show.** {not_shown}

**How to make it again.** This notebook; one of its runs is

    {done.results[0]["command"]}
"""
print((folder / "page.md").write_text(page, encoding="utf-8"), "letters in", folder / "page.md")

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
Markdown(page)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Make it real
#
# | | to try out | real |
# |---|---|---|
# | seeds | 3 | 10 or more: with fewer than 5 no interval is to be trusted |
# | steps | 15,000 | until the slowest method has stopped rising; on GoToLocal 2 million |
# | levels | one small room | several that differ in *kind*; `levels=("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0")` |
# | rates | as they were found for other methods | tuned for *both* methods, equally long, on other seeds |
# | a control | none | one that has all but the idea: `rim-slow-lr` is to a slow clock what a placebo is to a drug |
#
# How long will it take here? From the speed that the runs above had:

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
speed = min(line["frames_per_second"] for line in done.results)
steps = 10 * 2 * 2 * 2_000_000  # seeds × methods × levels × steps
print(
    f"{steps:,} steps at {speed:,.0f} a second, one run at a time: {steps / speed / 3600:.1f} hours"
)
print("a GPU here?", "yes, and the runs above used it" if torch.cuda.is_available() else "no")

# %% [markdown] slideshow={"slide_type": "subslide"}
# Leave such a sweep to a terminal, where it survives the notebook. In the folder of this one lies `config.toml`, with
# every setting; change it and run `metarim sweep --config runs/my-experiment/config.toml --folder runs/real`. Your
# method has to be known there: put its entry into `metarim_lite/training/methods.py`, where all others are.
#
# On a GPU one run plays thousands of worlds at once: set `num_envs=2048` for both methods, and seeds follow each other. On
# a cluster, `--scheduler` takes a Dask address. (`metarim sweep --help` has both.)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Before you believe it
#
# - **Did both get the same?** Steps, updates, tuning. The table of the page has to say where not.
# - **Would you have published the other result?** If not, the rule was not a rule.
# - **What else differs?** A slow clock means fewer updates *and* longer spans *and* fresh experience. Lesson 07 takes
#   them apart ("Five things changed at once").
# - **How many questions did you ask?** One in twenty comes out well by chance.
# - **Can somebody else make it again?** Give them the page and nothing else, and watch.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# 1. Your interval is [−0.02, 0.11], the smallest difference that matters 0.05. What do you write?
#    <details><summary>answer</summary>"Undecided": neither a difference nor its absence is shown. More seeds may
#    decide it. It is not "no effect".</details>
# 2. Why is the rule written before the runs?
#    <details><summary>answer</summary>Because there are many rules, and after the runs one of them always says what
#    you hoped for.</details>
# 3. "mine" learns sooner than "rim". Name two things besides the idea that could have done it.
#    <details><summary>answer</summary>A rate that suits it better; fewer or longer updates; a lucky handful of seeds;
#    the one level that was tried. Each is a run that you can make.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **A new controller.** `metarim_lite/models/rim.py` reads from top to bottom; override `step` in a subclass, and
#   lesson 04's checks tell you whether it still is a RIM.
# - **A new world.** minigrid generates the levels here; a `LevelBank` takes those that it knows.
# - **Power.** How many seeds you need depends on how much seeds differ: try five, look at their spread, then decide,
#   and make the decisive runs on *other* seeds.
# - **The way back.** If you find something, or find that something here is wrong, tell us.
