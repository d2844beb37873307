# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 · Attention bottlenecks: exercises
#
# For [lesson 03](../notebooks/03_attention_bottlenecks.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* stops at the first check that fails; go on below it with
# *Run selected cell and all below*.

# %% slideshow={"slide_type": "skip"}
import torch

from metarim_lite.course import check, once_written, solved_or_reference

# %% tags=["exercise"] metarim={"exercise": "input_attention", "role": "answer"}
def input_attention(h, x, W_q, W_e, W_v):
    """How much of the input each module takes, and what it reads.

    Arguments:
        h: [B, N, H], the state of each module.
        x: [B, D], the input.
        W_q: [N, H, d_k], query weights, each module its own.
        W_e: [D, d_k], key weights, shared by all modules.
        W_v: [D, d_v], value weights, shared by all modules.

    Returns:
        weights: [B, N, 2], on (null, input) in this order; they sum to 1 for each module.
        read_out: [B, N, d_v].
    """
    # SOLUTION-BEGIN
    d_k = W_q.shape[-1]
    X = torch.stack([torch.zeros_like(x), x], dim=1)  # (B, 2, D): null, input
    K, V = X @ W_e, X @ W_v  # (B, 2, d_k), (B, 2, d_v)
    Q = torch.einsum("bnh,nhk->bnk", h, W_q)  # (B, N, d_k)
    weights = torch.softmax(Q @ K.transpose(1, 2) / d_k**0.5, dim=-1)  # (B, N, 2)
    return weights, weights @ V  # (B, N, 2) @ (B, 2, d_v) -> (B, N, d_v)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two modules with opposite tastes, one world, d_k = 4. The input's key is (2, 0, 0, 0); module 0
# asks for it, module 1 asks for its opposite. So the scores are +1 and −1 after division by √4, and σ(1) ≈ 0.73.
#
# | | weight on null | weight on input | read-out |
# |---|---|---|---|
# | module 0 | 0.27 | 0.73 | (1.46, 0) |
# | module 1 | 0.73 | 0.27 | (0.54, 0) |

# %% metarim={"exercise": "input_attention", "role": "example"}
tiny = {
    "h": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),  # (B=1, N=2, H=2)
    "x": torch.tensor([[2.0, 0.0]]),  # (B=1, D=2)
    "W_q": torch.zeros(2, 2, 4),  # (N=2, H=2, d_k=4)
    "W_e": torch.eye(2, 4),  # (D=2, d_k=4)
    "W_v": torch.eye(2),  # (D=2, d_v=2)
}
tiny["W_q"][0, 0, 0], tiny["W_q"][1, 1, 0] = 1.0, -1.0

with once_written(input_attention):
    weights, read_out = input_attention(**tiny)
    for n in range(2):
        on_null, on_input = weights[0, n].tolist()
        first, second = read_out[0, n].tolist()
        print(f"module {n}: null {on_null:.2f}, input {on_input:.2f}, read-out ({first:.2f}, {second:.2f})")

# %% [markdown] tags=["solution-only"]
# **About this solution.** With one real input you may also write `on_input = torch.sigmoid(score)`; the check accepts
# both. The package does that, and never builds the row of zeros.
#
# **Wrong answers that run without an error.** A softmax over `dim=1` makes the modules share; a missing √d_k
# only makes attention sharper; one query for all modules gives six copies of one opinion. None of the three would
# stop an agent from learning *something*.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# With the function in hand, repeat the lesson's experiment: fade the input in and see who takes it. This cell runs
# with your function once it passes, and with the package's until then.

# %% metarim={"exercise": "input_attention", "role": "next"}
attend = solved_or_reference("input_attention", input_attention)

generator = torch.Generator().manual_seed(6)
h = torch.randn(1, 6, 8, generator=generator)  # (B=1, N=6, H=8)
x = torch.randn(1, 5, generator=generator)  # (B=1, D=5)
W_q = torch.randn(6, 8, 4, generator=generator)
W_e, W_v = torch.randn(5, 4, generator=generator), torch.randn(5, 3, generator=generator)

for strength in (0.0, 0.3, 1.0):
    weights, _ = attend(h, strength * x, W_q, W_e, W_v)
    drawn = "  ".join("█" * round(4 * w) + "░" * (4 - round(4 * w)) for w in weights[0, :, 1].tolist())
    print(f"input × {strength}:  {drawn}")

# %% [markdown]
# *One bar per module, filled by its attention on the input, in quarters. A blank input leaves all six half full; the
# stronger the input, the more decided each module is, one way or the other.*
