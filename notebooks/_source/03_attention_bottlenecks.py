# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 · Attention bottlenecks
#
# **What does it mean to compete for input?**
#
# After this lesson you can
#
# - say why a module needs something *else* to look at before it can ignore the input;
# - compute the attention of N modules over {null, input}, with shapes;
# - tell two softmaxes apart that look alike in code and mean different things;
# - say what choosing k modules protects, what it does not, and which way gradient takes around the choice.
#
# About 40 minutes; the four exercises take another 70. You need PyTorch basics: `softmax`, `einsum`, what `[B, N, H]`
# says. Before: [02 recurrent controllers](02_recurrent_controllers.ipynb). Letters: [notation](notation.ipynb); words:
# [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

import metarim_lite as ml
from metarim_lite.course import predict, show
from metarim_lite.course.figures import COLORS, GREY, MARKERS, STYLES, subplots
from metarim_lite.models import RIM, ControllerState, act

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Six modules, one input
#
# A *recurrent independent mechanism* (RIM) is a recurrent network cut into N modules. Each has its own state
# and its own weights. All of them face the same input.
#
# Suppose every module read the whole input at every step. Then all would be driven by the same signal, and all
# would be corrected by the same error. What would make them different? Little more than where they started.
#
# So a RIM puts a bottleneck in front of the modules. At each step, each module decides **how much of the input
# it takes**. Only the few that want it most go on to change their state.

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Ask before you scroll on: "How would *you* let a module ignore its input?" Two answers come up. *A gate*: fine,
# and in the end this is one. *Set its attention to zero*: a softmax over a single element is always 1. That second
# answer leads straight to the null slot. Two minutes.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The null slot
#
# Attention is a softmax, and a softmax always hands out its whole unit of weight. With the input as the only
# element, the input gets all of it, whatever the module thinks. To ignore the input, a module needs an alternative.
#
# The paper's alternative is **null**: a row of zeros beside the input.
#
# $$X = \begin{pmatrix} 0 \\ x \end{pmatrix}\;[B,2,D]$$
#
# $$K = X W^e\;[B,2,d_k]$$
#
# $$V = X W^v\;[B,2,d_v]$$
#
# $$Q_n = h_n W^q_n\;[B,d_k]$$
#
# $$A_n = \mathrm{softmax}\!\left(Q_n K^\top / \sqrt{d_k}\right) V$$
#
# The softmax runs over the two elements, null and input, for each module by itself. $A_n$ is what module n reads.
#
# In words: module n asks a question, $Q_n$. The input answers with its key. Null answers with the key 0, so its
# score is 0 for everybody. The module compares the two and splits its attention.
#
# *(Equations: Goyal et al., [arXiv 1909.10893](https://arxiv.org/abs/1909.10893), section 2. The letters
# are the same all through this course: B worlds, N modules, H numbers of state $h_n$ in each, D numbers of input x, d_k in
# a key or a query, d_v in a value.)*

# %% [markdown] slideshow={"slide_type": "subslide"}
# With one input, the softmax over two scores $(0, s)$ is something you know already:
#
# $$\frac{e^{s}}{e^{0}+e^{s}} = \sigma(s)$$
#
# The attention bottleneck is a **sigmoid gate whose score is a match** between what the module asks for and
# what the input offers.

# %%
score = torch.tensor([-2.0, 0.0, 2.0])
two_scores = torch.stack([torch.zeros(3), score], dim=-1)  # (3, 2): null, input
print("softmax over {null, input}, weight on input:", two_scores.softmax(-1)[:, 1].numpy().round(3))
print("sigmoid of the score:                       ", score.sigmoid().numpy().round(3))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict, then run
#
# Below are six modules with random weights and random states. Nothing is trained. We take one input vector
# and **turn its strength up**: from ×0 (a blank) to ×4. The states stay fixed.
#
# What happens to the six weights on the input?
#
# - **a** All rise: a stronger input attracts every module.
# - **b** All stay put: only the direction of the input matters.
# - **c** They all start at the same value and then part: some rise, some fall.
#
# Write your answer down *before* you run on. It costs nothing to be wrong here.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abc")  # your letter between the quotes

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Take a show of hands. Most say **a**. It reveals that they read attention as loudness. Ask them what
# a module does whose query points *away* from the input's key.
# </details>

