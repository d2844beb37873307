# %% [markdown] slideshow={"slide_type": "slide"}
# # 00 · Start here
#
# **What will I be able to explain at the end?**
#
# This course takes apart one idea: an agent whose network is cut into modules that *compete for input*, and whose
# modules *learn fast* while the attention that picks among them *learns slowly*. At the end you will be able to
#
# - say why an agent that sees only part of its world needs memory, and train one;
# - write, from its equations, a network of *recurrent independent mechanisms* (RIM);
# - measure catastrophic forgetting instead of talking about it;
# - say what changes when parts of one network learn on different clocks (*Meta-RIM*), and what does not;
# - read results about all this without believing them too early, your own included.
#
# This first lesson takes 15 minutes, reading included. You check your set-up, play the task yourself, and watch an agent play it.
# In Jupyter, **Shift + Enter** runs a cell and goes on to the next.

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Timing, predictions, a 10-minute and a 50-minute path: [the guide to this lesson](guides/00_start_here.md). Everything
# runs from shipped files and fixed seeds, without a network.
# </details>

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Is everything there?
#
# Run this cell. It should say *yes* on every line.

# %% slideshow={"slide_type": "skip"}
from metarim_lite.course.setup_check import setup_check

ready = setup_check()

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Play it yourself
#
# A small room, a few objects, and a mission in words. The agent is the red triangle. To *go to* a thing is to stand next
# to it and face it: *left*, *forward* and *right* are all that you need. Press the buttons.
#
# You have an unfair advantage: you see *the world*, the whole room. **The agent sees only the other picture**: 7 × 7 cells
# in front of it. There it is the triangle marked *you*, and always points up; grey cells with a slanting line are walls, and “?” is
# what it cannot see. Play a second level (press *new level*), and look at this picture alone.
#
# Reward comes once, when the mission is done, and shrinks with the steps you took: 1 − 0.9 · steps / limit. Here the
# limit is 64 steps.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
import metarim_lite as ml

ml.Stepper("BabyAI-GoToLocal-v0", seed=3)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict, then watch
#
# Below, an agent plays a level that it never met in training. Its memory is a RIM: six modules, of which exactly
# four are *active* at each step. The other two keep their state untouched.
#
# Before you look: **which four will be active?**
#
# - **a** The same four from the first step to the last.
# - **b** The set changes now and then.
# - **c** The set changes at every step.

# %% slideshow={"slide_type": "fragment"}
from metarim_lite.course import predict

my_prediction = predict("", among="abc")  # your letter between the quotes

# %% slideshow={"slide_type": "skip"}
agent = ml.load_agent("meta-rim-gotolocal")  # comes with the package
# a level that was not trained on
bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=[1_000_017])
trace = ml.Trace.record(agent, bank, level=0, seed=0)

print("mission:       ", trace.mission)
print("accomplished:  ", trace.success)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
ml.XRay(trace)

# %% [markdown] slideshow={"slide_type": "subslide"}
# **How to read it.** Press *▶ play*, *next change*, or drag the slider. At each step,
#
# 1. the modules *compete for the input*. A module's bar says which share of its *attention* the input gets; the rest
#    goes to *null*, a blank. The four with the least attention on null become active;
# 2. the active modules *communicate*: they read from all modules. The inactive ones keep their state;
# 3. the agent *acts*: it draws one of seven actions, with the probabilities shown.
#
# The lit cells of the room are what the agent sees. The strip at the bottom shows the whole episode: who was active when, and
# above it the *value*, the reward that the agent expects.
#
# *The picture in words: the line under the slider says for each step which modules are active and what the agent does.*

