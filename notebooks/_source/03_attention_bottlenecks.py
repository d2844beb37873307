# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 · Attention bottlenecks
#
# **What does it mean to compete for input?**
#
# After this lesson you can
#
# - say why a module needs something *else* to look at before it can ignore the input;
# - compute the attention of N modules over {null, input}, with shapes;
# - tell two softmaxes apart that look alike in code and mean different things.
#
# About 30 minutes, the exercise included. You need PyTorch basics: `softmax`, `einsum`, what `[B, N, H]` says.

# %% slideshow={"slide_type": "skip"}
import matplotlib.pyplot as plt
import torch

from metarim_lite.analysis.plots import COLORS, STYLES
from metarim_lite.course import predict
from metarim_lite.models import RIM, ControllerState

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
# $$X = \begin{pmatrix} 0 \\ x \end{pmatrix}\;[B,2,D] \qquad K = X W^e\;[B,2,d_k] \qquad V = X W^v\;[B,2,d_v]
# \qquad Q_n = h_n W^q_n\;[B,d_k]$$
#
# $$A_n = \mathrm{softmax}\!\left(\frac{Q_n K^\top}{\sqrt{d_k}}\right) V
# \qquad \text{the softmax runs over the two elements, null and input, for each module by itself}$$
#
# In words: module n asks a question, $Q_n$. The input answers with its key. Null answers with the key 0, so its
# score is 0 for everybody. The module compares the two and splits its attention.
#
# *(Equations: Goyal et al., [arXiv 1909.10893](https://arxiv.org/abs/1909.10893), section 2. The letters
# are the same all through this course: B worlds, N modules, H numbers of state in each, D numbers of input.)*

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
on_input = seen.input_attention[0]  # (T, B, N) -> (B, N): the weight on the input; the rest lies on null

# %% slideshow={"slide_type": "subslide"}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for n in range(N):
    axes.plot(strength, on_input[:, n], color=COLORS[n], linestyle=STYLES[n], linewidth=2, label=f"module {n}")
axes.axhline(0.5, color="#999999", linewidth=0.8)
axes.set(xlabel="strength of the input", ylabel="attention on the input", ylim=(-0.03, 1.03), xlim=(0, 4))
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown] tags=["reveals"]
# *The figure in words: six curves start together at one half where the input is blank. As the input grows,
# some climb towards 1 and the others sink towards 0.*

# %%
blank, strong = on_input[0], on_input[-1]
rise, fall = int((strong > blank + 0.01).sum()), int((strong < blank - 0.01).sum())
my_prediction.happened("a" if rise == N else "b" if rise + fall == 0 else "c")
print("all at one half when blank:", bool((blank == 0.5).all()))
print("modules that rise:", rise, "of", N)
print("modules that fall:", fall, "of", N)

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
    print(f"softmax over {over:8} total on a blank input: {totals[over][0]:.1f}   changes with strength: {changes}")

# %% [markdown] tags=["reveals"]
# Over **{null, input}**, each module has a unit of its own: the total may be anything between 0 and 6, and six
# modules can all want the same input or all ignore it. Over the **modules**, there is one unit to share: the total is
# always 1, a module gets more only if another gets less, and nobody can say "this is not for any of us".
#
# Neither is wrong. They are different models, and a line of code that mixes them up will still run and still
# learn something. That is what makes it worth checking.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# Open [the exercise](../exercises/03_attention_bottlenecks.ipynb): write `input_attention` yourself, about
# 20 minutes. Its check tells you which mistake it thinks you made. Then come back for the questions below.
#
# From a terminal, `metarim check exercises/03_attention_bottlenecks.ipynb` gives you your points.

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# *10-minute path:* the null slot, the prediction, the figure. *50-minute path:* all of it with the exercise.
#
# Wrong answers you will see: softmax over the modules (reveals: "competition" was heard as "sharing"), the missing
# √d_k, the forgotten null element (all weights 1), one query for all modules (reveals: they think of one
# attention with six outputs). The check names each.
#
# If a figure does not show: run the first code cell, then this section again. Nothing here depends on
# earlier runs or on a network.
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
# - **The choice of the k active modules**, where gradient flows through it, and **communication** between
#   modules. This version of the lesson stops before them.
# - **Several heads, several inputs.** With more than one real element the sigmoid becomes a softmax again.
# - **A bias in the query.** Our `RIM` has one and the paper's equation has none. At the start of an episode h = 0;
#   without a bias all queries would be 0, and all modules would tie. *Our choice, not the paper's.*
# - **Dropout** of 0.1 on the attention, which the paper uses. We do not: the policy that plays should be the one that
#   learns.
# - **Whether it helps.** Nothing on this page shows that competing modules generalise better. Lesson 04 asks.