# %% slideshow={"slide_type": "subslide"}
N, H, D = 6, 32, 16
torch.manual_seed(4)
rim = RIM(input_size=D, hidden_size=H, num_modules=N, active=3)
x = torch.randn(D)
h = torch.randn(N, H)

strength = torch.linspace(0, 4, 41)  # each strength is one "world" of the batch: B = 41
inputs = (strength[:, None] * x)[None]  # (B, D) -> (T=1, B, D)
state = ControllerState(h.expand(41, N, H), torch.zeros(41, N, H))

with torch.no_grad():
    _, _, seen = rim(inputs, state)
# (T, B, N) -> (B, N): the weight on the input; the rest lies on null
on_input = seen.input_attention[0]

# %% slideshow={"slide_type": "subslide"}
figure, axes = subplots(size=(7, 4))
for n in range(N):
    axes.plot(strength, on_input[:, n], color=COLORS[n], linestyle=STYLES[n], label=f"module {n}")
axes.axhline(0.5, color=GREY, linestyle="-", linewidth=0.8)
axes.set(
    xlabel="strength of the input", ylabel="attention on the input", ylim=(-0.03, 1.03), xlim=(0, 4)
)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

blank, strong = on_input[0], on_input[-1]
rise, fall = int((strong > blank + 0.01).sum()), int((strong < blank - 0.01).sum())
show(
    figure,
    f"one curve for each of six modules. At strength 0 the lowest is at {blank.min():.1f} and the "
    f"highest at {blank.max():.1f}; as the input grows, {rise} of them rise and {fall} fall.",
)

# %%
my_prediction.happened("a" if rise == N else "b" if rise + fall == 0 else "c")
print("all at one half when blank:", bool((blank == 0.5).all()))

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# It was **c**. Three things to take from the picture:
#
# 1. **The sign of the score is a taste.** A module whose query agrees with the input's key takes the input.
#    One whose query disagrees takes null. The module's *state* sets the query, so its taste changes over time.
# 2. **A blank input cannot be told from null.** All modules sit at exactly one half, and "who wants it most?"
#    has no answer. This is a real trap: in many worlds a black pixel is 0. An encoder with a bias in front of
#    the modules avoids it.
# 3. **Nobody's curve depends on anybody else's.** Competition has not happened yet. It comes with the next step:
#    the k modules with the least attention on null become active, the others keep their state.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Two softmaxes that look alike
#
# One argument, `dim`, decides what a module competes *with*. The paper's softmax runs over {null, input}. The code
# that its authors published for Atari runs over the **modules**. Both are in our `RIM`, as a switch.
#
# A question before you run: with each of the two, what is the total attention on the input, summed over
# the six modules? Can it be 0? Can it be 6?

# %% slideshow={"slide_type": "subslide"}
totals = {}
for over in ("null", "modules"):
    torch.manual_seed(4)  # the same weights both times
    variant = RIM(input_size=D, hidden_size=H, num_modules=N, active=3, softmax_over=over)
    with torch.no_grad():
        _, _, seen = variant(inputs, state)
    totals[over] = seen.input_attention[0].sum(-1)  # (B, N) -> (B,)
    changes = bool((totals[over] - totals[over][0]).abs().max() > 0.1)
    print(
        f"softmax over {over:8} total on a blank input: {totals[over][0]:.1f}   changes with "
        f"strength: {changes}"
    )

