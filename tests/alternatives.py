"""Right answers to the exercises, written another way: a loop, another library call, other intermediate layouts."""

import math

import numpy as np
import torch

RIGHT = {}


def right(name):
    def keep(answer):
        RIGHT.setdefault(name, []).append(answer)
        return answer

    return keep


@right("input_attention")
def one_sigmoid_in_loops(h, x, W_q, W_e, W_v):
    B, N = h.shape[:2]
    weights, reads = [], []
    for b in range(B):
        for n in range(N):
            score = (h[b, n] @ W_q[n]) @ (x[b] @ W_e) / math.sqrt(W_q.shape[-1])
            on_input = torch.sigmoid(score)
            weights.append(torch.stack([1 - on_input, on_input]))
            reads.append(on_input * (x[b] @ W_v))
    return torch.stack(weights).view(B, N, 2), torch.stack(reads).view(B, N, -1)


@right("input_attention")
def library_attention(h, x, W_q, W_e, W_v):
    X = torch.stack([torch.zeros_like(x), x], 1)
    query, scale = (h.transpose(0, 1) @ W_q).transpose(0, 1), W_q.shape[-1] ** -0.5
    read = torch.nn.functional.scaled_dot_product_attention(query, X @ W_e, X @ W_v, scale=scale)
    return (torch.baddbmm(torch.zeros(1), query, (X @ W_e).mT) * scale).softmax(2), read


@right("active_set")
def by_stable_sort(weights, k):
    order = weights[..., 0].argsort(dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape[:2], dtype=torch.bool).scatter(1, order, True)


@right("active_set")
def sorted_in_python(weights, k):
    active = torch.zeros(weights.shape[:2]).bool()
    for b, row in enumerate(weights[..., 0].tolist()):
        for n in sorted(range(len(row)), key=lambda n: (row[n], n))[:k]:  # noqa: B023
            active[b, n] = True
    return active


@right("gradient_paths")
def by_the_rule(active):
    columns = [active, active, active, torch.ones_like(active), active]
    return torch.stack(columns, dim=1)


@right("gradient_paths")
def row_by_row(active):
    return torch.tensor([[a, a, a, True, a] for a in active.tolist()])


@right("communicate")
def reader_by_reader(h, active, C_q, C_k, C_v, C_out):
    worlds = []
    for b in range(h.shape[0]):
        rows = []
        for n in range(h.shape[1]):
            if not active[b, n]:
                rows.append(h[b, n])
                continue
            scores = torch.stack([(h[b, n] @ C_q[n]) @ (h[b, m] @ C_k[m]) for m in range(h.shape[1])])
            weights = torch.softmax(scores / math.sqrt(C_q.shape[-1]), 0)
            heard = sum(weights[m] * (h[b, m] @ C_v[m]) for m in range(h.shape[1]))
            rows.append(h[b, n] + heard @ C_out[n])
        worlds.append(torch.stack(rows))
    return torch.stack(worlds)


@right("communicate")
def library_communication(h, active, C_q, C_k, C_v, C_out):
    own = [torch.bmm(h.transpose(0, 1), C).transpose(0, 1) for C in (C_q, C_k, C_v)]
    heard = torch.nn.functional.scaled_dot_product_attention(*own)
    return h + active.unsqueeze(-1).float() * torch.einsum("bnk,nkh->bnh", heard, C_out)


def four_lines(h, c, x, k, W_q, W_e, W_v, W_in, W_h, b, C_q, C_k, C_v, C_out, cell):
    weights, read = one_sigmoid_in_loops(h, x, W_q, W_e, W_v)
    active = by_stable_sort(weights, k)
    new_h, new_c = cell(read, h, c, W_in, W_h, b)
    h, c = (torch.where(active.unsqueeze(-1), new, old) for new, old in ((new_h, h), (new_c, c)))
    return library_communication(h, active, C_q, C_k, C_v, C_out), c


@right("rim_step")
def with_torch_cells(*args):
    def cell(read, h, c, W_in, W_h, b):
        order, H, made = [0, 1, 3, 2], h.shape[-1], []
        for n in range(h.shape[1]):  # PyTorch's order is i, f, g, o
            parts = [torch.cat([W.split(H, -1)[i] for i in order], -1) for W in (W_in[n], W_h[n], b[n])]
            made.append(
                torch.lstm_cell(read[:, n], (h[:, n], c[:, n]), parts[0].t(), parts[1].t(), parts[2], 0 * parts[2])
            )
        return tuple(torch.stack(s, 1) for s in zip(*made, strict=True))

    return four_lines(*args, cell)


