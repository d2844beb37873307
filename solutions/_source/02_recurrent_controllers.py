# %% [markdown] slideshow={"slide_type": "slide"}
# # 02 · Recurrent controllers: exercises
#
# For [lesson 02](../notebooks/02_recurrent_controllers.ipynb). Write your code where it says
# `raise NotImplementedError`, run the cell, run the check. A check draws fresh inputs each time, compares with the
# package, and says what it thinks went wrong. *Run all* goes on below a check that fails: what comes next runs with
# your function once it passes, and with the package's until then.
#
# Five exercises, about 85 minutes. Letters: T time steps, B worlds side by side, D numbers of input, H numbers of state. Time is
# the first axis, worlds the second. All of them stand on the [notation card](../notebooks/notation.ipynb).

# %% slideshow={"slide_type": "skip"}
import torch

import metarim_lite as ml
from metarim_lite.course import check, once_written, solved_or_reference
from metarim_lite.models import ControllerState
from metarim_lite.training.rollouts import Player

# %% tags=["exercise"] metarim={"exercise": "lstm_step", "role": "answer"}
def lstm_step(x, h, c, W_x, W_h, b):
    """One step of an LSTM.

    Args:
        x: [B, D], the input.
        h, c: [B, H], hidden state and cell from the step before.
        W_x, W_h, b: [D, 4H], [H, 4H], [4H]; the four parts are i, f, g, o, in this order.

    Returns:
        new_h, new_c: [B, H].
    """
    # SOLUTION-BEGIN
    i, f, g, o = (x @ W_x + h @ W_h + b).chunk(4, dim=-1)  # (B, 4H) -> 4 × (B, H)
    new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * new_c.tanh(), new_c
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** One world, D = H = 1, all weights 0; so the bias alone decides. The cell holds 1.
#
# | i, f, g, o | what it says | new c | new h |
# |---|---|---|---|
# | −9, 9, 0, 9 | keep, write nothing, show all | 1.00 | 0.76 |
# | 9, −9, 2, 9 | forget, write tanh(2) | 0.96 | 0.75 |
# | −9, 9, 0, −9 | keep, show nothing | 1.00 | 0.00 |

# %% metarim={"exercise": "lstm_step", "role": "example"}
zero, one = torch.zeros(1, 1), torch.ones(1, 1)
with once_written(lstm_step):
    for bias in ((-9.0, 9.0, 0.0, 9.0), (9.0, -9.0, 2.0, 9.0), (-9.0, 9.0, 0.0, -9.0)):
        new_h, new_c = lstm_step(
            zero, zero, one, torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor(bias)
        )
        print(f"new c {new_c.item():.2f}, new h {new_h.item():.2f}")

# %% [markdown] tags=["solution-only"]
# **About this solution.** `torch.lstm_cell` does the same, with its weights the other way round and two biases.
#
# **Wrong answers that run without an error.** All of them do. With i and f exchanged, a network still learns: it calls its gates
# by other names. Only weights that were learned elsewhere would tell.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Your step, repeated, is PyTorch's own LSTM. Same weights, 30 steps:

# %% metarim={"exercise": "lstm_step", "role": "next"}
own_step = solved_or_reference("lstm_step", lstm_step)

torch.manual_seed(0)
theirs, x = torch.nn.LSTM(5, 7), torch.randn(30, 2, 5)  # D = 5, H = 7; (T, B, D)
W_x, W_h, b = (
    theirs.weight_ih_l0.t(), theirs.weight_hh_l0.t(), theirs.bias_ih_l0 + theirs.bias_hh_l0,
)
h, c, trail = torch.zeros(2, 7), torch.zeros(2, 7), []
for x_t in x:
    h, c = own_step(x_t, h, c, W_x, W_h, b)
    trail.append(h)
print(
    "the same outputs as torch.nn.LSTM:",
    torch.allclose(torch.stack(trail), theirs(x)[0], atol=1e-5),
)