# %% [markdown] tags=["reveals"]
# Over **{null, input}**, each module has a unit of its own: the total may be anything between 0 and 6, and six
# modules can all want the same input or all ignore it. Over the **modules**, there is one unit to share: the total is
# always 1, a module gets more only if another gets less, and nobody can say "this is not for any of us".
#
# Neither is wrong. They are different models, and a line of code that mixes them up will still run and still
# learn something. That is what makes it worth checking.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## The k best
#
# Now the competition. Of the N modules, the **k** with the *least* attention on null are *active*; where some tie, the
# lower index goes first. An active module feeds what it read to its own cell. An inactive one keeps its state, to the bit.
#
# This is a *hard* selection: a yes or a no. A *soft* one would let every module write a little, as much as it
# attends to the input: $h_n \leftarrow (1 - w_n)\,h_n + w_n\,\tilde h_n$, with $w_n$ its attention on the input and
# $\tilde h_n$ what the cell made of the input.
#
# Does the hard choice protect a memory? Six modules with random weights, k = 3, random states. We feed **ten random
# inputs**, one after another. How many of the six modules still hold the state they began with? (We also measure how
# *alike* a state still is to the first one: the cosine of the two, 1 for the same direction.)
#
# - **half** About half: three were left alone, and keep it.
# - **few** Fewer than one in ten keep it.
# - **most** More than three in four: those that lost at first go on losing.

# %% slideshow={"slide_type": "fragment"}
second_prediction = predict("", among=("half", "few", "most"))  # your word between the quotes

# %% slideshow={"slide_type": "subslide"}
T, B = 20, 128
torch.manual_seed(0)
hard = RIM(input_size=D, hidden_size=H, num_modules=N, active=3)
all_active = RIM(input_size=D, hidden_size=H, num_modules=N, active=N)
all_active.load_state_dict(hard.state_dict())  # the same weights
first = ControllerState(torch.randn(B, N, H), torch.randn(B, N, H))  # h, c
chosen, mixed = first, first
kept, alike = [1.0], {"hard": [1.0], "soft": [1.0]}

with torch.no_grad():
    for x_t in torch.randn(T, 1, B, D):
        _, chosen, _ = hard(x_t, chosen)
        _, candidate, seen = all_active(x_t, mixed)  # what every cell would make of it
        w = seen.input_attention[0].unsqueeze(-1)  # (B, N, 1)
        mixed = ControllerState(*((1 - w) * old + w * new for old, new in zip(mixed, candidate)))
        kept.append((chosen.h == first.h).all(-1).float().mean().item())
        for name, now in (("hard", chosen), ("soft", mixed)):
            alike[name].append(torch.cosine_similarity(now.h, first.h, dim=-1).mean().item())

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
figure, axes = subplots(size=(7, 4))
axes.plot(
    kept, color=COLORS[0], linestyle=STYLES[0],
    label="hard: share of modules with their first state",
)
for i, name in enumerate(alike, start=1):
    axes.plot(
        alike[name], color=COLORS[i], linestyle=STYLES[i],
        label=f"{name}: likeness to the first state",
    )
axes.set(xlabel="inputs so far", xticks=range(0, T + 1, 5))
axes.set(ylabel="share, or cosine of h and the first h", ylim=(-0.05, 1.05))
axes.legend()
show(
    figure,
    f"three curves that begin at 1. After one input, {kept[1]:.0%} of the modules have their first "
    f"state under hard selection; after five {kept[5]:.0%}, after ten {kept[10]:.1%}. The mean "
    f"likeness is {alike['hard'][3]:.2f} (hard) and {alike['soft'][3]:.2f} (soft) after three "
    "inputs.",
)

# %%
second_prediction.happened("few" if kept[10] < 0.1 else "half" if kept[10] < 0.75 else "most")
kept_soft = bool((mixed.h == first.h).all(-1).any())
print("under soft selection, does any module keep its state to the bit?", kept_soft)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Half are left alone *at each step*, but not the same half: a state decides what it looks for, and the winners' states
# have just changed. With random tastes that is ½ · ½ · ½ …, and after ten inputs hardly any module is untouched (in each of
# the five seeds that we tried, fewer than one in a hundred).
#
# So the choice of k protects what lies in modules that **go on losing**. (The two curves of hard selection lie on one another:
# a module that has won once has hardly any likeness left to its first state.) Under soft selection nothing is ever left as
# it was, though for a few steps it stays *more alike*. Whether a trained RIM has modules that go on losing is a
# question about what it learned, and [lesson 04](04_recurrent_independent_mechanisms.ipynb) looks.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Turn off the light
#
# Enough random weights. The agent of lesson 00 was trained; six modules, k = 4. We let it play for five steps on
# 128 levels that it never met. Then, for one look, its picture goes **black**. What do its modules do, compared with
# the picture that is really there? Add up their attention on the input, as before.
#
# - **less** The total falls by half or more: there is nothing to see, so they turn to null.
# - **same** It stays about as it was (within a quarter).
# - **more** It rises by more than a quarter: black is new, and news attracts.