@right("rim_step")
def with_einsum(*args):
    def cell(read, h, c, W_in, W_h, b):
        z = torch.einsum("bnx,nxg->bng", torch.cat([read, h], -1), torch.cat([W_in, W_h], 1)) + b
        i, f, o, g = z.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return four_lines(*args, cell)


@right("count_parameters")
def by_formula(N, H, D, d_k, d_v, d_c):
    attention = N * (H + 1) * d_k + D * (d_k + d_v)
    return attention + N * 4 * H * (d_v + H + 1) + 4 * N * H * d_c, 4 * N * H * (D + N * H + 2)


@right("count_parameters")
def by_shapes(N, H, D, d_k, d_v, d_c):
    shapes = [(N, H, d_k), (N, 1, d_k), (D, d_k), (D, d_v), (N, d_v, 4 * H), (N, H, 4 * H), (N, 4 * H)]
    shapes += [(N, H, 3 * d_c), (N, d_c, H)]
    return float(sum(map(math.prod, shapes))), sum(p.numel() for p in torch.nn.LSTM(D, N * H).parameters())


@right("find_the_bug")
def after_the_softmax(scores, k, h, c, candidate_h, candidate_c):
    active = by_stable_sort(scores.double().softmax(-1), k)
    on = active[..., None].float()
    return active, torch.lerp(h, candidate_h, on), torch.lerp(c, candidate_c, on)


@right("find_the_bug")
def by_differences(scores, k, h, c, candidate_h, candidate_c):
    best = (scores[..., 1] - scores[..., 0]).topk(k, dim=1).indices
    active = torch.zeros(h.shape[:2], dtype=torch.bool)
    active[torch.arange(len(h))[:, None], best] = True
    shown, new_c = h.clone(), c.clone()
    shown[active], new_c[active] = candidate_h[active], candidate_c[active]
    return active, shown, new_c


@right("transplant")
def on_copies(h, c, n, donor, receiver):
    new_h, new_c = h.clone(), c.clone()
    new_h[receiver, n], new_c[receiver, n] = h[donor, n], c[donor, n]
    return new_h, new_c


@right("transplant")
def world_by_world(h, c, n, donor, receiver):
    def moved(s):
        rows = list(s)
        rows[receiver] = torch.cat([s[receiver, :n], s[donor, n : n + 1], s[receiver, n + 1 :]])
        return torch.stack(rows)

    return [moved(h), moved(c)]


@right("blocks")
def block_by_block(h, W):
    return torch.stack([h[:, n] @ W[n] for n in range(len(W))], dim=1)


@right("blocks")
def by_einsum(h, W):
    return torch.einsum("bni,nij->bnj", h, W)


@right("lstm_step")
def library_cell(x, h, c, W_x, W_h, b):
    return torch.lstm_cell(x, (h, c), W_x.t(), W_h.t(), b, torch.zeros_like(b))


@right("lstm_step")
def gate_by_gate(x, h, c, W_x, W_h, b):
    H = h.shape[1]
    i, f, g, o = (x @ W_x[:, j : j + H] + h @ W_h[:, j : j + H] + b[j : j + H] for j in range(0, 4 * H, H))
    c = c / (1 + torch.exp(-f)) + g.tanh() / (1 + torch.exp(-i))
    return [torch.sigmoid(o) * torch.tanh(c), c]


@right("masked_unroll")
def world_by_world_unroll(x, h0, resets, W, U):
    worlds = []
    for b in range(x.shape[1]):
        h, trail = h0[b], []
        for t in range(x.shape[0]):
            if resets[t, b]:
                h = torch.zeros_like(h)
            h = torch.tanh(x[t, b] @ W + h @ U)
            trail.append(h)
        worlds.append(torch.stack(trail))
    return torch.stack(worlds, 1)