# %% tags=["exercise"] metarim={"exercise": "masked_unroll", "role": "answer"}
def masked_unroll(x, h0, resets, W, U):
    """The hidden states of a small recurrent network over a span in which episodes begin.

    Args:
        x: [T, B, D], inputs.
        h0: [B, H], what the span before left.
        resets: bool [T, B], true where an episode begins at step t.
        W, U: [D, H], [H, H].

    Returns:
        outputs: [T, B, H], h after each step.
    """
    # SOLUTION-BEGIN
    h, trail = h0, []
    for x_t, begins in zip(x, resets, strict=True):
        h = torch.where(begins[:, None], 0.0, h)  # before the step, in the worlds where one begins
        h = torch.tanh(x_t @ W + h @ U)
        trail.append(h)
    return torch.stack(trail)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** One world, H = 1, no input, W = U = 1, h₀ = 1, four steps; an episode begins at step 2. From 0 and nothing
# comes nothing, so all that is not 0 is memory of the first episode.
#
# | step | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | h | 0.76 | 0.64 | 0.00 | 0.00 |

# %% metarim={"exercise": "masked_unroll", "role": "example"}
resets = torch.tensor([[False], [False], [True], [False]])  # (T=4, B=1)
with once_written(masked_unroll):
    h = masked_unroll(
        torch.zeros(4, 1, 1), torch.ones(1, 1), resets, torch.ones(1, 1), torch.ones(1, 1)
    )
    print("h:", "  ".join(f"{v:.2f}" for v in h.flatten().tolist()))

# %% [markdown] tags=["solution-only"]
# **About this solution.** `where` and multiplying by `~begins` are both right as long as h is finite; 0 · ∞ is not a number.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Two episodes in one span, and the second one alone. If the state is cleared in time, they agree to the bit.

# %% metarim={"exercise": "masked_unroll", "role": "next"}
own_unroll = solved_or_reference("masked_unroll", masked_unroll)

g = torch.Generator().manual_seed(0)
x, h0 = torch.randn(12, 1, 3, generator=g), torch.randn(1, 4, generator=g)  # (T, B, D), (B, H)
W, U = torch.randn(3, 4, generator=g), torch.randn(4, 4, generator=g)
begins = torch.zeros(12, 1, dtype=torch.bool)
begins[5] = True
both, never = own_unroll(x, h0, begins, W, U), own_unroll(x, h0, torch.zeros_like(begins), W, U)
alone = own_unroll(x[5:], torch.zeros(1, 4), torch.zeros(7, 1, dtype=torch.bool), W, U)
print("the second episode is as if it were alone:", torch.equal(both[5:], alone))
print("without the clearing:                     ", torch.equal(never[5:], alone))

# %% tags=["exercise"] metarim={"exercise": "gae", "role": "answer"}
def gae(rewards, values, dones, last_value, gamma, lam):
    """Generalised advantage estimates.

    Args:
        rewards, values: [T, B].
        dones: bool [T, B], true where the episode ended with step t.
        last_value: [B], the critic's value of what is seen after step T − 1.
        gamma, lam: γ and λ.

    Returns:
        advantages: [T, B].
    """
    # SOLUTION-BEGIN
    going = 1 - dones.float()
    following = torch.cat([values[1:], last_value[None]])  # V_{t+1}: (T, B)
    delta = rewards + gamma * following * going - values
    A, found = torch.zeros_like(last_value), []
    for t in reversed(range(len(rewards))):
        A = delta[t] + gamma * lam * going[t] * A
        found.insert(0, A)
    return torch.stack(found)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** One world, four steps, a reward of 1 with step 1, which ends the episode; γ = 1, λ = 0.5; the critic says 0
# everywhere, and 0.8 after the last step, in the middle of the next episode.
#
# | step | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | advantage | 0.5 | 1 | 0.4 | 0.8 |

# %% metarim={"exercise": "gae", "role": "example"}
rewards = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
with once_written(gae):
    A = gae(rewards, torch.zeros(4, 1), rewards > 0, torch.tensor([0.8]), 1.0, 0.5)
    print("advantages:", "  ".join(f"{a:.1f}" for a in A.flatten().tolist()))

# %% [markdown] tags=["solution-only"]
# **About this solution.** (1 − done) stands twice, and each time it keeps something else of the next episode out: its first value, and
# its advantages.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# The lesson's episode of twelve steps, now with a critic that learned: its value rises towards the end, up to 0.8 before the last
# step. Who gets how much now?

# %% metarim={"exercise": "gae", "role": "next"}
own_gae = solved_or_reference("gae", gae)

