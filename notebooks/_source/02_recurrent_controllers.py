# %% [markdown] slideshow={"slide_type": "slide"}
# # 02 · Recurrent controllers
#
# **How does a recurrent agent learn from reward?**
#
# After this lesson you can
#
# - say what an LSTM carries from step to step, and when it must be cleared;
# - say which step of an episode gets how much of the reward, and how far one update may go;
# - train an agent from nothing, in a dozen lines, and say what its success does *not* show.
#
# About 40 minutes to read and run, and 85 minutes of exercises. You need [lesson 01](01_worlds_and_missions.ipynb), and
# from PyTorch `backward()` and an optimizer. Letters: [notation](notation.ipynb); words: [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

import metarim_lite as ml
from metarim_lite.course import predict, show
from metarim_lite.course.figures import COLORS, GREY, MARKERS, STYLES, subplots
from metarim_lite.models import ControllerState
from metarim_lite.training.ppo import PPOConfig, cut_into_spans, gae, minibatch_rows, ppo_loss
from metarim_lite.training.rollouts import Player

torch.set_num_threads(1)  # in networks this small, several threads would only wait for each other

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A memory that is carried along
#
# At step t the agent has its input $x_t$ (view, compass and mission, made into D numbers) and what it carries from the
# step before: a hidden state $h$ and a cell $c$, H numbers each. From $x_t$ and $h$ come 4H numbers, cut into the four parts
# i, f, g and o, of H each (W and b are what is learned):
#
# $$(i, f, g, o) = x_t W^x + h W^h + b$$
#
# Three of them go through σ, which gives a share between 0 and 1: these are the *gates*. The new cell and the new state:
#
# $$c' = \sigma(f)\, c + \sigma(i) \tanh(g)$$
#
# $$h' = \sigma(o) \tanh(c')$$
#
# In words: keep a share σ(f) of what is in the cell; write σ(i) of something new, g; show σ(o) of it. The policy (which
# action?) and the value (how much reward is still to come?) are computed from $h'$.
#
# How long does a cell keep a number, if nothing is written to it? That depends on the forget gate σ(f) alone.

# %% slideshow={"slide_type": "subslide"}
steps = torch.arange(65)
figure, ax = subplots(size=(7, 3.6))
for n, gate in enumerate((0.5, 0.9, 0.99, 1.0)):
    ax.plot(steps, gate**steps, color=COLORS[n], linestyle=STYLES[n], label=f"σ(f) = {gate}")
ax.set(xlabel="steps since it was written", ylabel="share that is left in the cell")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "four curves that fall from 1. With a gate of 0.5 hardly anything is left after 5 steps; with "
    f"0.9, {0.9**20:.0%} after 20 steps; with 0.99, {0.99**64:.0%} at the end of an episode of 64 "
    "steps; with 1, all.",
)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Episodes begin in the middle
#
# B worlds are played side by side for T steps: a *rollout*. Whoever is done begins the next episode at once, so episodes
# begin at different steps in different worlds. A memory must not leak from one to the next: **where an episode begins, the state
# is cleared before the step.** `resets[t, b]` says where.

# %% slideshow={"slide_type": "subslide"}
# One room, one thing: "go to the red ball". The held-out seeds are never trained on.
train = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(2000))
held_out = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(1_000_000, 1_000_500))

torch.manual_seed(0)
agent = ml.Agent(ml.AgentConfig(controller="lstm"))  # its parameters are random still
player = Player(ml.GridWorlds(train, num_envs=8), agent, torch.Generator().manual_seed(3))
rollout = player.collect(agent, T=120, span=20)

figure, ax = subplots(size=(8, 3))
ax.imshow(rollout.resets.T, cmap="Blues", aspect="auto", interpolation="nearest", vmax=1.5)
for t, b in (rollout.rewards > 0).nonzero().tolist():
    ax.text(t, b, "★", ha="center", va="center", color=COLORS[1])
ax.set(xlabel="step t", ylabel="world b", yticks=range(8))
begun, won = int(rollout.resets[1:].sum()), int((rollout.rewards > 0).sum())
show(
    figure,
    "eight rows, one for each world, and 120 steps. A dark cell is a step that begins an episode: "
    f"all of step 0, and {begun} later ones. {won} stars are steps with a reward; the step after "
    "each is dark. Where no star is before a dark cell, time was up.",
)

