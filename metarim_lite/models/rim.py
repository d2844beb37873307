"""Recurrent Independent Mechanisms (Goyal et al., arXiv 1909.10893), the whole model in one file.

N small recurrent modules live side by side. At every step

1. each module asks the input a question, and may instead attend to *null*, a row of zeros;
2. the k modules with the least attention on null become *active*;
3. an active module updates its state from what it read; an inactive one keeps its state untouched;
4. active modules then read the states of all modules.

`RIM.step` is these four lines. All modules are computed and `torch.where` keeps the old state of the
inactive ones: on N small modules that is faster than gathering k of them, and it is what a GPU wants.
`fused.py` holds the same step differentiated by hand; it changes how fast a RIM is, not what it does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, unknown
from . import fused
from .attention import SOFTMAX_OVER, choose_active, communicate, input_attention, input_scores
from .controller import (
    NO_MASKS,
    ControllerState,
    Diagnostics,
    Interventions,
    Masks,
    check_bound,
    check_scale,
    check_sizes,
    check_span,
    mixed_precision,
)

GATES = {"lstm": 4, "gru": 3}  # blocks of H pre-activations per module
OFFERS = ("old", "candidate")
OUTPUT_GATES = ("none", "gated", "bounded")
KERNELS = ("plain", "fused", "compiled")


class RIM(nn.Module):
    """N modules of H units, of which k are active at a step.

    >>> rim = RIM(input_size=128, hidden_size=32, num_modules=6, active=4)
    >>> outputs, state, diagnostics = rim(torch.randn(20, 8, 128))    # [T,B,D]
    >>> outputs.shape, diagnostics.active.shape
    (torch.Size([20, 8, 192]), torch.Size([20, 8, 6]))

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
        softmax_over: "null" (the paper) or "modules" (the authors' Atari code); see `input_attention`.
        cell_clip: bound on the size of the numbers in the cells of LSTM modules (ours). None: none (the paper). A
            module that stays active while nothing happens may count up in its cell without end; after a silence
            longer than any in training it then stands where it never stood. Bounded, it comes to rest.
        kernel: how a span is computed; changes speed, not results. "plain": autograd through `step`.
            "fused" and "compiled": `fused.py`, eagerly or through `torch.compile`; both for LSTM modules with
            one input element and one input head, whatever the output gate. Other forms, and spans under
            `torch.autocast` or of half precision, are run as "plain"; forward-mode derivatives and batched ones
            (`is_grads_batched`) need it. Each new number of sequences is compiled anew; PyTorch gives up after its
            limit of 8, and steps are eager from then on.

    Raises:
        UserError: k > N, a size that is not positive, a switch with an unknown value.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 32,
        num_modules: int = 6,
        active: int = 4,
        *,
        key_size: int = 32,
        value_size: int = 64,
        input_heads: int = 1,
        comm_key_size: int = 16,
        comm_value_size: int = 16,
        comm_heads: int = 2,
        cell: str = "lstm",
        inactive_offer: str = "old",
        output_gate: str = "none",
        message_scale: float = 1.0,
        softmax_over: str = "null",
        cell_clip: float | None = None,
        kernel: str = "fused",
    ):
        super().__init__()
        check_sizes(
            input_size=input_size, hidden_size=hidden_size, num_modules=num_modules, active=active,
            key_size=key_size, value_size=value_size, input_heads=input_heads,
            comm_key_size=comm_key_size, comm_value_size=comm_value_size, comm_heads=comm_heads,
        )  # fmt: skip
        if active > num_modules:
            raise UserError(
                f"active={active} is more than num_modules={num_modules}: choose k between 1 and {num_modules}"
            )
        for kind, value, known in (
            ("cell", cell, GATES), ("inactive_offer", inactive_offer, OFFERS),
            ("output_gate", output_gate, OUTPUT_GATES), ("softmax_over", softmax_over, SOFTMAX_OVER),
            ("kernel", kernel, KERNELS),
        ):  # fmt: skip
            if value not in known:
                raise unknown(kind, value, known)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_modules, self.active = num_modules, active
        self.key_size, self.value_size, self.input_heads = key_size, value_size, input_heads
        self.comm_key_size, self.comm_value_size, self.comm_heads = comm_key_size, comm_value_size, comm_heads
        self.cell, self.inactive_offer = cell, inactive_offer
        self.output_gate, self.softmax_over, self.kernel = output_gate, softmax_over, kernel
        check_bound(cell_clip)
        if cell_clip is not None and cell != "lstm":
            raise UserError(f"cell_clip={cell_clip!r} bounds the cells of LSTM modules; with cell={cell!r} use None")
        self.cell_clip = cell_clip
        check_scale(message_scale)
        self.message_scale = message_scale
        self.output_size = num_modules * hidden_size

        D, H, N, gates = input_size, hidden_size, num_modules, GATES[cell] * hidden_size
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

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all parameters afresh. Every linear map keeps the variance of what it is given."""
        if self.b_q.is_meta:  # built without memory, to count or check sizes; torch would load its compiler for this
            return
        for weight in self.parameters():
            weight.normal_(0, 1 / math.sqrt(weight.shape[-2]), generator=generator)
        # At h = 0 a query without a bias is zero: all scores tie, and the same k modules (the lowest
        # indices) would win every episode's first steps whatever the input is. With a random bias of unit
        # size, modules differ from the first step on, by a score of about ±1: the winners depend on the
        # input, and attention is far from saturated, so that gradient can change who wins.
        self.b_q.normal_(0, 1, generator=generator)
        self.C_out.mul_(self.message_scale)
        self.b.zero_()
        if self.cell == "lstm":
            self.b[..., self.hidden_size : 2 * self.hidden_size] = 1  # forget gates start open

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ControllerState:
        """The cleared state: h [B,N,H] and c [B,N,H] ([B,N,0] with GRU modules) of zeros."""
        like = {"device": device or self.b.device, "dtype": dtype or self.b.dtype}
        cell_size = self.hidden_size if self.cell == "lstm" else 0
        return ControllerState(
            torch.zeros(batch, self.num_modules, self.hidden_size, **like),
            torch.zeros(batch, self.num_modules, cell_size, **like),
        )

    @classmethod
    def as_in_paper(
        cls, input_size: int, width: int = 600, num_modules: int = 6, active: int = 4, **switches: Any
    ) -> RIM:
        """Sizes of the paper's table: N·H = width, input key 64, input value 4·H, communication 4 heads of 32.

        The table has 4 input heads; the same paper's copying and sequential MNIST have 1, which is what
        this gives unless `input_heads` says otherwise.
        """
        check_sizes(num_modules=num_modules, width=width)
        if width % num_modules:
            raise UserError(f"width={width} cannot be shared equally by num_modules={num_modules}: use a multiple")
        sizes = {"key_size": 64, "value_size": 4 * (width // num_modules)}
        sizes |= {"comm_heads": 4, "comm_key_size": 32, "comm_value_size": 32}
        return cls(input_size, width // num_modules, num_modules, active, **(sizes | switches))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """θ_M, the cells' weights, and θ_A, both attentions' weights: disjoint and exhaustive."""
        modules = [self.W_in, self.W_h, self.b]
        attention = [self.W_e, self.W_v, self.W_q, self.b_q, self.C_qkv, self.C_out, self.C_gate]
        return {"modules": modules, "attention": [p for p in attention if p is not None]}

    def forward(
        self,
        inputs: Tensor,
        state: ControllerState | None = None,
        resets: Tensor | None = None,
        *,
        interventions: Interventions | None = None,
        record: bool = True,
    ) -> tuple[Tensor, ControllerState, Diagnostics | None]:
        """Run a span of T steps.

        Args:
            inputs: [T,B,D], or [T,B,E,D] for E input elements that compete with each other and with null.
            state: where to go on from; None = cleared.
            resets: bool [T,B]; true clears the state before that step.
            interventions: experiments on single modules; see `Interventions`.
            record: hand back diagnostics. They cost memory and copies, nothing else.

        Returns:
            outputs [T,B,N·H] (the modules' h side by side), the state after the span, and diagnostics or None.

        Raises:
            UserError: inputs, state, resets or interventions that do not fit.
        """
        N, H, cell = self.num_modules, self.hidden_size, self.hidden_size if self.cell == "lstm" else 0
        check_span(inputs, state, resets, self.b, self.input_size, ((N, H), (N, cell)), dims=(3, 4))
        T, B = inputs.shape[:2]
        h, c = self.initial_state(B, inputs.device) if state is None else state
        h, c = h.transpose(0, 1), c.transpose(0, 1)  # [B,N,H] -> [N,B,H]
        masks = NO_MASKS
        if interventions is not None:
            if not isinstance(interventions, Interventions):
                raise UserError(f"interventions are {interventions!r}; write Interventions(off=(1,)), say")
            masks = interventions.masks(self.num_modules, self.active, inputs)
        if masks.alive is not None:
            cut_out = ~masks.alive[:, None, None]
            h, c = h.masked_fill(cut_out, 0), c.masked_fill(cut_out, 0)

        # What does not depend on the state is computed once, for all T·B.
        keys, values = self.keys_and_values(inputs)
        W = torch.cat((self.W_h, self.W_q), -1)  # recurrent gates and query in one product
        b = torch.cat((self.b, self.b_q), -1)
        if self.is_plain(inputs, masks):
            outputs, h, c, records = self.walk(h, c, keys, values, W, b, masks, resets, record)
        else:
            outputs, h, c, records = fused.run_span(
                h, c, keys[:, :, 0, 0], values, fused.Weights(W, b, self.C_qkv, self.message_weights()),
                fused.Sizes(self.active, self.comm_heads, self.comm_key_size, self.output_gate, self.cell_clip),
                resets, self.kernel == "compiled", record,
            )  # fmt: skip
        diagnostics = None
        if record:
            active, attention, communication = records  # [T,N,B], [T,N,B], [T,B,A,N,N]
            diagnostics = Diagnostics(active.transpose(1, 2), attention.transpose(1, 2), communication)
        return outputs, ControllerState(h.transpose(0, 1), c.transpose(0, 1)), diagnostics

    def is_plain(self, inputs: Tensor, masks: Masks) -> bool:
        """Whether a span needs the plain step: another form than that of `fused.py`, mixed or half precision."""
        form = (self.cell, self.inactive_offer, self.softmax_over, self.input_heads)
        elements = 1 if inputs.dim() == 3 else inputs.shape[2]
        fits = (*form, elements) == ("lstm", "old", "null", 1, 1) and masks is NO_MASKS
        precise = inputs.element_size() >= 4 and not mixed_precision(inputs)  # `fused.tanh` loses bits near 0
        return self.kernel == "plain" or not fits or not precise

    def message_weights(self) -> Tensor:
        """C_out [N,A·d_v,H], with C_gate beside it, if there is one: [N,A·d_v,2H]."""
        return self.C_out if self.C_gate is None else torch.cat((self.C_out, self.C_gate), -1)

    def walk(
        self, h: Tensor, c: Tensor, keys: Tensor, values: Tensor, W: Tensor, b: Tensor, masks: Masks,
        resets: Tensor | None, record: bool,
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor] | None]:  # fmt: skip
        """`step` T times: outputs [T,B,N·H], last h and c [N,B,H], and a record of what was active and read."""
        # `unbind` before the loop: x[t] inside it would make backward fill a tensor of full size at each step.
        begins = [None] * len(keys) if resets is None else resets.unsqueeze(-1).unbind(0)  # T x [B,1]
        trail, records = [], []
        for keys_t, values_t, begins_t in zip(keys.unbind(0), values.unbind(0), begins, strict=True):
            if begins_t is not None:
                h, c = h.masked_fill(begins_t, 0), c.masked_fill(begins_t, 0)
            h, c, *seen = self.step(h, c, keys_t, values_t, W, b, masks)
            trail.append(h.transpose(0, 1))
            if record:
                records.append(seen)
        stacked = tuple(torch.stack(x).detach() for x in zip(*records, strict=True)) if record else None
        return torch.stack(trail).flatten(2), h, c, stacked  # [T,B,N,H] -> [T,B,N·H]

    def keys_and_values(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [T,B,E,A,d_k], over √d_k, and values.

        With one element and one head a module's read is one weight times one value, so that the values
        can be multiplied by the input weights beforehand, those of all modules side by side: [T,N,B,gates].
        Else [T,B,E,A,d_v].
        """
        x = inputs if inputs.dim() == 4 else inputs.unsqueeze(2)  # [T,B,D] -> [T,B,1,D]
        T, B, E, _ = x.shape
        keys = (x @ (self.W_e / math.sqrt(self.key_size))).view(T, B, E, self.input_heads, -1)  # [T,B,E,A,d_k]
        if E * self.input_heads > 1:
            return keys, (x @ self.W_v).view(T, B, E, self.input_heads, -1)
        N, D, d_v = self.num_modules, self.input_size, self.value_size
        W_in = self.W_in.transpose(0, 1).flatten(1)  # [d_v,N·gates]
        if D < d_v:  # of the two orders of x·W_v·W_in the one with fewer products
            values = x.reshape(T * B, D) @ (self.W_v @ W_in)
        else:
            values = (x.reshape(T * B, D) @ self.W_v) @ W_in
        return keys, values.view(T, B, N, -1).transpose(1, 2)  # [T·B,N·gates] -> [T,N,B,gates]

    def step(
        self, h: Tensor, c: Tensor, keys: Tensor, values: Tensor, W: Tensor, b: Tensor, masks: Masks
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One step of the paper.

        Args:
            h, c: [N,B,H].  keys, values: of this step.  W [N,H,gates+A·d_k], b: gates and query side by side.

        Returns:
            new h and c; active bool [N,B]; attention on the input [N,B]; communication [B,A,N,N].
        """
        N, B, _ = h.shape
        # 1. Each module asks: Q_n = h_n W_n^q, A_n = softmax(Q_n Kᵀ / √d_k) V.
        recurrent, query = torch.baddbmm(b, h, W).split((self.b.shape[-1], self.b_q.shape[-1]), -1)
        scores = input_scores(query.view(N, B, self.input_heads, -1), keys)  # [N,B,A,E]
        if masks.alive is not None and self.softmax_over == "modules":  # a lesioned module takes no share
            scores = scores.masked_fill(~masks.alive[:, None, None, None], -math.inf)
        weights, preference = input_attention(scores, self.softmax_over)
        driven = self.read_input(weights, values)  # [N,B,gates]

        # 2. The k with the least attention on null are active.
        preference = preference.detach()
        if masks.rivalry is not None:  # beyond all finite preferences
            preference = preference.nan_to_num(torch.finfo(preference.dtype).min)
            preference = torch.where(masks.rivalry == 0, preference, masks.rivalry)
        active = choose_active(preference, self.active)  # bool [N,B]
        if masks.alive is not None:
            active = active & masks.alive.unsqueeze(-1)
        writes = active if masks.thawed is None else active & masks.thawed.unsqueeze(-1)

        # 3. Active modules update; inactive ones keep h and c, and gradient flows through that identity.
        candidate, new_c = self.cell_step(h, c, driven, recurrent)
        m = writes.unsqueeze(-1)  # [N,B,1]
        if self.inactive_offer == "old":
            offered = torch.where(m, candidate, h)
        else:  # "candidate"; a frozen module still offers the state it was frozen in
            offered = candidate if masks.thawed is None else torch.where(masks.thawed[:, None, None], candidate, h)
        c = torch.where(m, new_c, c)

        # 4. Active modules read all modules.
        sizes = (self.comm_key_size, self.comm_key_size, self.comm_value_size)
        query, key, value = torch.bmm(offered, self.C_qkv).view(N, B, self.comm_heads, -1).split(sizes, -1)
        read, communication = communicate(query, key, value, masks.alive)  # [N,B,A·d_v], [B,A,N,N]
        message = torch.bmm(read, self.C_out)  # [N,B,H]
        if self.output_gate != "none":
            message = message.tanh()
        if self.C_gate is not None:
            message = torch.bmm(read, self.C_gate).sigmoid() * message
        h = torch.where(m, candidate + message, h)
        return h, c, active, weights.mean(2).sum(-1), communication * writes.t()[:, None, :, None]

    def read_input(self, weights: Tensor, values: Tensor) -> Tensor:
        """What the modules read, times their input weights: [N,B,gates]. Null adds nothing: its value is 0."""
        if values.dim() == 3:
            return weights[..., 0] * values  # [N,B,1] * [N,B,gates]
        read = torch.einsum("nbae,beav->nbav", weights, values).flatten(2)  # [N,B,A·d_v]
        return torch.bmm(read, self.W_in)

    def cell_step(self, h: Tensor, c: Tensor, driven: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
        """N independent LSTM or GRU cells: the candidates for h and c."""
        H = self.hidden_size
        if self.cell == "lstm":
            gates = driven + recurrent
            i, f, o = gates[..., : 3 * H].sigmoid().split(H, -1)  # one sigmoid over three gates
            c = f * c + i * gates[..., 3 * H :].tanh()
            if self.cell_clip is not None:
                c = c.clamp(-self.cell_clip, self.cell_clip)
            return o * c.tanh(), c
        r, z = (driven + recurrent)[..., : 2 * H].sigmoid().split(H, -1)
        proposal = (driven[..., 2 * H :] + r * recurrent[..., 2 * H :]).tanh()
        return (1 - z) * proposal + z * h, c
