# %% [markdown] slideshow={"slide_type": "slide"}
# # 04 · Recurrent independent mechanisms: exercises
#
# For [lesson 04](../notebooks/04_recurrent_independent_mechanisms.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Five exercises, about 105 minutes; the first and the third take half an hour each. The letters stand on the
# [notation card](../notebooks/notation.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

from metarim_lite.course import check, once_written, solved_or_reference

# the three of lesson 03: the package's, or paste your own below them
from metarim_lite.course.exercises.lesson3 import input_attention
from metarim_lite.course.exercises.lesson3_competition import active_set, communicate
from metarim_lite.experiments.sequences import load_sequence_model
from metarim_lite.models import ControllerState

# %% tags=["exercise"] metarim={"exercise": "rim_step", "role": "answer"}
def rim_step(h, c, x, k, W_q, W_e, W_v, W_in, W_h, b, C_q, C_k, C_v, C_out):
    """One whole step of a RIM: read, compete, update, communicate.

    Args:
        h, c: [B, N, H], hidden and cell state of each module.
        x: [B, D], the input.
        k: how many modules are active.
        W_q, W_e, W_v: [N, H, d_k], [D, d_k], [D, d_v], of the input attention.
        W_in, W_h, b: [N, d_v, 4H], [N, H, 4H], [N, 4H], of N LSTM cells; gates: i, f, o, g.
        C_q, C_k, C_v, C_out: [N, H, d_c], [N, H, d_c], [N, H, d_o], [N, d_o, H]: communication.

    Returns:
        new_h, new_c: [B, N, H].
    """
    # SOLUTION-BEGIN
    weights, read = input_attention(h, x, W_q, W_e, W_v)  # (B, N, 2), (B, N, d_v)
    active = active_set(weights, k)  # (B, N)
    # (B, N, 4H)
    z = torch.einsum("bnv,nvg->bng", read, W_in) + torch.einsum("bnh,nhg->bng", h, W_h) + b
    i, f, o, g = z.split(h.shape[-1], dim=-1)  # (B, N, H) each
    candidate_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    candidate_h = o.sigmoid() * candidate_c.tanh()
    writes = active[..., None]  # (B, N, 1)
    new_h, new_c = torch.where(writes, candidate_h, h), torch.where(writes, candidate_c, c)
    return communicate(new_h, active, C_q, C_k, C_v, C_out), new_c
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two modules of one number, k = 1. The weights of the input attention are 1, all others 0, so that
# module 0 (h = 1) wants the input and module 1 (h = −1) does not. With all gates at σ(0) = ½ and g = 0, the winner's cell is halved, c′ = ½ · 0.8 = 0.4, and its new
# h is ½ tanh 0.4 = 0.19. The loser keeps both its numbers.
#
# | | h, c before | active | h, c after |
# |---|---|---|---|
# | module 0 | 1, 0.8 | yes | 0.19, 0.40 |
# | module 1 | −1, 0.6 | no | −1, 0.60 |

# %% metarim={"exercise": "rim_step", "role": "example"}
# (N=2, 1, 1), (N=2, 1, 4H)
one, none, cell = torch.ones(2, 1, 1), torch.zeros(2, 1, 1), torch.zeros(2, 1, 4)
h, c = torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[[0.8], [0.6]]])  # (B=1, N=2, H=1)
x = torch.ones(1, 1)  # (B=1, D=1)

