"""Lesson 02, recurrent controllers: how a recurrent agent learns from reward. T steps, B worlds, time first."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...envs import Observation
from ...models.by_hand import walk
from ...models.controller import ControllerState
from ...models.lstm import LSTMSpan
from ...training import ppo
from ...training.rollouts import Rollout
from ..declaring import exercise

exercise_2 = partial(exercise, lesson="02_recurrent_controllers")


@exercise_2(
    "2.1", "One LSTM cell", difficulty=2, importance=4, minutes=15, points=2, returns=("new_h", "new_c"), needs="`@`, `chunk`",
    gradient=True,
    formula=r"""$z = x W^x + h W^h + b\;[B,4H]$, in four parts i, f, g, o of H numbers, PyTorch's order:

$$c' = \sigma(f)\,c + \sigma(i)\tanh(g) \quad [B,H]$$

$$h' = \sigma(o)\tanh(c') \quad [B,H]$$""",
    hints=(
        "`z.chunk(4, dim=-1)` gives i, f, g and o.",
        "Three of them go through a sigmoid, g alone through tanh.",
        "The new h is made from the *new* c: `o.sigmoid() * new_c.tanh()`.",
    ),
)  # fmt: skip
def lstm_step(
    x: Float[Tensor, "B D"], h: Float[Tensor, "B H"], c: Float[Tensor, "B H"],
    W_x: Float[Tensor, "D 4*H"], W_h: Float[Tensor, "H 4*H"], b: Float[Tensor, "4*H"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:  # fmt: skip
    _, h, c, _, _ = LSTMSpan(None).run(None, False, False, h, c, (x @ W_x + b).unsqueeze(0), W_h)
    return h, c


def _gates(x, h, W_x, W_h, b):
    return (x @ W_x + h @ W_h + b).chunk(4, -1)


@lstm_step.mistake("your input gate and forget gate are exchanged; the order is i, f, g, o.")
def gates_exchanged(x, h, c, W_x, W_h, b):
    i, f, g, o = _gates(x, h, W_x, W_h, b)
    new_c = i.sigmoid() * c + f.sigmoid() * g.tanh()
    return o.sigmoid() * new_c.tanh(), new_c


@lstm_step.mistake("the new h is σ(o) c'; the tanh around c' is missing.")
def no_tanh(x, h, c, W_x, W_h, b):
    _, new_c = lstm_step(x, h, c, W_x, W_h, b)
    return _gates(x, h, W_x, W_h, b)[3].sigmoid() * new_c, new_c


@lstm_step.mistake("you make the new h from the old c; it comes from the new one.")
def old_cell(x, h, c, W_x, W_h, b):
    return _gates(x, h, W_x, W_h, b)[3].sigmoid() * c.tanh(), lstm_step(x, h, c, W_x, W_h, b)[1]


@lstm_step.mistake("what is written, g, goes through a sigmoid; it should go through tanh, to be of both signs.")
def sigmoid_of_g(x, h, c, W_x, W_h, b):
    i, f, g, o = _gates(x, h, W_x, W_h, b)
    new_c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * new_c.tanh(), new_c


@lstm_step.mistake("nothing is ever forgotten: the old c is not multiplied by σ(f).")
def no_forgetting(x, h, c, W_x, W_h, b):
    i, _, g, o = _gates(x, h, W_x, W_h, b)
    new_c = c + i.sigmoid() * g.tanh()
    return o.sigmoid() * new_c.tanh(), new_c


@exercise_2(
    "2.2", "A span over episode ends", difficulty=2, importance=5, minutes=15, points=2, returns="outputs", needs="2.1",
    sizes=({"T": 9}, {"T": 8}, {"T": 7}), gradient=True,
    formula=r"""A small recurrent network, $h_t = \tanh(x_t W + h_{t-1} U)$, over a span in which episodes end. `resets[t]` is true where
an episode *begins* at step t: there the state is cleared **before** step t, for that world alone. h₀ is what an earlier span
left; it is cleared, too, where `resets[0]`.

$$x\,[T,B,D],\; h_0\,[B,H],\; \text{resets}\,[T,B]$$

