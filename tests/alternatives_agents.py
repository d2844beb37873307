"""Exercises of lessons 1 and 2 another way: views and levels of worlds, recurrent controllers and their training."""

import torch
from another_way import right


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