# %% [markdown] slideshow={"slide_type": "subslide"}
# Does it matter? Take a step that begins an episode. What does the agent say there, if its state is cleared, if it is not,
# and if there never was anything before?

# %%
old = ControllerState(torch.randn(1, 128), torch.randn(1, 128))  # what another episode left
seen = type(rollout.observation)(*(x[:1, :1] for x in rollout.observation))  # (T=1, B=1, …)
with torch.no_grad():
    cleared, _ = agent(seen, old, torch.tensor([[True]]))
    leaking, _ = agent(seen, old, torch.tensor([[False]]))
    fresh, _ = agent(seen, None, torch.tensor([[True]]))
print("cleared, the same as fresh to the bit:", torch.equal(cleared.logits, fresh.logits))
print("not cleared, the same as fresh:       ", torch.equal(leaking.logits, fresh.logits))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Which step earned it?
#
# Reward comes once, at the end. Twelve steps led to it; which of them were good? The agent has a forecast: its *value*
# $V_t$ says, at step t, how much reward it still expects. (The part that computes it is called the *critic*.) The
# *advantage* $A_t$ says how much better it went from step t on than was forecast. It is computed backwards:
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t$$
#
# $$A_t = \delta_t + \gamma\lambda\, A_{t+1}$$
#
# $r_t$ is the reward of step t. $\delta_t$ is the surprise of one step: what came, and is expected now, less what was expected
# before. γ = 0.99 makes soon worth more than late. λ, between 0 and 1, says how far a surprise reaches back.
# (Where the episode ends with step t, nothing behind it counts: $V_{t+1}$ and $A_{t+1}$ are replaced by 0.)
#
# *(Generalised advantage estimation, Schulman et al., [arXiv 1506.02438](https://arxiv.org/abs/1506.02438).)*
#
# **Predict.** Twelve steps, a reward of 0.9 with the last; the critic knows nothing and says 0 everywhere. With **λ = 0**, which
# steps have an advantage that is not 0?
#
# - **a** All twelve, the later ones more.
# - **b** The last one only.
# - **c** None: the critic has to learn first.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abc")  # your letter between the quotes

# %% slideshow={"slide_type": "subslide"}
rewards, values = torch.zeros(12, 1), torch.zeros(12, 1)
dones = torch.zeros(12, 1, dtype=torch.bool)
rewards[11], dones[11] = 0.9, True
figure, ax = subplots(size=(7, 3.6))
advantage = {}
for n, lam in enumerate((0.0, 0.5, 0.95, 1.0)):
    advantage[lam] = gae(rewards, values, dones, torch.zeros(1), gamma=0.99, lam=lam)[:, 0]
    ax.plot(
        range(1, 13), advantage[lam], color=COLORS[n], linestyle=STYLES[n], marker=MARKERS[n],
        label=f"λ = {lam}",
    )
ax.set(xlabel="step", ylabel="advantage", xticks=range(1, 13))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    figure,
    "four rising curves that meet at 0.9 in step 12. With λ = 0 all steps before are at 0; with "
    f"0.5 only the last few are not; with 0.95 the first step has {advantage[0.95][0]:.2f}, with 1 "
    f"it has {advantage[1.0][0]:.2f}.",
)

# %%
earned = int((advantage[0.0] != 0).sum())
my_prediction.happened("a" if earned == 12 else "b" if earned == 1 else "c")

# %% [markdown] tags=["reveals"]
# With λ = 0 a step hears only of its own surprise; step 11 will be told that it was good when the critic has learned that step 12
# is near, then step 10, and so on, one step for each round of learning. With λ = 1 every step gets the whole outcome, luck included.
# We use 0.95.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Not too far at once
#
# The rollout was played by the policy as it *was*. While we learn from it, the policy moves away; after a few updates the
# rollout says little about it. PPO (*proximal policy optimisation*) cuts the reward for moving on. Let π(a) be the
# probability of an action, and $\rho = \pi(a)/\pi_{old}(a)$ the ratio of what it is now to what it was when the action was
# taken. With ε = 0.2, what is to grow is
#
# $$\min\big(\rho A,\; \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon)\, A\big)$$
#
# A question before you run on: an action was **bad**, A = −1, and its probability is already down to 0.7 of what it was. Does PPO go
# on pushing it down? And if it has *risen* to 1.5, by accident?

