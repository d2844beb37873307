# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 · Attention bottlenecks: exercises
#
# For [lesson 03](../notebooks/03_attention_bottlenecks.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Four exercises, about 70 minutes. Letters: B worlds, N modules, H numbers of state in each, D numbers of input; all of
# them stand on the [notation card](../notebooks/notation.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

from metarim_lite.course import check, once_written, solved_or_reference
from metarim_lite.models import RIM, ControllerState, Interventions

# %% tags=["exercise"] metarim={"exercise": "input_attention", "role": "answer"}
def input_attention(h, x, W_q, W_e, W_v):
    """How much of the input each module takes, and what it reads.

    Args:
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
        print(
            f"module {n}: null {on_null:.2f}, input {on_input:.2f}, read-out ({first:.2f}, "
            f"{second:.2f})"
        )

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
# With the function in hand, repeat the lesson's experiment: fade the input in and see who takes it.

# %% metarim={"exercise": "input_attention", "role": "next"}
attend = solved_or_reference("input_attention", input_attention)

generator = torch.Generator().manual_seed(6)
h = torch.randn(1, 6, 8, generator=generator)  # (B=1, N=6, H=8)
x = torch.randn(1, 5, generator=generator)  # (B=1, D=5)
W_q = torch.randn(6, 8, 4, generator=generator)
W_e, W_v = torch.randn(5, 4, generator=generator), torch.randn(5, 3, generator=generator)

for strength in (0.0, 0.3, 1.0):
    weights, _ = attend(h, strength * x, W_q, W_e, W_v)
    drawn = "  ".join(
        "█" * round(4 * w) + "░" * (4 - round(4 * w)) for w in weights[0, :, 1].tolist()
    )
    print(f"input × {strength}:  {drawn}")

# %% [markdown]
# *One bar per module, filled by its attention on the input, in quarters. A blank input leaves all six half full; the
# stronger the input, the more decided each module is, one way or the other.*

# %% tags=["exercise"] metarim={"exercise": "active_set", "role": "answer"}
def active_set(weights, k):
    """Which modules are active.

    Args:
        weights: [B, N, S], each module's attention over S elements; null is element 0.
        k: how many are active, 1 to N.

    Returns:
        active: bool [B, N], true at exactly k places of every row.
    """
    # SOLUTION-BEGIN
    # (B, k): least on null first, ties in order
    first = weights[..., 0].argsort(dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape[:2], dtype=torch.bool).scatter(1, first, True)  # (B, N)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Four modules, k = 2. In world 0, module 2 has the least attention on null, and modules 0 and 3 tie
# for the second place: the lower index goes first. In world 1 *all* tie, as they do where the input is blank.
#
# | on null | module 0 | module 1 | module 2 | module 3 |
# |---|---|---|---|---|
# | world 0 | 0.5 **active** | 0.9 | 0.2 **active** | 0.5 |
# | world 1 | 0.5 **active** | 0.5 **active** | 0.5 | 0.5 |

# %% metarim={"exercise": "active_set", "role": "example"}
on_null = torch.tensor([[0.5, 0.9, 0.2, 0.5], [0.5, 0.5, 0.5, 0.5]])  # (B=2, N=4)

with once_written(active_set):
    for world, active in enumerate(active_set(torch.stack([on_null, 1 - on_null], dim=-1), 2)):
        print(f"world {world}: active are", active.nonzero()[:, 0].tolist())

# %% [markdown] tags=["solution-only"]
# **About this solution.** `topk` would be as short, and it promises nothing about ties: on another device, or in another
# version, other modules could be active, and a run could not be repeated.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The same six modules as above, the input faded in. Who is active?

# %% metarim={"exercise": "active_set", "role": "next"}
choose = solved_or_reference("active_set", active_set)

for strength in (0.0, 0.1, 0.3, 1.0, 3.0):
    weights, _ = attend(h, strength * x, W_q, W_e, W_v)
    print(
        f"input × {strength}:  ",
        "  ".join("█" if on else "·" for on in choose(weights, 3)[0].tolist()),
    )

# %% [markdown]
# *One column for each module, filled where it is active. From ×0.1 on it is always the same three: their order does not
# change when the input grows. At ×0 it is modules 0, 1 and 2, for no better reason than their numbers.* That is the
# price of a fixed rule for ties, and why an encoder should never give a blank.

# %% tags=["exercise"] metarim={"exercise": "gradient_paths", "role": "answer"}
def gradient_paths(active):
    """Which of its own parameters receive gradient, for each module.

    Args:
        active: bool [N], who was active at this one step.

    Returns:
        receives: bool [N, 5], columns: W_q, W_h, C_q, C_kv, C_out.
    """
    # SOLUTION-BEGIN
    receives = active[:, None].repeat(1, 5)  # (N, 5): all that an active module owns
    receives[:, 3] = True  # keys and values of every module are read by the active ones
    return receives
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Three modules, only module 1 active. Fill in the table on paper *before* you write code: five
# columns, three rows, yes or no. Row 1 is all *yes*. Where else is a *yes*?

# %% metarim={"exercise": "gradient_paths", "role": "example"}
with once_written(gradient_paths):
    receives = gradient_paths(torch.tensor([False, True, False]))  # (N=3, 5)
    print("           W_q   W_h   C_q   C_kv  C_out")
    for n, row in enumerate(receives.tolist()):
        print(f"module {n}: ", "".join(f"{'yes' if yes else '·':6}" for yes in row).rstrip())

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Ask the machine
#
# Your table came from thinking. This one comes from `torch.autograd`: a random RIM of three modules, module 1 made
# active by hand, one step, and the sum of all new states as the loss.

# %% metarim={"exercise": "gradient_paths", "role": "next"}
thought = solved_or_reference("gradient_paths", gradient_paths)(torch.tensor([False, True, False]))

torch.manual_seed(0)
rim = RIM(
    input_size=3, hidden_size=4, num_modules=3, active=1, comm_key_size=2, comm_heads=1,
    kernel="plain",
)
before = ControllerState(torch.randn(1, 3, 4), torch.randn(1, 3, 4))  # h, c: (B=1, N=3, H=4)
outputs, _, _ = rim(torch.randn(1, 1, 3), before, interventions=Interventions(forced=(1,)))
W_q_grad, W_h_grad, C_grad, C_out_grad = torch.autograd.grad(
    outputs.sum(), [rim.W_q, rim.W_h, rim.C_qkv, rim.C_out]
)
C_q_grad, C_kv_grad = C_grad[..., :2], C_grad[..., 2:]  # one product makes queries, keys and values

gradients = (W_q_grad, W_h_grad, C_q_grad, C_kv_grad, C_out_grad)
computed = torch.stack([g.flatten(1).abs().sum(1) > 0 for g in gradients], dim=1)
print("autograd finds the same table:", bool((computed == thought).all()))

# %% [markdown]
# A module that loses the competition learns at this step through one door only: what it *shows* to others. It is not
# told that it should have won. How a RIM learns whom to choose at all is a good question; the answer is that the winners'
# attention is soft, and gradient tells each winner whether it should have taken more or less.

# %% tags=["exercise"] metarim={"exercise": "communicate", "role": "answer"}
def communicate(h, active, C_q, C_k, C_v, C_out):
    """The states after communication.

    Args:
        h: [B, N, H], the state of each module.
        active: bool [B, N].
        C_q, C_k: [N, H, d_k], query and key weights, each module its own.
        C_v: [N, H, d_v], value weights.
        C_out: [N, d_v, H], from what was heard back to a state.

    Returns:
        new_h: [B, N, H].
    """
    # SOLUTION-BEGIN
    # (B, N, d_k), (B, N, d_k), (B, N, d_v)
    Q, K, V = (torch.einsum("bnh,nhk->bnk", h, C) for C in (C_q, C_k, C_v))
    # (B, N, N): reader, the module that is read
    weights = (Q @ K.transpose(1, 2) / Q.shape[-1] ** 0.5).softmax(-1)
    message = torch.einsum("bnv,nvh->bnh", weights @ V, C_out)  # (B, N, H)
    return torch.where(active[..., None], h + message, h)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Two modules of one number each; module 0 is active. All queries are 0, so each reader weighs both
# alike, and a value is the state itself: module 0 hears (1 + 3) / 2 = 2 and adds it to its 1.
#
# | | before | hears | after |
# |---|---|---|---|
# | module 0, active | 1 | 2 | 3 |
# | module 1 | 3 | – | 3 |

# %% metarim={"exercise": "communicate", "role": "example"}
one, nothing = torch.ones(2, 1, 1), torch.zeros(2, 1, 1)  # (N=2, H=1, d=1)

with once_written(communicate):
    new_h = communicate(
        torch.tensor([[[1.0], [3.0]]]), torch.tensor([[True, False]]), nothing, one, one, one
    )
    for n in range(2):
        print(f"module {n} after communication: {new_h[0, n, 0]:.0f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### Who hears whom?
#
# Ask your function, not its formula: change the state of one module a little, and see whose new state changes with it.

# %% metarim={"exercise": "communicate", "role": "next"}
say = solved_or_reference("communicate", communicate)

generator = torch.Generator().manual_seed(3)
h = torch.randn(1, 6, 8, generator=generator)  # (B=1, N=6, H=8)
C_q, C_k, C_v = (0.3 * torch.randn(6, 8, 4, generator=generator) for _ in range(3))
C_out = torch.randn(6, 4, 8, generator=generator)
active = torch.tensor([[True, False, True, False, False, True]])

print("changed    heard by module 0  1  2  3  4  5")
for n in range(6):
    changed = h.clone()
    changed[0, n] += 1
    moved = (
        say(changed, active, C_q, C_k, C_v, C_out) - say(h, active, C_q, C_k, C_v, C_out)
    ).abs().sum(-1)[0] > 1e-6
    kind = "active  " if active[0, n] else "inactive"
    print(f"module {n}, {kind}       ", "  ".join("█" if m else "·" for m in moved.tolist()))

# %% [markdown]
# *One row for each module that was changed, one column for each that might notice. The columns of modules 0, 2 and 5, the
# active ones, are full: they hear everybody. The column of an inactive module is empty but for its own row.* So an
# inactive module is silent and deaf at this step, but not hidden.
