"""Exercises of lessons 5 to 7 another way: forgetting, clocks, and what figures show."""

import math

import numpy as np
import torch
from another_way import right


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