@right("masked_unroll")
def multiplied_unroll(x, h0, resets, W, U):
    driven, h, trail = torch.einsum("tbd,dh->tbh", x, W), h0, []
    for t, keep in enumerate(1.0 - resets.float()):
        h = torch.tanh(torch.addmm(driven[t], keep[:, None] * h, U))
        trail.append(h[None])
    return torch.cat(trail)


@right("gae")
def as_sums(rewards, values, dones, last_value, gamma, lam):
    T, B = rewards.shape
    V, found = torch.cat([values, last_value[None]]), torch.zeros(T, B)
    for b in range(B):
        for t in range(T):
            weight = 1.0
            for s in range(t, T):
                going = 0.0 if dones[s, b] else 1.0
                found[t, b] += weight * (rewards[s, b] + gamma * going * V[s + 1, b] - V[s, b])
                weight *= gamma * lam * going
    return found


@right("gae")
def backwards_in_place(rewards, values, dones, last_value, gamma, lam):
    A, next_A, next_V = torch.empty_like(rewards), 0, last_value
    for t in range(len(rewards) - 1, -1, -1):
        on = torch.where(dones[t], 0.0, 1.0)
        next_A = A[t] = rewards[t] + on * (gamma * next_V + gamma * lam * next_A) - values[t]
        next_V = values[t]
    return A


@right("ppo_policy_loss")
def by_cases(log_prob, old_log_prob, advantages, clip):
    ratio = torch.exp(log_prob) / torch.exp(old_log_prob)
    limit = torch.where(advantages > 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip))
    return (-limit * advantages).mean()


@right("ppo_policy_loss")
def as_a_maximum(log_prob, old_log_prob, advantages, clip):
    ratio = torch.exp(log_prob - old_log_prob)
    return torch.maximum(-ratio * advantages, -advantages * torch.clip(ratio, 1 - clip, 1 + clip)).sum() / len(ratio)


@right("cut_spans")
def with_slices(x, states, span):
    starts = range(0, len(x), span)
    return torch.cat([x[t : t + span] for t in starts], dim=1), torch.cat([states[t] for t in starts])


@right("cut_spans")
def with_indices(x, states, span):
    B, sequences = x.shape[1], []
    for t in range(0, len(x), span):
        sequences += [x[t : t + span, b] for b in range(B)]
    return torch.stack(sequences, 1), states[torch.arange(0, len(x), span)].reshape(-1, states.shape[-1])


@right("forgetting")
def forgetting_in_loops(R):
    S = len(R)
    best = [max(R[i, j] for i in range(S - 1)) - R[S - 1, j] for j in range(S - 1)]
    return sum(R[S - 1]) / S, np.array([R[j, j] - R[S - 1, j] for j in range(S)]), np.array(best)


@right("forgetting")
def forgetting_in_single_precision(R):
    R = R.astype(np.float32)
    return R[-1].mean(), np.diag(R) - R[-1], np.max(R[:-1, :-1], axis=0) - R[-1, :-1]


@right("transfer")
def transfer_in_loops(R, area, alone):
    S = len(R)
    backward = sum(R[S - 1, j] - R[j, j] for j in range(S - 1)) / (S - 1)
    return backward, np.array([R[j - 1, j] for j in range(1, S)]), 1 - (1 - area) / (1 - alone)


@right("transfer")
def transfer_by_indexing(R, area, alone):
    j = np.arange(1, len(R))
    backward = np.mean(R[-1, j - 1] - R[j - 1, j - 1])
    return torch.tensor(backward), R[j - 1, j], np.divide(area - alone, 1.0 - alone)


@right("ewc_penalty")
def as_quadratic_form(theta, anchor, gradients, strength):
    fisher, moved = (gradients**2).sum(0) / len(gradients), theta - anchor
    return fisher, 0.5 * strength * moved @ torch.diag(fisher) @ moved


@right("ewc_penalty")
def sample_by_sample(theta, anchor, gradients, strength):
    fisher = sum(g * g for g in gradients) / gradients.shape[0]
    return fisher, strength * sum(f * (t - a) ** 2 for f, t, a in zip(fisher, theta, anchor, strict=True)) / 2


@right("rehearse")
def row_after_row(new, old, share, order_new, order_old):
    r = math.floor(share * len(new))
    rows = [new[i] for i in order_new.tolist()[: len(new) - r]] + [old[i] for i in order_old.tolist()[:r]]
    return torch.stack(rows), len(new) - r