with once_written(rim_step):
    new_h, new_c = rim_step(
        h, c, x, 1, one, one[0], one[0], cell, cell, cell[:, 0], none, none, none, none
    )
    for n in range(2):
        print(f"module {n}: h {new_h[0, n, 0]:5.2f}, c {new_c[0, n, 0]:.2f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Let it run
#
# Sixteen steps of a random RIM with random input, by your function. Who is active when?

# %% metarim={"exercise": "rim_step", "role": "next"}
step = solved_or_reference("rim_step", rim_step)

N, H, D, d, k = 6, 8, 5, 4, 3
generator = torch.Generator().manual_seed(1)
shapes = [
    (N, H, d), (D, d), (D, d), (N, d, 4 * H), (N, H, 4 * H), (N, 4 * H), *[(N, H, d)] * 3,
    (N, d, H),
]
weights = [0.5 * torch.randn(shape, generator=generator) for shape in shapes]
h = c = torch.zeros(1, N, H)
h = h + torch.randn(1, N, H, generator=generator)

moved = []
for _ in range(16):
    old = h
    h, c = step(h, c, torch.randn(1, D, generator=generator), k, *weights)
    moved.append((h != old).any(-1)[0])  # (N,): whose state is another than before?
for n, row in enumerate(torch.stack(moved, dim=1).tolist()):
    print(f"module {n}: ", " ".join("█" if m else "·" for m in row))
print("three modules move at every step:", all(int(m.sum()) == k for m in moved))

# %% [markdown]
# *Six rows of sixteen steps, filled where a module's state changed: three in every column, and others from step to step.*
# Nothing is learned here; it is all chance and competition. What learning makes of it is the lesson's subject.

# %% tags=["exercise"] metarim={"exercise": "count_parameters", "role": "answer"}
def count_parameters(N, H, D, d_k, d_v, d_c):
    """How many numbers a RIM and an LSTM of the same width learn.

    Args:
        N, H, D: modules, numbers in each, numbers of input.
        d_k, d_v: key and value size of the input attention.
        d_c: size of query, key and value in communication, one head.

    Returns:
        rim, lstm: two whole numbers.
    """
    # SOLUTION-BEGIN
    attention = N * H * d_k + N * d_k + D * d_k + D * d_v  # W_q and its bias, W_e, W_v
    cells = N * (d_v * 4 * H + H * 4 * H + 4 * H)  # W_in, W_h, b
    communication = 3 * N * H * d_c + N * d_c * H  # C_q, C_k, C_v; C_out
    width = N * H
    return attention + cells + communication, 4 * width * (D + width + 2)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** N = 2 modules of H = 3, D = 4 inputs, d_k = 2, d_v = 5, d_c = 1.
#
# | | | |
# |---|---|---|
# | input attention | 2·3·2 + 2·2 + 4·2 + 4·5 | 44 |
# | cells | 2 · (5·12 + 3·12 + 12) | 216 |
# | communication | 3·(2·3·1) + 2·1·3 | 24 |
# | **RIM** | | **284** |
# | **LSTM of width 6** | 4 · 6 · (4 + 6 + 2) | **288** |

# %% metarim={"exercise": "count_parameters", "role": "example"}
with once_written(count_parameters):
    rim, lstm = count_parameters(N=2, H=3, D=4, d_k=2, d_v=5, d_c=1)
    print("RIM:", rim, "  LSTM:", lstm)

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# A network 600 wide, cut into more and more modules. What is saved, and what does it cost?

# %% metarim={"exercise": "count_parameters", "role": "next"}
count = solved_or_reference("count_parameters", count_parameters)

print("modules   RIM        LSTM       RIM / LSTM")
for modules in (1, 2, 3, 6, 12, 60):
    rim, lstm = count(N=modules, H=600 // modules, D=32, d_k=64, d_v=400, d_c=32)
    print(f"{modules:<9} {rim:<10,} {lstm:<10,} {rim / lstm:.2f}")

# %% [markdown]
# The recurrence shrinks as 1/N, but the way in does not: with values of 400 numbers, $W^{in}$ alone has 400 · 2,400 of
# them, however the 600 are cut. So beyond a dozen modules there is hardly anything left to save. A comparison "with fewer
# parameters" should say which.

# %% tags=["exercise"] metarim={"exercise": "find_the_bug", "role": "answer"}
def find_the_bug(scores, k, h, c, candidate_h, candidate_c):
    """The three lines, mended.

    Args:
        scores: [B, N, 2], of (null, input), before the softmax.
        k: how many modules are active.
        h, c: [B, N, H], the states before the step.
        candidate_h, candidate_c: [B, N, H], what the cells computed, for every module.

    Returns:
        active: bool [B, N].
        shown: [B, N, H], what the others read in communication.
        new_c: [B, N, H], the cell states after the step.
    """
    # SOLUTION-BEGIN
    # (B, N): the softmax compares the two; least on null = largest difference
    eager = scores[..., 1] - scores[..., 0]
    best = eager.topk(k, dim=1).indices  # (B, k)
    active = torch.zeros(eager.shape, dtype=torch.bool).scatter(1, best, True)
    writes = active[..., None]  # (B, N, 1)
    return active, torch.where(writes, candidate_h, h), torch.where(writes, candidate_c, c)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two modules, k = 1. Module 0 has the larger score on the input, 2 against 1. But its score on null is
# 3, that of module 1 is −1. Attention on null: σ(3 − 2) = 0.73 and σ(−1 − 1) = 0.12. So module 1 should be active.
#
# | | null | input | attention on null | candidate h, c |
# |---|---|---|---|---|
# | module 0 | 3 | 2 | 0.73 | 5, 6 |
# | module 1 | −1 | 1 | 0.12 | 7, 8 |

# %% metarim={"exercise": "find_the_bug", "role": "example"}
zero = torch.zeros(1, 2, 1)  # (B=1, N=2, H=1): both modules had h = c = 0
new_h, new_c = torch.tensor([[[5.0], [7.0]]]), torch.tensor([[[6.0], [8.0]]])

with once_written(find_the_bug):
    active, shown, kept = find_the_bug(
        torch.tensor([[[3.0, 2.0], [-1.0, 1.0]]]), 1, zero, zero, new_h, new_c
    )
    print(
        "active:", active[0].tolist(), "  shown:", shown[0, :, 0].tolist(), "  new c:",
        kept[0, :, 0].tolist(),
    )

# %% [markdown] tags=["solution-only"]
# **The three by name.** 1: *ranking by the raw score*; right only as long as null's score is 0 for everybody. 2: *the input
# leaks*; modules that lost show what they would have become, and that contains the input. 3: *cell overwritten by
# hidden state*; the network still trains, with the memory of a plain recurrent one.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### How often does it matter?
#
# A bug that bites once in a thousand steps is one thing. Here are 10,000 worlds with random scores; only the size of
# null's scores, that is, of the bias in the keys, is changed.

# %% metarim={"exercise": "find_the_bug", "role": "next"}
mended = solved_or_reference("find_the_bug", find_the_bug)

generator = torch.Generator().manual_seed(2)
on_null, on_input = torch.randn(2, 10_000, 6, generator=generator)  # (B, N) each
empty = torch.zeros(10_000, 6, 1)
print("size of null's scores   worlds in which bug 1 chooses other modules")
for size in (0.0, 0.1, 0.5, 1.0):
    scores = torch.stack([size * on_null, on_input], dim=-1)  # (B, N, 2)
    right, _, _ = mended(scores, 3, empty, empty, empty, empty)
    wrong = torch.zeros(10_000, 6, dtype=torch.bool).scatter(
        1, on_input.topk(3, dim=1).indices, True
    )
    print(f"{size:<23} {(right != wrong).any(1).float().mean():.0%}")

# %% [markdown]
# Without a bias the bug does not exist, and no test without a bias will find it. As the bias is learned, it comes, and the
# network trains on. That is how it got into public code, and why a test should use numbers that are *not* zero.

# %% tags=["exercise"] metarim={"exercise": "transplant", "role": "answer"}
def transplant(h, c, n, donor, receiver):
    """The states after module n of world `receiver` was given what module n of world `donor` holds.

    Args:
        h, c: [B, N, H]; they stay as they are.
        n: a module.
        donor, receiver: two worlds.

    Returns:
        new_h, new_c: [B, N, H].
    """
    # SOLUTION-BEGIN
    new_h, new_c = h.clone(), c.clone()
    new_h[receiver, n], new_c[receiver, n] = h[donor, n], c[donor, n]
    return new_h, new_c
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two worlds, three modules of one number. Module 1 goes from world 1 to world 0.
#
# | h | module 0 | module 1 | module 2 |
# |---|---|---|---|
# | world 0 | 1 | 2 → **5** | 3 |
# | world 1 | 4 | 5 | 6 |

# %% metarim={"exercise": "transplant", "role": "example"}
h = torch.arange(1.0, 7.0).reshape(2, 3, 1)  # (B=2, N=3, H=1)

with once_written(transplant):
    new_h, new_c = transplant(h, 10 * h, n=1, donor=1, receiver=0)
    print("h of world 0:", new_h[0, :, 0].tolist(), "  c of world 0:", new_c[0, :, 0].tolist())
    print(
        "world 1 is as it was:", bool((new_h[1] == h[1]).all()), "  h itself too:",
        h[0, 1, 0].item() == 2,
    )

# %% [markdown] slideshow={"slide_type": "slide"}
# ### One world, one module, one answer
#
# The lesson counts over many sequences. Here is one pair, through the large model that comes with the course: two
# sequences of ten symbols, 200 blanks, and your hand on one module.

# %% metarim={"exercise": "transplant", "role": "next"}
move = solved_or_reference("transplant", transplant)

model = load_sequence_model("copying")  # 6 modules of 100 numbers, k = 4
task = model.config.chosen_task
sequences = task.sample(2, torch.Generator().manual_seed(5), "200 blanks")
with torch.no_grad():
    _, state, _ = model(sequences.inputs[: -task.recall - 1])
    said = {}
    for name, n in (("untouched, 0 says", None), ("module 3 moved", 3), ("module 4 moved", 4)):
        h, c = state if n is None else move(*state, n, 1, 0)
        answers, _, _ = model(sequences.inputs[-task.recall - 1 :], ControllerState(h, c))
        said[name] = answers[-task.recall :, 0].argmax(-1)  # (recall,): what world 0 says

own, donor = sequences.targets[-task.recall :].unbind(1)
for name, symbols in {"world 0 was shown": own, "world 1 was shown": donor, **said}.items():
    print(f"{name:18}", " ".join(map(str, symbols.tolist())))

# %% [markdown]
# Read the last three lines against the first two, symbol by symbol: which are the donor's now?

# %% tags=["exercise"] metarim={"exercise": "blocks", "role": "answer"}
def blocks(h, W):
    """y_n = h_n W_n for every module, as one batched product.

    Args:
        h: [B, N, H].
        W: [N, H, H], one block for each module.

    Returns:
        y: [B, N, H].
    """
    # SOLUTION-BEGIN
    # (N, B, H) @ (N, H, H) -> (N, B, H) -> (B, N, H)
    return torch.bmm(h.transpose(0, 1), W).transpose(0, 1)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two modules of two numbers. As one matrix, with zeros between the blocks:
#
# ```text
#                  ┌ 1 1 · · ┐
# (1, 2, 3, 4)  ·  │ 0 1 · · │  =  (1, 3, 6, 8)
#                  │ · · 2 0 │
#                  └ · · 0 2 ┘
# ```

# %% metarim={"exercise": "blocks", "role": "example"}
W = torch.tensor([[[1.0, 1.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]])  # (N=2, H=2, H=2)

with once_written(blocks):
    # (B=1, N=2, H=2)
    print("y =", blocks(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), W).flatten().tolist())

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The dead entries
#
# The same product by one large matrix, as public code has it: zeros are written between the blocks before each step, and
# then the whole matrix is used. Both give the same y. Now look at the gradient that the zeros receive.

# %% metarim={"exercise": "blocks", "role": "next"}
product = solved_or_reference("blocks", blocks)

N, H = 6, 20
generator = torch.Generator().manual_seed(0)
h, W = torch.randn(4, N, H, generator=generator), torch.randn(N, H, H, generator=generator)
dense = torch.block_diag(*W).requires_grad_()  # (N·H, N·H)
y = h.flatten(1) @ dense  # (B, N·H)
print("same result:                 ", torch.allclose(y.reshape(h.shape), product(h, W), atol=1e-3))
print("numbers in W:                ", W.numel())
print("numbers in the large matrix: ", dense.numel())

y.square().sum().backward()
between = torch.block_diag(*[torch.ones(H, H)] * N) == 0  # bool (N·H, N·H): the zeros
print(
    "of the gradient's norm lie on the zeros:",
    f"{dense.grad[between].norm() / dense.grad.norm():.0%}",
)

# %% [markdown]
# Most of this gradient is for numbers that are set back to zero at once. But before that, it counts when gradients are
# clipped, so every real step is cut short by it; Adam keeps two numbers for each zero; and a parameter count reports
# them all. The network still learns. It learns with another step size than the one that was written down.