rewards, dones = torch.zeros(12, 1), torch.zeros(12, 1, dtype=torch.bool)
rewards[11], dones[11] = 0.9, True
for name, values in (
    ("knows nothing", torch.zeros(12, 1)),
    ("has learned", torch.linspace(0.4, 0.8, 12)[:, None]),
):
    A = own_gae(rewards, values, dones, torch.zeros(1), 0.99, 0.95)[:, 0]
    print(f"the critic {name:14}", " ".join(f"{a:5.2f}" for a in A.tolist()))

# %% [markdown]
# *Two rows of twelve numbers. If the critic knows nothing, all are large, and the last one most. If it has learned, the
# last ones are small: by then the outcome was expected, and what was expected teaches little.*

# %% tags=["exercise"] metarim={"exercise": "ppo_policy_loss", "role": "answer"}
def ppo_policy_loss(log_prob, old_log_prob, advantages, clip):
    """PPO's loss of the policy.

    Args:
        log_prob, old_log_prob: [M], logarithms of π(a) now and when the action was taken.
        advantages: [M].
        clip: ε.

    Returns:
        loss: one number, to be made small.
    """
    # SOLUTION-BEGIN
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.min(ratio * advantages, clipped * advantages).mean()
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** ε = 0.2, one action at a time.
#
# | A | ratio | min(…) | loss |
# |---|---|---|---|
# | 1 | 1.5 | 1.2, clipped | −1.2 |
# | −1 | 1.5 | −1.5, *not* clipped | 1.5 |
# | −1 | 0.5 | −0.8, clipped | 0.8 |

# %% metarim={"exercise": "ppo_policy_loss", "role": "example"}
with once_written(ppo_policy_loss):
    for advantage, ratio in ((1.0, 1.5), (-1.0, 1.5), (-1.0, 0.5)):
        old = torch.tensor([0.4]).log()  # the action's probability was 0.4
        loss = ppo_policy_loss((ratio * old.exp()).log(), old, torch.tensor([advantage]), 0.2)
        print(f"A = {advantage:4}, ratio {ratio}: loss {float(loss):.1f}")

# %% [markdown] tags=["solution-only"]
# **About this solution.** The minimum is taken of the two *products*. Of the two ratios it would be another function: for A < 0 the
# order turns round.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Where does a gradient remain? Say the four answers before you run: good and bad actions, whose probability has fallen to a half,
# or risen by a half.

# %% metarim={"exercise": "ppo_policy_loss", "role": "next"}
own_loss = solved_or_reference("ppo_policy_loss", ppo_policy_loss)

for A in (1.0, -1.0):
    for ratio in (0.5, 1.5):
        old = torch.tensor([0.4]).log()
        now = (ratio * old.exp()).log().requires_grad_()
        own_loss(now, old, torch.tensor([A]), 0.2).backward()
        push = "up" if now.grad < 0 else "down" if now.grad > 0 else "nowhere"
        print(f"{'good' if A > 0 else 'bad '} action, ratio {ratio}: pushed {push}")

# %% tags=["exercise"] metarim={"exercise": "cut_spans", "role": "answer"}
def cut_spans(x, states, span):
    """A rollout cut into spans, side by side.

    Args:
        x: [S·n, B, D], something of every step.
        states: [S·n, B, H], the state before every step.
        span: n.

    Returns:
        pieces: [n, S·B, D], first the B worlds of span 0, then those of span 1, and so on.
        begin: [S·B, H], the state that each of these sequences began with.
    """
    # SOLUTION-BEGIN
    S = len(x) // span
    # (S·n, B, D) -> (S, n, B, D) -> (n, S, B, D)
    pieces = x.reshape(S, span, *x.shape[1:]).transpose(0, 1)
    return pieces.flatten(1, 2), states[::span].flatten(0, 1)  # (n, S·B, D), (S, B, H) -> (S·B, H)
    # SOLUTION-END

# %% [markdown] slideshow={"slide_type": "subslide"}
# **A tiny example.** Four steps of two worlds, a and b, cut into spans of two steps. A step is written as world and time.
#
# | | sequence 0 | sequence 1 | sequence 2 | sequence 3 |
# |---|---|---|---|---|
# | first step | a0 | b0 | a2 | b2 |
# | second step | a1 | b1 | a3 | b3 |

