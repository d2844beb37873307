# %% [markdown] slideshow={"slide_type": "slide"}
# # 04 · Recurrent independent mechanisms
#
# **Why should independent modules generalise?**
#
# After this lesson you can
#
# - say in four lines what a RIM does at a step, and which of the four protects a memory;
# - predict what happens to an LSTM and to a RIM when a silence is longer than any in training, and test it;
# - find out *where* a network keeps what it remembers, and say why switching a part off does not tell you.
#
# About 45 minutes; the five exercises take another 105. You need
# [lesson 03](03_attention_bottlenecks.ipynb): the null slot, and what is compared with what. Letters:
# [notation](notation.ipynb); words: [glossary](glossary.ipynb).

# %% slideshow={"slide_type": "skip"}
from dataclasses import replace

import torch
from IPython.display import Markdown

import metarim_lite as ml
from metarim_lite.course import predict, show
from metarim_lite.course.figures import COLORS, GREY, MARKERS, STYLES, subplots
from metarim_lite.experiments.sequences import (
    SEQUENCES, SequenceModel, baseline, load_sequence_model, train_sequence,
)
from metarim_lite.experiments.studies import shipped_study
from metarim_lite.models import RIM, ControllerState, Interventions, count_parameters

# %% [markdown] slideshow={"slide_type": "slide"}
# ## One step, four lines
#
# A RIM has N modules of H numbers each, $h_n$. At every step
#
# 1. **ask**: each module attends to {null, input}, as in lesson 03, and reads a mixture of the two;
# 2. **compete**: the k modules with the *least* attention on null are active;
# 3. **update**: an active module feeds what it read to its own LSTM cell. An inactive one keeps its state,
#    $h_n^{t+1} = h_n^t$ and $c_n^{t+1} = c_n^t$;
# 4. **communicate**: each active module reads from the states of all modules, by attention again.
#
# In code the same four lines stand in `RIM.step`, in `metarim_lite/models/rim.py`. (What usually runs computes them
# faster, in `fused.py`; tests hold the two to the same numbers.) Override `step`, or a part of it such as `read_input` or
# `cell_step`, in a subclass of `RIM`, and what you wrote is what runs, in training too.
#
# *(Goyal et al., [arXiv 1909.10893](https://arxiv.org/abs/1909.10893), section 2.)*

# %% [markdown] slideshow={"slide_type": "subslide"}
# **"Keeps its state" is meant to the bit.** Not nearly, as behind an LSTM's forget gate, which can come close to 1 and
# has to be held there. Six random modules, one step:

# %%
torch.manual_seed(0)
rim = RIM(input_size=8, hidden_size=4, num_modules=6, active=3)
before = ControllerState(torch.randn(1, 6, 4), torch.randn(1, 6, 4))  # h, c: (B=1, N=6, H=4)
with torch.no_grad():
    _, after, seen = rim(torch.randn(1, 1, 8), before)  # (T=1, B=1, D=8)