# %% slideshow={"slide_type": "subslide"}
ratio = torch.linspace(0.4, 1.8, 141)
figure, axes = subplots(1, 2, size=(9, 3.4))
titles = ("a good action, A = 1", "a bad action, A = −1")
for ax, A, title in zip(axes, (1.0, -1.0), titles, strict=True):
    grows = torch.minimum(ratio * A, ratio.clamp(0.8, 1.2) * A)
    ax.plot(ratio, ratio * A, color=GREY, linestyle=":", label="ρ A")
    ax.plot(ratio, grows, color=COLORS[0], linestyle="-", label="with the clip")
    ax.axvline(1.0, color="#bbbbbb", linewidth=0.8)
    ax.set(title=title, xlabel="ratio ρ = π(a) / π_old(a)", ylabel="what grows")
axes[0].legend(loc="lower right")
show(
    figure,
    "two panels. For a good action the curve rises up to a ratio of 1.2 and is flat from there on. "
    "For a bad one it is flat up to 0.8 and falls from there on. Where a curve is flat there is no "
    "gradient.",
)

# %% [markdown] tags=["reveals"]
# At 0.7 the curve for a bad action is flat: no gradient, it is left alone. At 1.5 it is not: the min takes the *more pessimistic*
# of the two, and what went wrong is still corrected. The clip takes away the reward for going further, never the way back.
#
# *(Schulman et al., [arXiv 1707.06347](https://arxiv.org/abs/1707.06347). The loss adds half the squared error of the critic, and a
# small bonus for *entropy*, for how undecided the policy is, so that it does not stop throwing dice too early.)*

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Gradients stop, the memory does not
#
# A rollout of T = 40 steps is cut into *spans* of 20, which learn side by side. Each begins with the state that was stored when it
# was played. So nothing is forgotten; but no gradient passes the cut: an error at step 39 teaches the steps of its own span only.

# %% slideshow={"slide_type": "subslide"}
torch.manual_seed(0)
lstm = ml.LSTM(input_size=8, hidden_size=16)
x = torch.randn(40, 1, 8)  # (T, B, D)
reach, last = {}, {}
for span in (40, 20, 10):
    inputs, state = x.clone().requires_grad_(), None
    for piece in inputs.split(span):
        state = None if state is None else ControllerState(*(s.detach() for s in state))  # the cut
        outputs, state, _ = lstm(piece, state)
    outputs[-1].sum().backward()
    reach[span], last[span] = inputs.grad.norm(dim=-1)[:, 0], outputs[-1].detach()

figure, ax = subplots(size=(7, 3.4))
for n, (span, size) in enumerate(reach.items()):
    there = size > 0
    look = {"color": COLORS[n], "linestyle": STYLES[n], "marker": MARKERS[n], "markersize": 4}
    ax.semilogy(torch.arange(40)[there], size[there], **look, label=f"spans of {span}")
ax.set(xlabel="input of step t", ylabel="gradient of the last output", xlim=(-1, 40))
ax.legend()
show(
    figure,
    "three curves on a scale of powers of ten, which fall together from the last step backwards. "
    "That of spans of 10 ends at step 30, that of spans of 20 at step 20; before, there is no "
    "gradient at all.",
)
print(
    "the last output is the same in all three:",
    all(torch.allclose(last[40], o, atol=1e-6) for o in last.values()),
)

# %% [markdown] tags=["reveals"]
# Look at the scale. Even without a cut, in this untrained LSTM hardly anything reaches back 30 steps: the forget gate shrinks
# gradients as it shrinks what it keeps. So a longer span costs time and may change nothing. Lesson 07 asks whether it does.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## All of it
#
# Play, compute advantages, cut, and make a few careful updates; again and again. This is what `ml.train` does, without its
# bookkeeping. Read it line by line: nothing in it is new by now.

# %% slideshow={"slide_type": "subslide"}
B, T, SPAN = 128, 40, 20


