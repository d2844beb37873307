"""Recurrent Independent Mechanisms (Goyal et al., arXiv 1909.10893), the whole model in one file.

Read `RIM.step` first: it is the paper's step, and the four comments in it are the four lines of lesson 04. All modules
are computed and `torch.where` keeps the old state of the inactive ones: on N small modules that is faster than
gathering k of them, and it is what a GPU wants.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..config import whole_number
from ..errors import UserError
from . import fused
from .attention import communicate, eagerness, share_out
from .by_hand import mixed_precision, walk
from .checks import check_arguments
from .controller import Controller, ControllerState, Diagnostics
from .interventions import Interventions, Masks

PerModule = Float[Tensor, "N B H"]
Flags = Bool[Tensor, "N B 1"]
Keys, Values, Read = Float[Tensor, "B 1+E A d_k"], Float[Tensor, "B 1+E A d_v"], Float[Tensor, "N B A*d_v"]


class RIM(Controller):
    """N modules of H units, of which k are active at a step.

    >>> rim = RIM(input_size=128, hidden_size=32, num_modules=6, active=4)
    >>> outputs, state, diagnostics = rim(torch.randn(20, 8, 128))    # [T,B,D]
    >>> outputs.shape, diagnostics.active.shape
    (torch.Size([20, 8, 192]), torch.Size([20, 8, 6]))

    To try another step, override `step` or any part of it (`read_input`, `compete`, `cell_step`, `message`) in a
    subclass, or set it on an instance: what you wrote is what runs, whatever `kernel` says. If you edit this file
    itself, choose kernel="plain", since `fused.py` holds the same step a second time.

    No dropout (the paper has 0.1 on both attentions): the policy that plays must be the one that learns,
    or PPO's probability ratio is not 1 before the first update. Three parts stand in no equation of the paper: a bias
    b_q of the queries (`reset_parameters` says why), a map C_out from what the heads read back to H, as multi-head
    attention has it, and in GRU modules one bias, inside the product with the reset gate.

    Args:
        input_size: D.  hidden_size: H, of one module.  num_modules: N.  active: k.
        key_size, value_size, input_heads: d_k and d_v per head, and heads, of the input attention.
        comm_key_size, comm_value_size, comm_heads: the same for communication.
        cell: "lstm" or "gru".
        inactive_offer: what others read from an inactive module. "old" (the paper): its state as it was.
            "candidate" (some public code): the state it would have had; this leaks the input past the
            bottleneck, and is here to be compared.
        output_gate: what becomes of a message o W, o being what was read. "none" (the paper): it is added to h as it
            is. Then h is the cell's output plus a linear function of the others' h, a recurrence that nothing bounds.
            "gated" (the authors' code): σ(o G)·tanh(o W). "bounded" (ours): tanh(o W), so that |h| stays below 2.
        message_scale: C_out is drawn this many times as large (ours; the paper says nothing). Below 1, modules begin
            nearly independent and learn to speak.
        softmax_over: "null" (the paper): each module shares its attention between null and the input. "modules" (the
            authors' Atari code): the modules share out each input element, and there is no null.
        cell_clip: bound on the size of the numbers in the cells of LSTM modules (ours). None: none (the paper). A
            module that stays active while nothing happens may count up in its cell without end; after a silence
            longer than any in training it then stands where it never stood. Bounded, it comes to rest.
        kernel: how a span is computed; changes speed, not results. "plain": autograd through `step`.
            "fused" and "compiled": `fused.py`, the same step differentiated by hand, eagerly or through
            `torch.compile`; both for LSTM modules with one input element and one input head, whatever the output gate.
            Other forms, steps that were overridden, and spans with interventions, under `torch.autocast` or of half
            precision, are run as "plain"; forward-mode derivatives and batched ones (`is_grads_batched`) need it.
            Each new number of sequences is compiled anew.

    Raises:
        UserError: k > N, a size that is not positive, a switch with an unknown value.
    """

    def __init__(
        self, input_size: int, hidden_size: int = 32, num_modules: int = 6, active: int = 4, *,
        key_size: int = 32, value_size: int = 64, input_heads: int = 1,
        comm_key_size: int = 16, comm_value_size: int = 16, comm_heads: int = 2,
        cell: str = "lstm", inactive_offer: str = "old", output_gate: str = "none", message_scale: float = 1.0,
        softmax_over: str = "null", cell_clip: float | None = None, kernel: str = "fused",
    ):  # fmt: skip
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_modules, self.active = num_modules, active
        self.key_size, self.value_size, self.input_heads = key_size, value_size, input_heads
        self.comm_key_size, self.comm_value_size, self.comm_heads = comm_key_size, comm_value_size, comm_heads
        self.cell, self.cell_clip, self.softmax_over, self.kernel = cell, cell_clip, softmax_over, kernel
        self.inactive_offer, self.output_gate, self.message_scale = inactive_offer, output_gate, message_scale
        check_arguments(self)
        self.output_size, self.input_dims = num_modules * hidden_size, (3, 4)
        self.state_sizes = (num_modules, hidden_size), (num_modules, hidden_size if cell == "lstm" else 0)

        D, H, N, gates = input_size, hidden_size, num_modules, (4 if cell == "lstm" else 3) * hidden_size
        read, comm_read = input_heads * value_size, comm_heads * comm_value_size
        # Input attention: keys and values shared by all modules, queries of each module's own.
        self.W_e = nn.Parameter(torch.empty(D, input_heads * key_size))
        self.W_v = nn.Parameter(torch.empty(D, read))
        self.W_q = nn.Parameter(torch.empty(N, H, input_heads * key_size))
        self.b_q = nn.Parameter(torch.empty(N, 1, input_heads * key_size))
        # The modules: one recurrent cell each, nothing shared.
        self.W_in = nn.Parameter(torch.empty(N, read, gates))
        self.W_h = nn.Parameter(torch.empty(N, H, gates))
        self.b = nn.Parameter(torch.empty(N, 1, gates))
        # Communication: for each head query, key and value side by side; then from all heads back to H.
        self.C_qkv = nn.Parameter(torch.empty(N, H, comm_heads * (2 * comm_key_size + comm_value_size)))
        self.C_out = nn.Parameter(torch.empty(N, comm_read, H))
        self.C_gate = nn.Parameter(torch.empty(N, comm_read, H)) if output_gate == "gated" else None
        self.reset_parameters()

    def step(
        self, h: PerModule, c: PerModule, keys: Keys, values: Values, masks: Masks
    ) -> tuple[PerModule, PerModule, Diagnostics]:
        """One step: the new h and c, and what happened. Keys (over √d_k) and values are those of null and the input."""
        # 1. Ask: each module attends to {null, input}, and reads a mixture of the two.
        read, on_input, eager = self.read_input(h, keys, values, masks)

        # 2. Compete: the k modules with the least attention on null are active.
        active, writes, shows = self.compete(eager, masks)  # bool [N,B,1]; in the paper all three are the same

        # 3. Update: an active module feeds what it read to its own cell; an inactive one keeps h and c, to the bit.
        candidate, new_c = self.cell_step(h, c, read)
        c = torch.where(writes, new_c, c)
        offered = torch.where(shows, candidate, h)

        # 4. Communicate: each active module reads from the states of all modules, by attention again.
        sizes = (self.comm_key_size, self.comm_key_size, self.comm_value_size)
        query, key, value = torch.bmm(offered, self.C_qkv).unflatten(-1, (self.comm_heads, -1)).split(sizes, -1)
        heard, weights = masks.silence(*communicate(query, key, value, masks.alive))  # [N,B,A·d_v], [B,A,N,N]
        h = torch.where(writes, candidate + self.message(heard), h)
        return h, c, Diagnostics(active[..., 0].t(), on_input.t(), weights * writes.transpose(0, 1).unsqueeze(1))

    def read_input(
        self, h: PerModule, keys: Keys, values: Values, masks: Masks
    ) -> tuple[Read, Float[Tensor, "N B"], Float[Tensor, "N B"]]:
        """softmax(Q Kᵀ / √d_k) V over {null, input}, for each module: what it reads, its attention on the input, and
        how much it wants the input. Null is a row of zeros: its score is 0, and it adds nothing to what is read."""
        query = torch.baddbmm(self.b_q, h, self.W_q).unflatten(-1, (self.input_heads, -1))  # [N,B,A,d_k]
        scores = torch.einsum("nbad,bead->nbae", query, keys)  # [N,B,A,1+E]
        attention, eager = scores.softmax(-1), eagerness(scores)
        if self.softmax_over == "modules":
            attention, eager = share_out(scores, masks.alive)
        read = torch.einsum("nbae,beav->nbav", attention, values).flatten(2)  # [N,B,A·d_v]
        return read, attention[..., 1:].mean(2).sum(-1), eager

    def cell_step(self, h: PerModule, c: PerModule, read: Read) -> tuple[PerModule, PerModule]:
        """N independent LSTM or GRU cells: the candidates for h and c."""
        H = self.hidden_size
        driven, recurrent = torch.bmm(read, self.W_in), torch.baddbmm(self.b, h, self.W_h)  # [N,B,4H], of a GRU 3H
        if self.cell == "lstm":
            i, f, o, g = (driven + recurrent).split(H, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            if self.cell_clip is not None:
                c = c.clamp(-self.cell_clip, self.cell_clip)
            return o.sigmoid() * c.tanh(), c
        r, z = (driven + recurrent)[..., : 2 * H].sigmoid().split(H, -1)
        proposal = (driven[..., 2 * H :] + r * recurrent[..., 2 * H :]).tanh()
        return (1 - z) * proposal + z * h, c

    def forward(
        self, inputs: Float[Tensor, "T B *E D"], state: ControllerState | None = None,
        resets: Bool[Tensor, "T B"] | None = None, *, interventions: Interventions | None = None, record: bool = True,
    ) -> tuple[Float[Tensor, "T B N*H"], ControllerState, Diagnostics | None]:  # fmt: skip
        """Run a span of T steps.

        Args:
            inputs: [T,B,D], or [T,B,E,D] for E input elements that compete with each other and with null.
            state: where to go on from; None = cleared.
            resets: true clears the state before that step.
            interventions: experiments on single modules; see `Interventions`.
            record: hand back diagnostics. They cost memory and copies, nothing else.

        Returns:
            outputs (the modules' h side by side), the state after the span, and diagnostics or None.

        Raises:
            UserError: inputs, state, resets or interventions that do not fit.
        """
        h, c = self.begin(inputs, state, resets)
        interventions = Interventions() if interventions is None else interventions
        if not isinstance(interventions, Interventions):
            raise UserError(f"interventions are {interventions!r}; write Interventions(off=(1,)), say")
        h, c = h.transpose(0, 1), c.transpose(0, 1)  # [B,N,H] -> [N,B,H]
        x = inputs if inputs.dim() == 4 else inputs.unsqueeze(2)  # [T,B,D] -> [T,B,E=1,D]
        if self.runs_fused(x, interventions):
            outputs, h, c, seen = fused.run_span(self, x[:, :, 0], h, c, resets, record)
        else:
            masks = interventions.masks(self.num_modules, self.active, x)
            h, c = (s.masked_fill(~masks.alive[:, None, None], 0) for s in (h, c))
            # Null joins the input. Keys and values do not depend on the state: once for all T·B.
            x = torch.cat((torch.zeros_like(x[:, :, :1]), x), 2)  # [T,B,1+E,D]
            keys = (x @ (self.W_e / math.sqrt(self.key_size))).unflatten(-1, (self.input_heads, -1))  # [T,B,1+E,A,d_k]
            values = (x @ self.W_v).unflatten(-1, (self.input_heads, -1))  # [T,B,1+E,A,d_v]
            trail, h, c, seen = walk(partial(self.step, masks=masks), h, c, (keys, values), resets, keep=record)
            outputs = torch.stack([h.transpose(0, 1) for h in trail]).flatten(2)  # [T,B,N,H] -> [T,B,N·H]
            seen = Diagnostics.of_steps(seen) if record else None
        return outputs, ControllerState(h.transpose(0, 1), c.transpose(0, 1)), seen

    def compete(self, eager: Float[Tensor, "N B"], masks: Masks) -> tuple[Flags, Flags, Flags]:
        """Who is active, who writes its state, who shows its new state to the others. In the paper these are one and
        the same, the k most eager; interventions and `inactive_offer` make them differ."""
        active = masks.choose(eager.detach(), self.active)
        writes = masks.thaw(active)
        shows = writes if self.inactive_offer == "old" else masks.thaw(torch.ones_like(active))
        return active.unsqueeze(-1), writes.unsqueeze(-1), shows.unsqueeze(-1)

    def message(self, heard: Read) -> PerModule:
        """What an active module adds to its h, of what it heard from all heads."""
        message = torch.bmm(heard, self.C_out)
        if self.output_gate == "none":
            return message
        gate = 1 if self.C_gate is None else torch.bmm(heard, self.C_gate).sigmoid()
        return gate * message.tanh()

    def runs_fused(self, x: Float[Tensor, "T B E D"], interventions: Interventions) -> bool:
        """Whether `fused.py` stands in for `step`: it knows the paper's form only, and nothing of what you override."""
        form = (self.cell, self.inactive_offer, self.softmax_over, self.input_heads, x.shape[2])
        papers = form == ("lstm", "old", "null", 1, 1) and interventions == Interventions()
        own = all(getattr(getattr(self, name), "__func__", None) is part for name, part in OWN_STEP.items())
        precise = x.element_size() >= 4 and not mixed_precision(x)  # `fused.tanh` loses bits near 0
        return self.kernel != "plain" and papers and own and precise

    @classmethod
    def as_in_paper(
        cls, input_size: int, width: int = 600, num_modules: int = 6, active: int = 4, **switches: Any
    ) -> RIM:
        """Sizes of the paper's table: N·H = width, input key 64, input value 4·H, communication 4 heads of 32.

        The table has 4 input heads; the same paper's copying and sequential MNIST have 1, which is what
        this gives unless `input_heads` says otherwise.
        """
        if whole_number("width", width, at_least=1) % whole_number("num_modules", num_modules, at_least=1):
            raise UserError(f"width={width} cannot be shared equally by num_modules={num_modules}: use a multiple")
        H, comm = width // num_modules, {"comm_heads": 4, "comm_key_size": 32, "comm_value_size": 32}
        return cls(input_size, H, num_modules, active, **({"key_size": 64, "value_size": 4 * H} | comm | switches))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters afresh. Every linear map keeps the variance of what it is given.

        At h = 0 a query without a bias is zero: all scores tie, and the same k modules (the lowest indices) would win
        every episode's first steps whatever the input is. With a random bias of unit size, modules differ from the
        first step on, by a score of about ±1: the winners depend on the input, and attention is far from saturated,
        so that gradient can change who wins.
        """
        if self.b_q.is_meta:  # built without memory, to count or check sizes; torch would load its compiler for this
            return
        for weight in self.parameters():
            weight.normal_(0, 1 / math.sqrt(weight.shape[-2]), generator=generator)
        self.b_q.normal_(0, 1, generator=generator)
        self.C_out.mul_(self.message_scale)
        self.b.zero_()
        if self.cell == "lstm":
            self.b[..., self.hidden_size : 2 * self.hidden_size] = 1  # forget gates start open

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """θ_M, the cells' weights, and θ_A, both attentions' weights: disjoint and exhaustive."""
        modules = [self.W_in, self.W_h, self.b]
        attention = [self.W_e, self.W_v, self.W_q, self.b_q, self.C_qkv, self.C_out, self.C_gate]
        return {"modules": modules, "attention": [p for p in attention if p is not None]}


OWN_STEP = {name: getattr(RIM, name) for name in ("step", "read_input", "compete", "cell_step", "message")}