for n in range(6):
    same = bool((after.h[0, n] == before.h[0, n]).all() and (after.c[0, n] == before.c[0, n]).all())
    print(f"module {n}:  active {bool(seen.active[0, 0, n])!s:5}  same to the bit {same}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What cutting costs
#
# An LSTM of 192 units has a full 192 × 192 matrix for each of its four gates. Cut it into eight modules of 24 and only
# eight blocks of 24 × 24 are left on the diagonal: an eighth. Both attentions come on top. Which of the two
# networks below has more parameters?

# %%
small = SEQUENCES["copying-small"]  # N = 8 modules of H = 24, of which k = 3 are active
for name, config in (("LSTM", baseline(small)), ("RIM", small)):
    numbers = count_parameters(SequenceModel(config).controller)
    print(f"{name:5}{config.width} units, {numbers:,} parameters")

# %% [markdown]
# The RIM has fewer than half as many as the LSTM. So if it does better below, more parameters are not the reason.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## A task that is all memory
#
# **Copying.** A few symbols are shown, then nothing for a while, then a cue; now say the symbols again, in order.
# We train with 10 blanks and test with up to 60. (As in the paper, the cue's own step is counted as one of them: with "10
# blanks", nine empty steps lie between the last symbol and the cue.)

# %% slideshow={"slide_type": "subslide"}
copying = small.chosen_task
example = copying.sample(1, torch.Generator().manual_seed(2), "10 blanks")

figure, axes = subplots(2, size=(7, 3.2), sharex=True)
# [T] -> [T, symbols + 2]
answer = torch.nn.functional.one_hot(example.targets[:, 0], copying.output_size)
for ax, rows, title in ((axes[0], example.inputs[:, 0], "shown"), (axes[1], answer, "to be said")):
    ax.imshow(rows.T, cmap="Greys", aspect="auto", interpolation="nearest")
    ax.set(ylabel=title, yticks=range(6), yticklabels=["blank", "1", "2", "3", "4", "cue"])
axes[1].set_xlabel("step")
shown = example.inputs[:, 0].argmax(-1)
show(
    figure,
    f"above, three symbols ({', '.join(map(str, shown[:3].tolist()))}), "
    f"{int((shown[3:] == 0).sum()) - 3} blanks, the cue, and three blanks. Below, blanks until the "
    "cue has been seen, and then the same three symbols.",
)

# %% [markdown]
# The score is the cross-entropy of the last three answers, in nats. Who remembers nothing but that there are four
# symbols guesses, and scores ln 4 = 1.39. Who is *sure and wrong* scores worse than that.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Predict, then run
#
# Both networks learn 10 blanks far better than guessing. With 60 blanks,
#
# - **a** both still know the symbols: what is learned is learned;
# - **b** both have forgotten: 60 is six times what they were trained for;
# - **c** the LSTM has forgotten, the RIM has not;
# - **d** the RIM has forgotten, the LSTM has not.

# %% slideshow={"slide_type": "fragment"}
my_prediction = predict("", among="abcd")  # your letter between the quotes

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Start the two trainings *while* the class votes: the LSTM takes about ten seconds on two cores, the RIM twenty
# to thirty. Ask those who say **c** for a reason; "because that is the course's topic" is the honest one,
# and worth saying aloud. Those who say **a** think of the task as a rule; ask them where the rule is written down.
#
# The numbers differ a little between machines; that the LSTM ends above 1.39 and the RIM below half of it did
# not, in the eleven runs that we tried (60 blanks: LSTM 2.0 to 5.3, RIM 0.04 to 0.59).
# </details>

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
def say(line):
    print(f"update {line['update']:5,}:  error with 10 blanks {line['test/10 blanks']:.3f}")


lstm_run = train_sequence(baseline(small), progress=False, on_report=say)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
rim_run = train_sequence(small, progress=False, on_report=say)

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
blanks = [copying.blanks, *copying.test_blanks]
last = {"LSTM": lstm_run.metrics[-1], "RIM": rim_run.metrics[-1]}
curves = {name: [line[f"test/{n} blanks"] for n in blanks] for name, line in last.items()}
figure, ax = subplots(size=(7, 4))
for i, (name, errors) in enumerate(curves.items()):
    ax.plot(blanks, errors, color=COLORS[i], linestyle=STYLES[i], marker=MARKERS[i], label=name)
ax.axhline(copying.chance, color=GREY, linestyle=":", label="guessing")
ax.axvline(copying.blanks, color=GREY, linestyle="-", linewidth=0.8)
ax.set(xlabel="blanks between symbols and cue (10 in training)", ylabel="cross-entropy (nats)")
ax.legend()
ends = [
    f"that of the {name} goes from {e[0]:.2f} at 10 blanks to {e[-1]:.2f} at 60"
    for name, e in curves.items()
]
show(
    figure,
    f"two curves and a dotted line at {copying.chance:.2f}, which is guessing; {', '.join(ends)}.",
)

# %%
lstm_error, rim_error = (run.metrics[-1]["test/60 blanks"] for run in (lstm_run, rim_run))
lstm_knows, rim_knows = (error < copying.chance / 2 for error in (lstm_error, rim_error))
my_prediction.happened({(1, 1): "a", (0, 0): "b", (0, 1): "c", (1, 0): "d"}[lstm_knows, rim_knows])
print("LSTM with 60 blanks: worse than guessing?        ", lstm_error > copying.chance)
print("RIM with 60 blanks: better than half of guessing?", rim_knows)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "slide"}
# ## Why? A first explanation
#
# At a blank, an LSTM does what it always does: every one of its units is computed anew. To remember it must have
# learned to put the same thing back, and it learned that for 10 steps. A small error at each step is no error after 10
# steps. After 60 it is.
#
# A RIM *can* do without: what lies in an inactive module is not put back, it is not touched. So here is a hypothesis:
#
# > **The memory lies in the modules that are left alone during the silence.**
#
# It sounds right. We now try to break it. First: are there such modules? Look at one sequence.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
def wait(model, blanks, B=128):
    """B sequences, the state [B, N, H] at the cue, after that many blanks, and what was active."""
    task = model.config.chosen_task
    sequences = task.sample(B, torch.Generator().manual_seed(1), f"{blanks} blanks")
    with torch.no_grad():
        _, state, seen = model(sequences.inputs[: -task.recall - 1], record=True)
    return sequences, state, seen.active