# %% metarim={"exercise": "cut_spans", "role": "example"}
# (T=4, B=2, D=1): 10·b + t
named = torch.tensor([[[t + 10.0 * b] for b in range(2)] for t in range(4)])
with once_written(cut_spans):
    pieces, begin = cut_spans(named, named, 2)
    for row in pieces[..., 0].int().tolist():
        print("  ".join(f"{'ab'[v // 10]}{v % 10}" for v in row))
    print(
        "begun with the states before:",
        "  ".join(f"{'ab'[v // 10]}{v % 10}" for v in begin[:, 0].int().tolist()),
    )

# %% [markdown] tags=["solution-only"]
# **About this solution.** Split the axis of time into (S, n), move S beside B, and only then flatten. `x.reshape(span, -1, D)`, without the
# move, has the right shape and mixes worlds with times: no error, and an agent that learns from stories that never happened.

# %% [markdown] slideshow={"slide_type": "slide"}
# ### What it is good for
#
# Everything. Here an agent learns GoToObj from nothing with *your* LSTM step, *your* advantages, *your* loss and *your* spans,
# where they pass, and with the package's where they do not. Ten to twenty seconds.

# %% tags=["nbval-ignore-output"] metarim={"exercise": "cut_spans", "role": "next"}
own_cut = solved_or_reference("cut_spans", cut_spans)


class OwnLSTM(ml.LSTM):
    """PyTorch's weights, your step."""

    def forward(self, inputs, state=None, resets=None, **options):
        (h, c), w, trail = self.begin(inputs, state, resets), self.lstm, []
        for x_t, begins in zip(inputs, resets, strict=True):
            h, c = (s.masked_fill(begins[:, None], 0) for s in (h, c))
            b = w.bias_ih_l0 + w.bias_hh_l0
            h, c = own_step(x_t, h, c, w.weight_ih_l0.t(), w.weight_hh_l0.t(), b)
            trail.append(h)
        return torch.stack(trail), ControllerState(h, c), None


B, T, SPAN = 128, 40, 20
torch.manual_seed(0)
agent = ml.Agent(ml.AgentConfig(controller="lstm"))
agent.controller = OwnLSTM(agent.config.input_size, agent.config.lstm_size)
optimizer = torch.optim.Adam(agent.parameters(), lr=2e-3, eps=1e-5)
rooms = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(2000))
player = Player(ml.GridWorlds(rooms, B), agent, torch.Generator().manual_seed(0))

for update in range(1, 21):
    played = player.collect(agent, T, SPAN)
    A = own_gae(played.rewards, played.values, played.dones, played.last_value, 0.99, 0.95)
    # h, c: [T, B, H]
    before = [torch.stack(s).repeat_interleave(SPAN, 0) for s in zip(*played.states, strict=True)]

    def cut(x, states=before[0]):
        pieces, _ = own_cut(x.reshape(T, B, -1).float(), states, SPAN)
        return pieces.reshape(SPAN, -1, *x.shape[2:]).to(x.dtype)

    seen = type(played.observation)(*map(cut, played.observation))
    resets, actions, old, target = map(
        cut, (played.resets, played.actions, played.log_probs, A + played.values)
    )
    A = cut((A - A.mean()) / A.std())
    h, c = (own_cut(played.values[..., None], s, SPAN)[1] for s in before)
    for rows in torch.randperm(len(h)).repeat(2).chunk(16):
        part = type(seen)(*(x[:, rows] for x in seen))
        out, _ = agent(part, ControllerState(h[rows], c[rows]), resets[:, rows])
        log_pi = out.logits.log_softmax(-1)
        log_prob = log_pi.gather(-1, actions[:, rows, None])[..., 0]
        loss = own_loss(*(x.flatten() for x in (log_prob, old[:, rows], A[:, rows])), 0.2)
        loss = (
            loss
            + 0.25 * (out.value - target[:, rows]).square().mean()
            + 0.01 * (log_pi.exp() * log_pi).sum(-1).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
    ended = played.episodes
    if update % 2 == 0:
        success = float(ended["success"] / ended["count"])
        print(f"{B * T * update:7,} frames  {'█' * round(30 * success):30}  {success:.0%}")

# %%
never_met = ml.LevelBank.generate("BabyAI-GoToObj-v0", seeds=range(1_000_000, 1_000_300))
print(
    "more than 90 % of 300 rooms that it never met:",
    ml.evaluate(agent, never_met, 300).success.value > 0.9,
)