$$\to\; h\,[T,B,H]$$""",
    hints=(
        "A loop over t; in it, first the clearing, then the step.",
        "`torch.where(resets[t][:, None], 0.0, h)`, or `h * (~resets[t])[:, None]`.",
        "Collect h in a list and `torch.stack` it; assigning into one tensor cuts nothing but is easy to get wrong.",
    ),
)  # fmt: skip
def masked_unroll(
    x: Float[Tensor, "T B D"], h0: Float[Tensor, "B H"], resets: Bool[Tensor, "T B"],
    W: Float[Tensor, "D H"], U: Float[Tensor, "H H"],
) -> Float[Tensor, "T B H"]:  # fmt: skip
    trail, *_ = walk(lambda h, c, x: ((x @ W + h @ U).tanh(), c, None), h0, h0, (x,), resets, False)
    return torch.stack(trail)


def _unroll(x, h, W, U, before=lambda t, h: h, after=lambda t, h: h):
    trail = []
    for t in range(len(x)):
        h = (x[t] @ W + before(t, h) @ U).tanh()
        trail.append(h)
        h = after(t, h)
    return torch.stack(trail)


@masked_unroll.mistake("you never clear the state: what one episode knew goes on into the next.")
def never_cleared(x, h0, resets, W, U):
    return _unroll(x, h0, W, U)


@masked_unroll.mistake("you clear the state after step t; `resets[t]` says that an episode begins *with* step t, so clear before it.")
def cleared_after(x, h0, resets, W, U):
    return _unroll(x, h0, W, U, after=lambda t, h: h * ~resets[t][:, None])


@masked_unroll.mistake("where one world begins anew you clear the state of all; each world has its own episodes.")
def all_cleared(x, h0, resets, W, U):
    return _unroll(x, h0, W, U, before=lambda t, h: h * ~resets[t].any())


@masked_unroll.mistake("you do not clear h0 where `resets[0]`; the first step of a span may begin an episode, too.")
def first_not_cleared(x, h0, resets, W, U):
    return _unroll(x, h0, W, U, before=lambda t, h: h * ~resets[t][:, None] if t else h)


@masked_unroll.mistake("where an episode begins you go back to h0; that is a state of another episode. Go back to zeros.")
def back_to_start(x, h0, resets, W, U):
    return _unroll(x, h0, W, U, before=lambda t, h: torch.where(resets[t][:, None], h0 if t else 0 * h0, h))


RATES = {"gamma": lambda dice, s: dice.uniform(0.8, 0.95), "lam": lambda dice, s: dice.uniform(0.6, 0.9)}


@exercise_2(
    "2.3", "Generalised advantages", difficulty=3, importance=5, minutes=20, points=3, returns="advantages", needs="2.2",
    sizes=({"T": 9}, {"T": 8}, {"T": 7}), draws=RATES,
    formula=r"""`dones[t]` is true where the episode ended *with* step t, by success or by its time limit: nothing behind it counts.

$$\delta_t = r_t + \gamma V_{t+1}(1-\text{done}_t) - V_t$$

$$A_t = \delta_t + \gamma\lambda\,(1-\text{done}_t)\,A_{t+1} \quad [T,B]$$