model = rim_run.model
sequences, state, active = wait(model, 60)
silence = active[copying.recall + 2 :]  # bool [T', B, N], without the first blanks
share = silence.float().mean((0, 1))  # [N]

figure, ax = subplots(size=(8, 2.6))
# [N, T] of the first sequence
ax.imshow(active[:, 0].T, cmap="Greys", aspect="auto", interpolation="nearest")
ax.set(xlabel="step: symbols at 0 to 2, then blanks", ylabel="module", yticks=range(8))
late = silence[-20:, 0]  # bool [20, N]: the last 20 steps of the first sequence
show(
    figure,
    "one row for each module, dark where it is active. In the last 20 steps "
    f"{int(late.all(0).sum())} modules are active all the time and {int((~late.any(0)).sum())} not "
    "once.",
)
print("share of the silence in which a module is active, all sequences:", share.numpy().round(2))

# %% [markdown] tags=["reveals"]
# The shares say that it is not the same three in every sequence, but some modules hardly ever work in the silence. So
# there are modules that take in a symbol and are then left alone. The hypothesis has survived, but that was only a
# picture. Two experiments follow, and the first of them is a trap.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## First experiment: switch modules off, one by one
#
# `Interventions(off=(n,))` cuts module n out: never active, read by nobody, state zero. If a module holds a symbol, the
# answers should suffer. If it holds nothing, they should not.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
errors = []
with torch.no_grad():
    encoded = model.encoder(sequences.inputs)
    for off in ((), *((n,) for n in range(8))):
        outputs, _, _ = model.controller(
            encoded, interventions=Interventions(off=off), record=False
        )
        errors.append(copying.metric(model.decoder(outputs), sequences).item())

figure, ax = subplots(size=(7, 3.4))
ax.bar(["none", *map(str, range(8))], errors, color=[GREY, *[COLORS[0]] * 8])
ax.axhline(copying.chance, color=GREY, linestyle=":")
ax.set(xlabel="module switched off", ylabel="cross-entropy, 60 blanks")
above = sum(error > copying.chance for error in errors[1:])
show(
    figure,
    f"nine bars. With no module off the error is {errors[0]:.2f}; with one off it lies between "
    f"{min(errors[1:]):.2f} and {max(errors[1:]):.2f}, and for {above} of the 8 modules above the "
    "dotted line of guessing.",
)

# %%
print("is every single module missed?", min(errors[1:]) > errors[0])

# %% [markdown] tags=["reveals"]
# Does *every* module hold part of the memory, then, even one that was hardly ever active? That does not follow. Cutting
# a module out changes three things at once: what it held is gone, **another module takes its place among the k**, and the rest read
# another mixture of states than they were trained on. A network that fails after a cut tells you that it was
# never trained with that cut. It does not tell you what the part was for.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Second experiment: a transplant
#
# Ask a sharper question. Let two sequences run, *a* and *b*, up to the cue. Then move the state of **one** module from
# *b* to *a*, and let *a* answer. Nothing has been cut, and every number is one that the network might have held.
# If the module carries the third symbol, *a* now says *b*'s third symbol, and its own first two.

# %% slideshow={"slide_type": "subslide"}
def follow(model, sequences, state, modules):
    """Of each symbol [recall]: how often is it the donor's, once these modules have its state?"""
    # [B]: one's neighbour
    recall, donor = model.config.chosen_task.recall, torch.arange(len(state.h)).roll(1)
    h, c = state.h.clone(), state.c.clone()  # [B, N, H]
    h[:, modules], c[:, modules] = state.h[donor][:, modules], state.c[donor][:, modules]
    with torch.no_grad():
        answers, _, _ = model(sequences.inputs[-recall - 1 :], ControllerState(h, c))
    said, own = answers[-recall:].argmax(-1), sequences.targets[-recall:]  # [recall, B]
    differ = own != own[:, donor]  # where a symbol shows whose it is
    return ((said == own[:, donor]) & differ).sum(1) / differ.sum(1)