def learn(kind, seed, updates=20):
    """An agent of this kind, learned from nothing; its success on the way, [(frames, success)]."""
    torch.manual_seed(seed)
    agent, config = kind(ml.AgentConfig(controller="lstm")), PPOConfig()
    optimizer = torch.optim.Adam(agent.parameters(), lr=2e-3, eps=1e-5)
    dice = torch.Generator().manual_seed(seed)
    player, curve = Player(ml.GridWorlds(train, B, seed=seed), agent, dice), []
    for update in range(1, updates + 1):
        rollout = player.collect(agent, T, SPAN)  # B worlds, T steps
        # with advantages, SPAN steps of B · T / SPAN sequences
        spans = cut_into_spans(rollout, SPAN, config)
        # twice through all of them, in eight parts
        for rows in minibatch_rows(B * T // SPAN, config, dice):
            loss, _ = ppo_loss(agent, spans.pick(rows), config)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(agent.parameters(), config.max_grad_norm)
            optimizer.step()
        ended = rollout.episodes  # sums over the episodes that count by now
        if ended["count"] > 0:
            curve.append((B * T * update, float(ended["success"] / ended["count"])))
            frames, success = curve[-1]
            print(f"{frames:7,} frames  {'█' * round(30 * success):30}  {success:.0%}")
    return agent, curve


# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict, then run
#
# We play 102,000 frames (steps of one world). Dice succeed in about a quarter of the episodes, since a room is small and 64 steps
# are many. How will the success of the learning agent go?
#
# - **a** It rises evenly from the first update on.
# - **b** For a quarter of the frames it hovers where dice are, or little above; then it rises steeply.
# - **c** It jumps within the first tenth.

# %% slideshow={"slide_type": "fragment"}
my_second_prediction = predict("", among="abc")  # your letter between the quotes

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Start the cell while the class votes: it takes ten seconds on two idle cores, and prints a line for each update. Ask who says **a**
# what the agent learns *from* as long as it succeeds by luck only.
# </details>

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
remembers, curve = learn(ml.Agent, seed=0)

# %%
early, end = [s for frames, s in curve if frames <= B * T * 20 / 4][-1], curve[-1][1]
my_second_prediction.happened("c" if early > 0.8 else "b" if early < 0.5 and end > 0.8 else "a")
result = ml.evaluate(remembers, held_out, episodes=500)
print("more than 90 % of 500 rooms that it never met:", result.success.value > 0.9)

# %% [markdown] tags=["reveals"]
# It was **b**, as with all four seeds that we tried (0 to 3). As long as success comes by luck, few steps are rewarded, and the critic knows
# nothing. Once the agent walks up to what it sees, every episode teaches, and success feeds on itself.
#
# *The episodes that count are late by 64 steps: an episode counts once the longest that began with it is over. Otherwise quick
# successes would come in first and flatter.*

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Is it the memory?
#
# An agent with an LSTM now succeeds nearly always. So it has learned to remember? Train its **twin**: same network, same worlds,
# same seed; but its memory is cleared before *every* step, from the beginning, so that there is nothing to remember.
#
# - **a** It stays where dice are.
# - **b** It learns, and stays below 90 %.
# - **c** It gets beyond 90 % just as well.

# %% slideshow={"slide_type": "fragment"}
my_third_prediction = predict("", among="abc")  # your letter between the quotes

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
class Forgetful(ml.Agent):
    """An agent for which an episode begins at every step."""

    def forward(self, observation, state=None, resets=None, **options):
        return super().forward(observation, state, torch.ones_like(resets), **options)


forgets, its_curve = learn(Forgetful, seed=0)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
figure, ax = subplots(size=(7, 3.6))
for n, (name, points) in enumerate((("LSTM", curve), ("cleared before every step", its_curve))):
    ax.plot(
        *zip(*points, strict=True), color=COLORS[n], linestyle=STYLES[n], marker=MARKERS[n],
        label=name,
    )
ax.set(xlabel="frames", ylabel="success while learning", ylim=(0, 1.02))
ax.legend(loc="lower right")
show(
    figure,
    f"two rising curves. That of the LSTM ends at {curve[-1][1]:.0%}, that of its twin at "
    f"{its_curve[-1][1]:.0%}.",
)

its_result = ml.evaluate(forgets, held_out, episodes=500)
for name, r in (("LSTM", result), ("cleared", its_result)):
    print(f"{name:8} success {r.success}   {r.length.value:.1f} steps")

# %%
share = its_result.success.value
my_third_prediction.happened("a" if share < 0.5 else "b" if share <= 0.9 else "c")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# It was **c**. What you watched was an agent with a memory, learning from reward. It was *not* an agent learning to remember, and
# no curve of success on this level could have told you so. Lesson 01 had warned: in one room, luck stands in for a memory.
#
# Is there a trace of the memory at all? Take the dice away, as in lesson 01:

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
for name, a in (("LSTM", remembers), ("cleared", forgets)):
    r = ml.evaluate(a, held_out, episodes=500, greedy=True)
    print(f"{name:8} without dice: success {r.success}   {r.length.value:.1f} steps")

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "slide"}
# ## One run is an anecdote
#
# The cells above with `seed=0` to `seed=3`, on one core of ours. Success on 500 rooms that none was trained on (the 95 % interval
# reaches 2 points to either side at most), and steps.
#
# | seed | LSTM | its twin | LSTM, no dice | its twin, no dice |
# |---|---|---|---|---|
# | 0 | 99.8 %, 8.1 | 99.6 %, 7.5 | 98.4 %, 6.0 | 97.8 %, 6.7 |
# | 1 | 100 %, 5.8 | 99.2 %, 6.6 | 99.2 %, 5.8 | 95.4 %, 7.7 |
# | 2 | 100 %, 6.9 | 98.6 %, 6.9 | 97.2 %, 6.7 | 95.8 %, 7.5 |
# | 3 | 100 %, 6.6 | 99.0 %, 7.5 | 97.8 %, 6.5 | 96.0 %, 7.5 |
#
# With dice, both succeed nearly always, and in steps the two columns overlap. Without dice, the LSTM is ahead with all four seeds,
# by 0.6 to 3.8 points. Is that a finding? If there were no difference, four of four would point the same way in one case
# out of eight. It is a hint; whoever wants to know has to train more seeds, or choose a level where a memory is worth more.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Try it
#
# 1. `learn(ml.Agent, seed=1)`: how much of the curve was this seed?
# 2. Watch one learn, with pictures that change while it does, in a cell of its own:
#    `ml.watch(ml.TrainConfig(method="lstm", level="BabyAI-GoToObj-v0", frames=150_000))`
# 3. `PPOConfig(lam=0.0)` in `learn`: what do you expect, after the section on λ?

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# Open [the exercises](../exercises/02_recurrent_controllers.ipynb): an LSTM's step (2.1), a span over episode ends (2.2), advantages
# (2.3), PPO's loss (2.4), and the cutting of a rollout (2.5). At the end, an agent learns with your parts instead of ours.
#
# Then go on to [lesson 03](03_attention_bottlenecks.ipynb): what if the memory were cut into modules that compete for the input?

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# *10-minute path:* all of it (the code), the second prediction with the training, the twin. The guide has times and wrong answers.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# Answer aloud, then unfold.
#
# 1. An episode begins at step 7 of a span. When is the state cleared, and for whom?
#    <details><summary>answer</summary>Before step 7 is processed, in that world alone. Step 7 is the first of the new episode and must
#    not know of the old one.</details>
# 2. An action had A = 2 and its ratio is 1.4, with ε = 0.2. What does the loss do with it?
#    <details><summary>answer</summary>Nothing any more: the clipped product, 1.2 · 2, is the smaller one, and it is flat. No gradient.
#    </details>
# 3. An LSTM agent has 100 % success. What experiment would tell you whether it uses its memory?
#    <details><summary>answer</summary>Train the same network without one, and compare steps as well as success, on several seeds. (To
#    clear the memory of the trained one answers another question.)</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **A level where a memory is needed to succeed.** There are some (minigrid's Memory levels); our LSTM did not learn the smallest
#   of them in 250,000 frames, with one seed, and a lesson has no time for more.
# - **Why these settings.** The rate of 0.002, the 128 worlds, the two passes were tried on a few seeds of ours. They are not the
#   best; they are good enough to learn in ten seconds.
# - **Time limits.** An episode that runs out of time counts as ended here, as in BabyAI, since the limit is part of the task.
#   Other problems call for another treatment.
#
# *Further reading.* Hochreiter and Schmidhuber, [Long short-term memory](https://doi.org/10.1162/neco.1997.9.8.1735): why gradients
# vanish, and the cell that keeps them. Huang et al.,
# [The 37 implementation details of PPO](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/): what papers
# leave out, and what it changes.
