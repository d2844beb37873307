"""The visibility table against minigrid's own routine."""

import numpy as np
import torch

from metarim_lite.envs.vision import VIEW, lit_columns, make_vision, three_bytes, visibility_table


def minigrids_lit_cells(transparent):
    """minigrid's routine on a 7x7 grid; transparent[i, j] for column i, row j."""
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import Wall

    grid = Grid(VIEW, VIEW)
    for i in range(VIEW):
        for j in range(VIEW):
            grid.set(i, j, None if transparent[i, j] else Wall())
    return grid.process_vis(agent_pos=(3, 6))


def slow_row(light, transparent):
    """One row of the flood, cell by cell, written from minigrid's loop."""
    lit = [bool(light >> i & 1) for i in range(VIEW)]
    clear = [bool(transparent >> i & 1) for i in range(VIEW)]
    onward = [False] * VIEW
    for i in range(0, VIEW - 1):
        if lit[i] and clear[i]:
            lit[i + 1] = onward[i + 1] = onward[i] = True
    for i in range(VIEW - 1, 0, -1):
        if lit[i] and clear[i]:
            lit[i - 1] = onward[i - 1] = onward[i] = True
    return sum(b << i for i, b in enumerate(lit)), sum(b << i for i, b in enumerate(onward))


def our_lit_cells(transparent):
    """The same for a batch [n, 7, 7] through the tables."""
    vision = make_vision(8, torch.device("cpu"))
    weights = torch.tensor([1 << i for i in range(VIEW)])
    rows = (torch.from_numpy(transparent).long() * weights[:, None]).sum(1).t()  # (7 rows, n)
    columns = lit_columns(rows - 127, vision)  # minus the opaque cells
    bits = torch.arange(VIEW)
    return ((columns[:, None, None] >> (8 * bits[:, None] + bits)) & 1).bool().numpy()


def test_the_table_equals_the_slow_loop_in_every_case():
    lit, onward = visibility_table()
    for case in range(128 * 128):
        assert (int(lit[case]), int(onward[case])) == slow_row(case // 128, case % 128)


def test_every_pair_of_rows_next_to_the_agent_is_lit_as_minigrid_lights_it():
    """The light that enters the agent's row is fixed; all 128 agent rows x all 128 rows ahead, the third row clear."""
    transparent = np.ones((128 * 128, VIEW, VIEW), dtype=bool)
    for j, row in ((6, np.arange(128 * 128) // 128), (5, np.arange(128 * 128) % 128)):
        for i in range(VIEW):
            transparent[:, i, j] = row >> i & 1
    ours = our_lit_cells(transparent)
    for case in range(0, 128 * 128, 7):  # every 7th against the slow original; 7 and 128 have no common factor
        assert np.array_equal(ours[case], minigrids_lit_cells(transparent[case])), case


def test_random_views_are_lit_as_minigrid_lights_them():
    generator = np.random.default_rng(0)
    density = generator.random((1500, 1, 1))
    transparent = generator.random((1500, VIEW, VIEW)) < density
    ours = our_lit_cells(transparent)
    for case in range(len(transparent)):
        assert np.array_equal(ours[case], minigrids_lit_cells(transparent[case])), case


def test_three_bytes_are_the_low_bytes_in_order():
    values = torch.tensor([0x030201, 0x00FF10], dtype=torch.int32)
    assert three_bytes(values).tolist() == [[1, 2, 3], [0x10, 0xFF, 0]]