print(
    "all modules moved, all symbols follow:",
    bool((follow(model, sequences, state, list(range(8))) > 0.75).all()),
)

# %% [markdown]
# We do it to a RIM of the paper's size, which comes with the course: 6 modules of 100 units, k = 4, ten
# symbols out of 8 kinds, trained with 50 blanks. Now it has to wait for 200.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
large = load_sequence_model("copying")
sequences_large, state_large, active_large = wait(large, 200)
# [N, recall]
followed = torch.stack([follow(large, sequences_large, state_large, [n]) for n in range(6)])
share_large = active_large[large.config.chosen_task.recall + 2 :].float().mean((0, 1))  # [N]

figure, ax = subplots(size=(8, 3.4))
picture = ax.imshow(followed, cmap="Blues", vmin=0, vmax=1, aspect="auto")
for n in range(6):
    for i in range(10):
        color = "white" if followed[n, i] > 0.6 else "black"
        ax.text(i, n, f"{followed[n, i]:.0%}", ha="center", va="center", fontsize=8, color=color)
names = [f"{n} (active {share_large[n]:.0%})" for n in range(6)]
ax.set(xlabel="which of the ten symbols", xticks=range(10), xticklabels=range(1, 11))
ax.set(ylabel="transplanted module", yticks=range(6), yticklabels=names)
figure.colorbar(picture, label="says the donor's symbol")
most, share_of_most = int(followed.mean(1).argmax()), followed.mean(1).max()
show(
    figure,
    "six rows, one for each module, and ten columns, one for each symbol; darker where the symbol "
    f"goes with the module. Most go with module {most}: {share_of_most:.0%} of all symbols.",
)

# %% [markdown] tags=["reveals"] slideshow={"slide_type": "subslide"}
# Symbols 2 and 3 go with module 0, most of the later ones with module 3. Modules 4 and 5 carry next to nothing.
#
# That is a division of labour, and nobody asked for it. Now read the numbers in brackets. Module 3 is active at *every*
# step of the silence. Module 4 is the one that never is, and nothing goes with it.
#
# Count it together, for both models: move the k modules that are most often active in the silence, or all the others.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
for name, m, s, at, often in (
    ("small, 60 blanks", model, sequences, state, share),
    ("large, 200 blanks", large, sequences_large, state_large, share_large),
):
    order, k = often.argsort(descending=True).tolist(), m.config.active
    busy, quiet = (follow(m, s, at, sorted(group)).mean() for group in (order[:k], order[k:]))
    print(
        f"{name:18} with the {k} busiest modules {busy:.0%} of the symbols move, with the others "
        f"{quiet:.0%}"
    )

# %% [markdown] tags=["reveals"]
# For the large model the hypothesis is **wrong**. About three quarters of what it remembers lies in modules that were
# active, that is, computed anew, through 200 blanks. For the small one it was right, in two runs of ours: 62 % and 72 %
# of the symbols went with the quiet modules, 16 % and 8 % with the busy ones. Yours may differ.
#
# Why does the large one not forget, then? What we know: its cells are bounded at ±3 (ours; the small one's are not),
# and its active modules *come to rest*: between the 50th and the 180th blank the numbers in their cells change by 0.03
# or less in the mean. A state that is mapped to itself can be kept for ever. What we do not know: why an LSTM with
# the same bound does not find such states, which it does not (last row of the table below).
#
# An explanation that sounded right, a picture that fitted, and a cut that agreed were not enough. It took an experiment
# that could have come out the other way.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## One run is an anecdote
#
# You saw one seed of each. Here is the paper's own experiment with three seeds of each, as it came out for us.
# `metarim study copying` makes it again, in hours.
#
# "RIM 6/4" has N = 6 modules, of which k = 4 are active. "One rate": all parameters learn at the same rate; in the first
# row the queries $W^q$ learn at a tenth of it. "Bounded cells": c is kept within ±3; "unbounded": as in the equations.

# %% slideshow={"slide_type": "subslide"}
_, table, about = str(shipped_study("copying")).split("\n\n", 2)
Markdown(table)  # `print(about)` says how each row was made, and what we tried besides

# %% [markdown] slideshow={"slide_type": "subslide"}
# Read it as you would read somebody else's:
#
# - **The ranges matter.** In brackets stand the best and the worst seed. One LSTM of 600 units hardly forgets. Had we
#   shown you that seed alone, or left it out, you would believe something else now.
# - **Our setting is not the paper's.** With the paper's, our RIM's loss overflowed. What we changed we found on the very
#   seeds that are in the table, so the table flatters; the note names the seeds that had no part in it.
# - **It is one task.** On scikit-learn's digits, read pixel by pixel, our LSTM is ahead at the resolution it was trained
#   on and at the next (`shipped_study("digits")`), against the paper.