# %%
active = trace.active  # bool [T, N]
changed = (active[1:] != active[:-1]).any(axis=1)  # [T-1]: another set than the step before?
my_prediction.happened("a" if not changed.any() else "c" if changed.all() else "b")
print("four are active, every step:", bool((active.sum(axis=1) == 4).all()))

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Did you see modules that are *active* although they take hardly anything of the input? Exactly four must be active, so
# when fewer want the input, the least unwilling fill the places. They still update their state and still read
# from the others.
#
# One episode proves nothing about all episodes, and a module that is active has not thereby *specialised* in
# anything. Whether modules divide the work is a question with an answer, and the answer needs many episodes and
# something to compare with. Lesson 07 does it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The way from here
#
# | lesson | question | you build | minutes |
# |---|---|---|---|
# | **00 start here** | what will I be able to explain at the end? | – | 15 |
# | [01 worlds and missions](01_worlds_and_missions.ipynb) | why does this agent need memory? | what it sees; its reward; a policy by hand | 35 + 65 |
# | [02 recurrent controllers](02_recurrent_controllers.ipynb) | how does a recurrent agent learn from reward? | an LSTM's step; advantages; the clipped loss | 40 + 85 |
# | [03 attention bottlenecks](03_attention_bottlenecks.ipynb) | what does it mean to compete for input? | the null slot; the k best; communication | 40 + 70 |
# | [04 recurrent independent mechanisms](04_recurrent_independent_mechanisms.ipynb) | why should independent modules generalise? | a whole RIM; three mended bugs | 45 + 105 |
# | [05 catastrophic forgetting](05_catastrophic_forgetting.ipynb) | what is it, and how is it measured? | forgetting and transfer; two yardsticks | 45 + 65 |
# | [06 fast and slow](06_fast_and_slow.ipynb) | what changes when parts of one network learn on different clocks? | the fast and the slow update; a gradient through adaptation | 50 + 115 |
# | [07 reading results critically](07_reading_results_critically.ipynb) | do you believe it? | intervals; a measure of specialisation | 50 + 80 |
# | [08 your own experiment](08_your_own_experiment.ipynb) | yours | an experiment, and a page about it | 25 + an evening |
#
# Minutes: the lesson + its exercises. Each lesson stands on those before it; if your time is short, take 00, 03, 04, 06.
# Lessons are in `notebooks/`, exercises in `exercises/`, and solutions in `solutions/` for when you are done. Two pages to
# keep open: [notation](notation.ipynb) and [glossary](glossary.ipynb).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# 1. What does the agent know about the world that lies behind its back?
#    <details><summary>answer</summary>Only what it remembers. Its view is 7 × 7 cells in front of it; anything else
#    has to be carried in its recurrent state.</details>
# 2. What happens to a module's state at a step where it is not active?
#    <details><summary>answer</summary>Nothing: it is kept bit for bit until the module is active again.</details>
# 3. You accomplish a mission in 16 of 64 steps. What is the reward?
#    <details><summary>answer</summary>1 − 0.9 · 16 / 64 = 0.775.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **How the agent was trained**, and whether slow attention helped it. That is lesson 06. A picture of lights is no
#   evidence for it.
# - **How often it fails.** You saw one episode, and we picked it, because most are over too soon to be worth watching.
#   `metarim demo` in a terminal trains such an agent in a few minutes and counts its successes on 1,000 levels that it
#   never met.
# - **What the modules stand for.** We gave them numbers, not names, on purpose.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Your questions have a place
#
# People who read about this method asked eight things, again and again. Most of them need an experiment that nobody had
# published. Each has its place in the course.
#
# | readers asked | where |
# |---|---|
# | A RIM does worse than a plain LSTM here. Did the first paper test too little? | [07](07_reading_results_critically.ipynb), "k, tuned or constant"; [04](04_recurrent_independent_mechanisms.ipynb), "One run is an anecdote" |
# | The slow loop sees a longer context. Is *that* the gain? | [07](07_reading_results_critically.ipynb), "Five things changed at once" |
# | Is a slow clock the same as a low learning rate? | [06](06_fast_and_slow.ipynb), "Predict, then run", and what follows it |
# | Do modules specialise, and in what? | [07](07_reading_results_critically.ipynb), "Do modules specialise?"; a first look in [04](04_recurrent_independent_mechanisms.ipynb), "Second experiment: a transplant" |
# | What *is* catastrophic forgetting, and is it measured? | [05](05_catastrophic_forgetting.ipynb), "Four numbers from nine" and "Which forgetting?" |
# | Is this meta-learning at all? | [06](06_fast_and_slow.ipynb), "The paper's algorithm, and its last line" and "What we left out" |
# | How is it related to mixtures of experts, routing, residual networks? | [03](03_attention_bottlenecks.ipynb), "Connections, and further reading" |
# | Special environments, chosen metrics: how would one check? | [07](07_reading_results_critically.ipynb), "How many runs, and what to say of them"; and then [08](08_your_own_experiment.ipynb) |