@right("rehearse")
def overwritten_copy(new, old, share, order_new, order_old):
    r, batch = int(share * new.shape[0]), new[order_new]
    if r:
        batch[-r:] = old.index_select(0, order_old[:r])
    return batch, torch.tensor(len(batch) - r)


@right("split_parameters")
def in_two_passes(names, fast, slow):
    clock = torch.zeros(len(names), dtype=torch.long)
    for parts in (False, True):  # a part comes later and overwrites its group
        for number, entries in ((1, fast), (2, slow)):
            for entry in entries:
                for i, name in enumerate(names):
                    if ("." in entry) == parts and (name.startswith(entry) if parts else name.split(".")[0] == entry):
                        clock[i] = number
    return clock


@right("split_parameters")
def longest_entry(names, fast, slow):
    clock = {entry: 1 for entry in fast} | {entry: 2 for entry in slow}
    found = [max((e for e in clock if name.startswith(e)), key=len, default="") for name in names]
    return torch.tensor([clock.get(entry, 0) for entry in found], dtype=torch.int32)


@right("fast_update")
def chosen_with_where(theta, gradient, m, v, is_fast, step, lr):
    new_m, new_v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    move = lr * (new_m / (1 - 0.9**step)) / (torch.sqrt(new_v / (1 - 0.999**step)) + 1e-5)
    return tuple(torch.where(is_fast, n, o) for n, o in ((theta - move, theta), (new_m, m), (new_v, v)))


@right("fast_update")
def number_by_number(theta, gradient, m, v, is_fast, step, lr):
    theta, m, v = theta.clone(), m.clone(), v.clone()
    for p in range(len(theta)):
        if is_fast[p]:
            m[p] = 0.9 * m[p] + 0.1 * gradient[p]
            v[p] = 0.999 * v[p] + 0.001 * gradient[p] ** 2
            theta[p] -= lr * m[p] / (1 - 0.9**step) / ((v[p] / (1 - 0.999**step)) ** 0.5 + 1e-5)
    return theta, m, v