$V_T$ is `last_value`, $A_T = 0$.""",
    hints=(
        "Go backwards in time, from T − 1 to 0, and carry $A_{t+1}$ along.",
        "`going = 1 - dones.float()` appears twice: beside the next value, and beside the next advantage.",
        "`A = delta[t] + gamma * lam * going[t] * A`, then put it at the *front* of your list.",
    ),
)  # fmt: skip
def gae(
    rewards: Float[Tensor, "T B"], values: Float[Tensor, "T B"], dones: Bool[Tensor, "T B"],
    last_value: Float[Tensor, "B"], gamma: float, lam: float,
) -> Float[Tensor, "T B"]:  # fmt: skip
    return ppo.gae(rewards, values, dones, last_value, gamma, lam)


def _advantages(rewards, values, dones, last_value, gamma, lam, next_ends=True, trace_ends=True):
    following, A, found = torch.cat([values[1:], last_value[None]]), torch.zeros_like(last_value), []
    for t in reversed(range(len(rewards))):
        going = ~dones[t]
        delta = rewards[t] + gamma * following[t] * (going if next_ends else 1) - values[t]
        A = delta + gamma * lam * (going if trace_ends else 1) * A
        found.insert(0, A)
    return torch.stack(found)


@gae.mistake("the value of the next episode's first view enters δ where an episode ends: (1 − done) is missing beside V_{t+1}.")
def next_value_leaks(*args):
    return _advantages(*args, next_ends=False)


@gae.mistake("advantages of the next episode leak into the one before: (1 − done) is missing beside A_{t+1}.")
def advantage_leaks(*args):
    return _advantages(*args, trace_ends=False)


@gae.mistake("you never look at `dones`: values and advantages of the next episode leak into the one before.")
def no_dones(*args):
    return _advantages(*args, next_ends=False, trace_ends=False)


@gae.mistake("λ is missing: you discount the next advantage by γ alone.")
def no_lambda(rewards, values, dones, last_value, gamma, lam):
    return gae(rewards, values, dones, last_value, gamma, 1.0)


@gae.mistake("you return A + V, which is the target of the value; the advantages are A alone.")
def returns(rewards, values, dones, last_value, gamma, lam):
    return gae(rewards, values, dones, last_value, gamma, lam) + values


@gae.mistake("you do not use `last_value`: behind the last step the episode goes on, unless it is done.")
def no_last_value(rewards, values, dones, last_value, gamma, lam):
    return gae(rewards, values, dones, 0 * last_value, gamma, lam)


def _probabilities(inputs, dice):
    old = -dice.uniform(0.2, 2.0, len(inputs["old_log_prob"]))
    return inputs | {"old_log_prob": old, "log_prob": (old + 0.4 * inputs["log_prob"]).clamp(max=-0.02)}


@exercise_2(
    "2.4", "PPO's clipped loss", difficulty=3, importance=5, minutes=15, points=3, returns="loss", needs="2.3",
    sizes=({"M": 40}, {"M": 30}, {"M": 50}), prepare=_probabilities, gradient=True,
    draws={"clip": lambda dice, s: dice.uniform(0.1, 0.3)},
    formula=r"""For M actions, with the ratio $\rho = \pi(a)/\pi_{old}(a)$ of probabilities, given as logarithms,

$$\rho' = \mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon)$$