# %% slideshow={"slide_type": "fragment"}
third_prediction = predict("", among=("less", "same", "more"))  # your word between the quotes

# %% slideshow={"slide_type": "subslide"}
agent = ml.load_agent("meta-rim-gotolocal")
# levels that it was not trained on
bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(1_000_000, 1_000_128))
worlds = ml.GridWorlds(bank, num_envs=128, seed=0)
observation, state = worlds.reset(levels=torch.arange(128)), None
resets = torch.ones(128, dtype=torch.bool)
generator = torch.Generator().manual_seed(0)
for _ in range(5):
    with torch.no_grad():
        out, state = act(agent, observation, state, resets)
    step = worlds.step(out.logits.softmax(-1).multinomial(1, generator=generator)[:, 0])
    observation, resets = step.observation, step.terminated | step.truncated


def look(image):
    """Attention on the input and active set, [B, N] each, had this been the picture."""
    # (T=1, B, ...)
    seen = ml.Observation(*(part.unsqueeze(0) for part in observation._replace(image=image)))
    with torch.no_grad():
        out, _ = agent(seen, state, resets.unsqueeze(0), record=True)
    return out.diagnostics.input_attention[0], out.diagnostics.active[0]


pictures = {
    "the real one": observation.image,  # uint8 (B, 7, 7, 3)
    "black": torch.zeros_like(observation.image),
    "another world's": observation.image.roll(1, dims=0),
}
looks = {name: look(image) for name, image in pictures.items()}

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
figure, axes = subplots(size=(7, 4))
for i, (name, (weight, _)) in enumerate(looks.items()):
    spread = 1.96 * weight.std(0) / len(weight) ** 0.5  # (N,): 95 % of the mean over 128 levels
    place = torch.arange(6) + 0.15 * (i - 1)
    look_of = {"fmt": MARKERS[i], "color": COLORS[i], "linestyle": "", "capsize": 3}
    axes.errorbar(place, weight.mean(0), yerr=spread, label=name, **look_of)
axes.set(xlabel="module", ylabel="attention on the input", ylim=(-0.05, 1.05), xticks=range(6))
axes.legend(title="picture", loc="center left", bbox_to_anchor=(1, 0.5))
total = {name: weight.sum(1).mean().item() for name, (weight, _) in looks.items()}
others = total["another world's"]
turn = looks["black"][0].mean(0) - looks["the real one"][0].mean(0)  # (N,)
show(
    figure,
    "three marks for each module, with intervals. Summed over modules: "
    f"{total['the real one']:.2f} with the real picture, "
    f"{total['black']:.2f} with black, {others:.2f} with another world's picture. From "
    f"real to black, module {int(turn.argmin())} changes by {turn.min():+.2f}, and module "
    f"{int(turn.argmax())} by {turn.max():+.2f}.",
)

# %%
ratio = total["black"] / total["the real one"]
third_prediction.happened("less" if ratio <= 0.5 else "more" if ratio > 1.25 else "same")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# "Nothing to see" is not nothing. The encoder has biases, and the mission in words goes in as well, so black makes an
# input vector like any other, with a key of its own. What a module does with it is what its training left in its
# query: one turns away, another takes more. Null is not "darkness"; it is *not asking*.

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A trap.** In how many worlds is another *set* of modules active when the light goes out? And is that due to the dark?
# Say what you would compare it with, before you run this.