# %% [markdown] slideshow={"slide_type": "notes"}
# <details><summary>For the teacher</summary>
#
# Timing, wrong answers and what they reveal, a 10-minute and a 50-minute path:
# [the guide to this lesson](guides/04_recurrent_independent_mechanisms.md).
#
# If the RIM does not get below half of guessing on your machine: change `seed`, say so to the class, and turn to the
# table; that is what it is for.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Try it
#
# Three changes, each half a minute. Put one after `small =` where `small` is first made ("What cutting costs"), and run
# from there on. Say first what you expect.
#
# 1. `replace(SEQUENCES["copying-small"], active=8)`: all modules are active, so nothing is ever left alone.
# 2. `replace(SEQUENCES["copying-small"], seed=1)`: how much of what you saw was this seed?
# 3. `replace(SEQUENCES["copying-small"], query_rate=0.1)`: what a module looks for changes ten times more slowly, as it
#    did when the large model was trained. Does the memory lie elsewhere?

# %% [markdown] slideshow={"slide_type": "subslide"}
# And one for the agent of lesson 00. Switch off a module, or freeze it, and press *what if?*: the same episode again, with
# the same dice, beside the first. *Beside it* also shows a *control*: the same done to another module, drawn at random.
# Press *over 200 levels* to ask many levels.

# %% tags=["nbval-ignore-output"] slideshow={"slide_type": "subslide"}
agent = ml.load_agent("meta-rim-gotolocal")
bank = ml.LevelBank.generate("BabyAI-GoToLocal-v0", seeds=[1_000_017])
ml.WhatIf(ml.Trace.record(agent, bank, level=0, seed=0), t=3)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Your turn
#
# [The exercises](../exercises/04_recurrent_independent_mechanisms.ipynb): `rim_step`, the whole of a step from the parts
# that you wrote in lesson 03; `count_parameters`; `find_the_bug`, three mistakes of public code; `transplant`; `blocks`.
# About 105 minutes. Then go on to [lesson 05](05_catastrophic_forgetting.ipynb).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## Three questions to keep
#
# Answer aloud, then unfold.
#
# 1. What happens to the state of an inactive module, and what to what others read from it?
#    <details><summary>answer</summary>Its state stays as it is, to the bit. The active modules may read that state
#    at every step: it is silent, not hidden.</details>
# 2. Switching off module 3 doubles the error. What do you know about module 3?
#    <details><summary>answer</summary>That the rest, as trained, does not do without it. Not what it holds: another
#    module became active in its place, and everybody read another mixture.</details>
# 3. With 8 kinds of symbols, a network has error 0.00 after 50 blanks and 3.5 after 200. Why is that worse than the error
#    of a network that guesses?
#    <details><summary>answer</summary>Guessing among 8 symbols costs ln 8 = 2.08. More than that means being sure, and
#    wrong: nothing in training ever told it to doubt.</details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## What we left out
#
# - **How gradient passes the competition.** The choice of the k modules has no derivative. Gradient flows through the
#   attention of those chosen, and that is how their queries learn.
# - **What communication carries.** Attention heads (two in the small model, four in the large one) read from all modules;
#   here we only looked at what they leave behind.
# - **Why a RIM does worse than an LSTM in some published agents.** The Meta-RIM authors say: k was the same in all their
#   environments, and a RIM of the same width has fewer parameters. [Lesson 07](07_reading_results_critically.ipynb) has
#   both comparisons, with k tuned and an LSTM of the same size.
# - **Whether any of this helps an agent** that learns from reward.
#   [Lesson 05](05_catastrophic_forgetting.ipynb) and [lesson 06](06_fast_and_slow.ipynb) ask.

# %% [markdown] slideshow={"slide_type": "skip"}
# ## Further reading
#
# - [Goyal et al. 2019](https://arxiv.org/abs/1909.10893), section 4.1: the copying task as the paper has it. Read its table
#   beside ours, and count the seeds in each.
# - [Hochreiter and Schmidhuber 1997](https://doi.org/10.1162/neco.1997.9.8.1735): the LSTM's cell was made so that error
#   could stay unchanged over time. It is the same wish as an inactive module's, met in another way.