$$\text{loss} = -\operatorname{mean}\,\min(\rho A,\, \rho' A)$$

$$[M] \to \text{one number}$$

The min takes the more pessimistic of the two: no reward for moving further than ε, no forgiveness for having done so.""",
    hints=(
        "`ratio = (log_prob - old_log_prob).exp()`.",
        "`ratio.clamp(1 - clip, 1 + clip)`.",
        "`-torch.min(ratio * A, clipped * A).mean()`: the minimum of the *products*, not of the ratios.",
    ),
)  # fmt: skip
def ppo_policy_loss(
    log_prob: Float[Tensor, "M"], old_log_prob: Float[Tensor, "M"], advantages: Float[Tensor, "M"], clip: float
) -> Float[Tensor, ""]:
    """`ppo_loss` of an agent with two actions, the first of which was taken; value and entropy count nothing."""
    two = torch.stack([log_prob, (-log_prob.expm1()).log()], -1).unsqueeze(0)
    nothing = torch.zeros(1, len(log_prob))
    batch = SimpleNamespace(
        observation=None, state=None, resets=None, returns=nothing, actions=nothing.long(),
        log_probs=old_log_prob.unsqueeze(0), advantages=advantages.unsqueeze(0),
    )  # fmt: skip
    out = SimpleNamespace(logits=two, value=nothing)
    return ppo.ppo_loss(lambda *_: (out, None), batch, ppo.PPOConfig(clip=clip, value=0.0, entropy=0.0))[0]


def _products(log_prob, old_log_prob, advantages, clip):
    ratio = (log_prob - old_log_prob).exp()
    return ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages


@ppo_policy_loss.mistake("your sign is wrong: a loss is descended, so it is *minus* what should grow.")
def ascended(*args):
    return -ppo_policy_loss(*args)


@ppo_policy_loss.mistake("you take the maximum of the two products; the more pessimistic one is the minimum.")
def optimistic(*args):
    return -torch.max(*_products(*args)).mean()


@ppo_policy_loss.mistake("you use the clipped product alone: a step that went too far the wrong way gets no gradient back.")
def only_clipped(*args):
    return -_products(*args)[1].mean()


@ppo_policy_loss.mistake("nothing is clipped: this is the plain policy gradient with a ratio.")
def not_clipped(*args):
    return -_products(*args)[0].mean()


@ppo_policy_loss.mistake("your ratio is π_old / π; it should be π / π_old.")
def inverted(log_prob, old_log_prob, advantages, clip):
    return -torch.min(*_products(old_log_prob, log_prob, advantages, clip)).mean()


@ppo_policy_loss.mistake("you take the sum over the batch; take the mean, or the learning rate depends on how much was played.")
def summed(*args):
    return ppo_policy_loss(*args) * len(args[0])


@exercise_2(
    "2.5", "Cutting a rollout into spans", difficulty=3, importance=4, minutes=20, points=3, returns=("pieces", "begin"), needs="2.2",
    sizes=({"S": 3, "n": 4}, {"S": 4, "n": 3}, {"S": 2, "n": 5}), draws={"span": lambda dice, s: s["n"]}, tolerance=(0, 0),
    formula=r"""T = S·n steps of B worlds become S·B sequences of n = `span` steps side by side: first the B worlds of span 0, then those
of span 1, and so on. `states[t]` is the state *before* step t; each sequence starts from the one that it began with.

$$x\,[S{\cdot}n,B,D] \to [n, S{\cdot}B, D]$$

$$\text{states}\,[S{\cdot}n,B,H] \to [S{\cdot}B,H]$$""",
    hints=(
        "`x.unflatten(0, (-1, span))` is [S, n, B, D]: which axis should come first?",
        "Move, do not reshape: `.transpose(0, 1)` makes [n, S, B, D]; then `.flatten(1, 2)`.",
        "`states[::span]` are the states before the first step of each span, [S, B, H].",
    ),
)  # fmt: skip
def cut_spans(
    x: Float[Tensor, "S*n B D"], states: Float[Tensor, "S*n B H"], span: int
) -> tuple[Float[Tensor, "n S*B D"], Float[Tensor, "S*B H"]]:
    """`cut_into_spans` of a rollout that holds x as its observations."""
    none, kept = torch.zeros(x.shape[:2]), states[::span]
    rollout = Rollout(
        Observation(x, none, none), none.bool(), none.long(), none, none, none, none.bool(), none[0],
        tuple(ControllerState(h, h) for h in kept), {},
    )  # fmt: skip
    spans = ppo.cut_into_spans(rollout, span, ppo.PPOConfig())
    return spans.observation.image, spans.state.h


@cut_spans.mistake("a reshape has mixed time and worlds: a sequence must be one world's steps in a row (move the axis, then flatten).")
def reshaped(x, states, span):
    return x.reshape(span, -1, x.shape[-1]), cut_spans(x, states, span)[1]


@cut_spans.mistake("your sequences are right, but in another order: all worlds of span 0 come first, then all of span 1.")
def world_first(x, states, span):
    pieces = x.unflatten(0, (-1, span)).permute(1, 2, 0, 3).flatten(1, 2)
    return pieces, states[::span].transpose(0, 1).flatten(0, 1)


@cut_spans.mistake("every sequence starts from the state before step 0; span s has its own, from before step s·n.")
def first_state(x, states, span):
    pieces, begin = cut_spans(x, states, span)
    return pieces, states[:1].expand(len(states) // span, -1, -1).reshape(begin.shape)


@cut_spans.mistake("your sequences start from zeros: stored states are what lets gradients be cut without forgetting.")
def zeros(x, states, span):
    pieces, begin = cut_spans(x, states, span)
    return pieces, torch.zeros_like(begin)


@cut_spans.mistake("your sequences start from the state at their end; take the one before their first step.")
def last_state(x, states, span):
    pieces, begin = cut_spans(x, states, span)
    return pieces, states[span - 1 :: span].reshape(begin.shape)
