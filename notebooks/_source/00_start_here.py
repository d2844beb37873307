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
# This first lesson takes 15 minutes. You check your set-up, play the task yourself, and watch an agent play it.
# In Jupyter, **Shift + Enter** runs a cell and goes on to the next.

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# *Live, 10 minutes:* set-up check beforehand; let one student dictate the moves of the game (3 minutes); the
# prediction with a show of hands (1 minute); the agent (5 minutes). Everything runs from shipped files and fixed
# seeds, without a network. If a widget does not appear, the still picture under the cell shows the first step.
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
# A small room, a few objects, and a mission in words. The agent is the red triangle. Press the buttons.
#
# You have an unfair advantage: you see the whole room, on the left. **The agent sees only the picture on the
# right**: 7 × 7 cells in front of it. Try a second level (press *new level*) looking at the right picture alone.
#
# Reward comes once, when the mission is done, and shrinks with the steps you took: 1 − 0.9 · steps / limit.

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
bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=[1_000_017])  # a level that was not trained on
trace = ml.Trace.record(agent, bank, level=0, seed=0)

print("mission:       ", trace.mission)
print("accomplished:  ", trace.success)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
ml.XRay(trace)

# %% [markdown] slideshow={"slide_type": "subslide"}
# **How to read it.** Press *▶ play*, *next change*, or drag the slider. At each step,
#
# 1. the modules *compete for the input*. A module's bar says how much of the input it takes; the rest of its attention
#    goes to *null*, a blank. The four with the least attention on null become active;
# 2. the active modules *communicate*: they read from all modules. The inactive ones keep their state;
# 3. the agent *acts*: it draws one of seven actions, with the probabilities shown.
#
# The lit cells of the room are what the agent sees. The strip below shows the whole episode: who was active when.
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
# | lesson | question |
# |---|---|
# | **00 start here** | what will I be able to explain at the end? |
# | 01 worlds and missions | why does this agent need memory? |
# | 02 recurrent controllers | how does a recurrent agent learn from reward? |
# | **[03 attention bottlenecks](03_attention_bottlenecks.ipynb)** | what does it mean to compete for input? |
# | **[04 recurrent independent mechanisms](04_recurrent_independent_mechanisms.ipynb)** | why should independent modules generalise? |
# | 05 catastrophic forgetting | what is it, and how is it measured? |
# | 06 fast and slow | what changes when parts of one network learn on different clocks? |
# | 07 reading results critically | do you believe it? |
# | 08 your own experiment | yours |
#
# Lessons in bold are there to be opened; the others are being written. Each lesson has a notebook in `notebooks/`,
# exercises in `exercises/`, and solutions in `solutions/` for when you are done.

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