@right("slow_update")
def masked_slow_update(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    use = (fresh & (span == slow_span)).float()
    gradient = (use @ gradients) / use.sum() * is_slow
    return theta - beta * gradient * torch.clamp(max_norm / gradient.norm(), max=1.0)


@right("slow_update")
def slow_update_in_a_loop(theta, gradients, is_slow, fresh, span, slow_span, max_norm, beta):
    used = [g for g, f, s in zip(gradients, fresh, span, strict=True) if f and s == slow_span]
    gradient, theta = (sum(used) / len(used))[is_slow], theta.clone()
    norm = gradient.square().sum().sqrt()
    theta[is_slow] -= beta * (gradient * max_norm / norm if norm > max_norm else gradient)
    return theta


@right("whose_rate")
def task_by_task(theta_A, gradients, alpha, beta):
    ends = []
    for rate in (beta, alpha):
        theta = theta_A
        for g in gradients:
            theta = theta - rate * g
        ends.append(theta)
    return *ends, torch.tensor(alpha) / beta


@right("whose_rate")
def by_the_distance(theta_A, gradients, alpha, beta):
    direction = torch.ones(len(gradients)) @ gradients
    right, printed = torch.add(theta_A, direction, alpha=-beta), torch.add(theta_A, direction, alpha=-alpha)
    return right, printed, float(alpha * direction.norm() / (beta * direction.norm()))


@right("through_adaptation")
def by_hand(w, a, x, y, x_query, y_query, alpha):
    K, Q = len(y), len(y_query)
    slope = 2 / K * a * (x.T @ (x @ (a * w) - y))
    moved = w - alpha * slope
    back = 2 / Q * (x_query.T @ (x_query @ (a * moved) - y_query))  # for a ⊙ w'
    jacobian = 2 / K * (torch.diag(x.T @ (x @ (a * w) - y)) + a[:, None] * (x.T @ x) * w)  # d slope / d a
    return back * moved - alpha * (back * a) @ jacobian, back * moved


@right("through_adaptation")
def by_finite_differences(w, a, x, y, x_query, y_query, alpha):
    w, a, x, y, x_query, y_query = (t.double() for t in (w, a, x, y, x_query, y_query))

    def adapted(a):
        return w - alpha * 2 / len(y) * a * (x.T @ (x @ (a * w) - y))

    def judged(w, a):
        return ((x_query @ (a * w) - y_query) ** 2).mean()

    moved, through, first_order = adapted(a), torch.zeros(len(a)), torch.zeros(len(a))
    for d in range(len(a)):
        e = torch.zeros_like(a)
        e[d] = 1e-5
        through[d] = (judged(adapted(a + e), a + e) - judged(adapted(a - e), a - e)) / 2e-5
        first_order[d] = (judged(moved, a + e) - judged(moved, a - e)) / 2e-5
    return through, first_order


@right("slow_or_low")
def adam_by_hand(gradients, lr, every):
    def end(gradients, lr):
        theta, m, v = 0.0, 0.0, 0.0
        for t, g in enumerate(gradients, start=1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            theta = theta - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        return theta.abs()

    return end(gradients[every - 1 :: every], lr), end(gradients, lr / every)


@right("slow_or_low")
def side_by_side(gradients, lr, every):
    slow, low = torch.zeros_like(gradients[0], requires_grad=True), torch.zeros_like(gradients[0], requires_grad=True)
    clocks = torch.optim.Adam([slow], lr), torch.optim.Adam([low], lr / every)
    for t in range(len(gradients)):
        slow.grad, low.grad = gradients[t].clone(), gradients[t].clone()
        clocks[1].step()
        if (t + 1) % every == 0:
            clocks[0].step()
    return slow.detach().abs(), low.detach().abs()


@right("interquartile_mean")
def popped_from_a_list(scores):
    runs = sorted(scores.tolist())
    for _ in range(len(runs) // 4):
        runs.pop(0), runs.pop()
    return sum(runs) / len(runs)


@right("interquartile_mean")
def by_argsort(scores):
    ranks = scores.argsort().argsort()
    return scores[(ranks >= len(scores) // 4) & (ranks < len(scores) - len(scores) // 4)].mean()


@right("bootstrap_interval")
def interval_in_loops(scores, picks):
    numbers = [popped_from_a_list(np.concatenate([row[p] for row, p in zip(scores, d, strict=True)])) for d in picks]
    return np.percentile(numbers, 2.5), np.percentile(numbers, 97.5)


@right("bootstrap_interval")
def interval_without_loops(scores, picks):
    pooled = np.sort(scores[np.arange(len(scores))[:, None], picks].reshape(len(picks), -1), axis=1)
    cut = pooled.shape[1] // 4
    return tuple(np.quantile(pooled[:, cut : pooled.shape[1] - cut].mean(1), [0.025, 0.975]))


@right("probability_of_improvement")
def signs(ours, theirs):
    return (np.sign(ours[:, None] - theirs[None]).mean() + 1) / 2


@right("probability_of_improvement")
def pair_after_pair(ours, theirs):
    return sum(1.0 if o > t else 0.5 if o == t else 0.0 for o in ours for t in theirs) / (len(ours) * len(theirs))


def information_by_entropies(active, situation):
    def entropy(*columns):
        _, counts = np.unique(np.stack(columns, 1), axis=0, return_counts=True)
        return -sum(c / len(situation) * math.log(c / len(situation)) for c in counts)

    return np.array([entropy(a) + entropy(situation) - entropy(a, situation) for a in active.T.astype(int)])


@right("specialisation")
def by_entropies(active, situation, orders):
    found = information_by_entropies(active, situation)
    chance = sum(information_by_entropies(active, situation[o]) for o in orders) / len(orders)
    return found, found - chance


@right("specialisation")
def by_counting(active, situation, orders):
    def information(s):
        found = np.zeros(active.shape[1])
        for n in range(active.shape[1]):
            for a in (False, True):
                for value in set(s.tolist()):
                    both = np.mean((active[:, n] == a) & (s == value))
                    if both:
                        found[n] += both * np.log(both / np.mean(active[:, n] == a) / np.mean(s == value))
        return found

    found = information(situation)
    return found, np.mean([found - information(situation[o]) for o in orders], axis=0)


@right("verdict")
def in_words(value, low, high, smallest):
    if high < smallest:
        return "undecided" if low > 0 and value >= smallest else "not supported"
    return "supported" if min(low, value - smallest + 1e-300) > 0 else "undecided"


@right("verdict")
def from_a_table(value, low, high, smallest):
    table = {(True, False): "supported", (False, True): "not supported"}
    return table.get((bool(low > 0 and value >= smallest), bool(high < smallest)), "undecided")


@right("egocentric_view")
def cropped_and_turned(grid, x, y, direction):
    padded = torch.nn.functional.pad(grid, (6, 6, 6, 6), value=2)[x : x + 13, y : y + 13]  # the agent in the middle
    for _ in range((3 - direction) % 4):  # until it looks up
        padded = padded.t().flip(1)
        padded = padded.flip(0).flip(1)
    return padded[3:10, :7].clone()


@right("egocentric_view")
def cell_by_cell(grid, x, y, direction):
    fx, fy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]
    view = torch.full((7, 7), 2, dtype=torch.int32)
    for i in range(7):
        for j in range(7):
            ahead, right_of = 6 - j, i - 3
            u, v = x + ahead * fx - right_of * fy, y + ahead * fy + right_of * fx
            if 0 <= u < grid.shape[0] and 0 <= v < grid.shape[1]:
                view[i, j] = grid[u, v]
    return view


@right("success_reward")
def reward_in_a_loop(success, steps, limit):
    rows = zip(success.tolist(), steps.tolist(), limit.tolist(), strict=True)
    return torch.tensor([1 - 0.9 * t / most if good else 0.0 for good, t, most in rows])


@right("success_reward")
def reward_by_masking(success, steps, limit):
    reward = torch.lerp(torch.ones(len(steps)), torch.full((len(steps),), 0.1), steps.float() / limit.float())
    return reward.masked_fill(~success, 0)


TURNS = ((1, 0), (0, 1), (-1, 0), (0, -1))


@right("explore")
def flood_from_the_goal(image, direction, mission, memory):
    """Distances from all goals at once, then downhill; another map, another order of directions."""
    words, colours = mission.split(), ("red", "green", "blue", "purple", "yellow", "grey")
    kind = {"key": 5, "ball": 6, "box": 7}[words[-1]]
    colour = colours.index(words[-2]) if words[-2] in colours else None
    world, (x, y) = memory.setdefault("world", {}), memory.get("at", (0, 0))
    fx, fy = TURNS[direction]
    for i in range(7):
        for j in range(7):
            what = tuple(image[i, j, :2].tolist())
            if what[0] and (i, j) != (3, 6):
                a, r = 6 - j, i - 3
                world[x + a * fx - r * fy, y + a * fy + r * fx] = what
    world[x, y] = (1, 0)
    goals = [p for p, (k, c) in world.items() if k == kind and colour in (None, c)]
    if not goals:
        free = [p for p, (k, _) in world.items() if k == 1]
        goals = list({(u + dx, v + dy) for u, v in free for dx, dy in TURNS} - set(world))
    distance, edge = dict.fromkeys(goals, 0), goals
    while edge:
        following = []
        for u, v in edge:
            for dx, dy in TURNS:
                p = (u + dx, v + dy)
                if p not in distance and world.get(p, (0, 0))[0] == 1:
                    distance[p] = distance[u, v] + 1
                    following.append(p)
        edge = following
    around = [(distance.get((x + dx, y + dy), 99), (d - direction) % 4) for d, (dx, dy) in enumerate(TURNS)]
    turn = min(around)[1]
    if turn:
        return 0 if turn == 3 else 1
    if world.get((x + fx, y + fy), (1, 0))[0] == 1:
        memory["at"] = (x + fx, y + fy)
    return 2


@right("explore")
def as_a_tensor(*seen):
    return torch.tensor(flood_from_the_goal(*seen))


@right("aliased")
def moment_by_moment(views, missions, actions):
    M, found = len(views), torch.zeros(len(views), len(views), dtype=torch.bool)
    for a in range(M):
        for b in range(M):
            alike = torch.equal(views[a], views[b]) and torch.equal(missions[a], missions[b])
            found[a, b] = alike and bool(actions[a] != actions[b])
    return found


@right("aliased")
def by_numbering(views, missions, actions):
    seen = torch.cat([views.flatten(1), missions], 1)
    number = torch.unique(seen, dim=0, return_inverse=True)[1]
    return number[:, None].eq(number) & actions[:, None].ne(actions)