# %%
real = looks["the real one"][1]
changed = {
    name: (active != real).any(1).float().mean().item() for name, (_, active) in looks.items()
}
print("another set in most worlds, black:          ", changed["black"] > 0.5)
other = changed["another world's"]
print("another set in most worlds, another world's:", other > 0.5)
alike_enough = abs(changed["black"] - other) < 0.1
print("do the two differ by less than a tenth?     ", alike_enough)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# The set changes in most worlds, and just as often when the picture is a perfectly good one from elsewhere. (We looked at
# steps 2, 5, 8 and 11: in 72 to 74 % of 128 worlds in the dark, in 69 to 76 % with another's picture.) "The modules
# react to darkness" would have been a fine caption for the first number alone. *Any* other picture moves the set: the
# fourth place goes to whoever is least unwilling, by a hair. Without the control, there is no finding.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What the losers are told
#
# After the update, modules talk. An active module asks, $Q_n = h_n C^q_n$, and reads from the states of **all** modules,
# by attention once more, over N modules in place of {null, input}. It adds what it heard to its state. An inactive
# module asks nobody, but may be read.
#
# And gradient? The choice of the k has no derivative. A module that lost was not used, so nothing tells it that it
# should have won. What reaches it is through the one door that is open: others read its state. Which parameters of a
# loser receive gradient at a step is exercise 3.3, and worth five minutes with paper.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# Open [the exercises](../exercises/03_attention_bottlenecks.ipynb): `input_attention`, `active_set`, `gradient_paths`,
# `communicate`. Their checks tell you which mistake they think you made. Then come back for the questions below, and go on
# to [lesson 04](04_recurrent_independent_mechanisms.ipynb).
#
# Your points are counted as in lesson 01: `metarim check` in a terminal, or in a new notebook beside that one
#
# ```
# import sys
# !{sys.executable} -m metarim_lite check 03_attention_bottlenecks.ipynb
# ```

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Timing, wrong answers and what they reveal, a 10-minute and a 50-minute path:
# [the guide to this lesson](guides/03_attention_bottlenecks.md). Nothing here depends on earlier runs or on a network.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# Answer aloud, then unfold.
#
# 1. Why is a null element needed at all?
#    <details><summary>answer</summary>A softmax hands out exactly one unit of weight. Without an alternative, the
#    only element gets all of it. Null lets a module put its weight elsewhere.</details>
# 2. Two modules have scores 1.5 and −0.5 for the input. Which of them attends more to null, and how much?
#    <details><summary>answer</summary>The second: its weight on null is σ(0.5) ≈ 0.62. The first one's is
#    σ(−1.5) ≈ 0.18.</details>
# 3. You read in someone's code `scores.softmax(dim=1)` with `scores` of shape [B, N, 2]. What do the modules do?
#    <details><summary>answer</summary>They share: for each element, the weights sum to 1 over the modules. It
#    is not the paper's bottleneck.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **Several heads, several inputs.** With more than one real element the sigmoid becomes a softmax again.
# - **A bias in the query.** Our `RIM` has one and the paper's equation has none. At the start of an episode h = 0;
#   without a bias all queries would be 0, and all modules would tie. *Our choice, not the paper's.*
# - **Dropout** of 0.1 on the attention, which the paper uses. We do not: the policy that plays should be the one that
#   learns.
# - **Other ways to choose.** Noise on the scores, a straight-through gradient, a loss that spreads the work: mixtures of
#   experts and transformers with routing have tried them. See below.
# - **Whether it helps.** Nothing on this page shows that competing modules generalise better.
#   [Lesson 04](04_recurrent_independent_mechanisms.ipynb) asks.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Connections, and further reading
#
# - **Transformers with routing, mixtures of experts.** There, too, a few of many parts are chosen for each input, by a
#   score, and gradient reaches only those chosen. But their parts keep no state: who loses forgets nothing, because there
#   is nothing to forget. In a RIM, losing *is* remembering.
# - **Residual networks.** An inactive module is a residual connection with nothing added: the state goes through, and so
#   does gradient, undiminished.
# - **Persistent data structures.** A new version that shares all unchanged parts with the old one: that is a RIM's state
#   after a step. The likeness helps to picture it; we know of no algorithm made of it.
#
# Read: [Goyal et al. 2019](https://arxiv.org/abs/1909.10893), section 2, for what this lesson took apart, and its
# appendix for the choices that the equations leave open. [Shazeer et al. 2017](https://arxiv.org/abs/1701.06538), the
# mixture-of-experts layer: read how much of it is about keeping all experts busy, which a RIM does not even try.
