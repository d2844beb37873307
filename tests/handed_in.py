"""Notebooks of lesson 03 as students hand them in: made cell by cell, and as grading reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from metarim_lite.grading.answers import Cell, Notebook, find_answer

LESSON = "03_attention_bottlenecks"
SETUP = "import torch\n\nfrom metarim_lite.course import check, once_written, solved_or_reference"
HEAD = "def input_attention(h, x, W_q, W_e, W_v):\n"
RIGHT = f"""{HEAD}    s = torch.einsum("bnh,nhk,bk->bn", h, W_q, x @ W_e) / W_q.shape[-1] ** 0.5
    weights = torch.stack([torch.zeros_like(s), s], dim=-1).softmax(-1)
    return weights, weights[..., 1:] * (x @ W_v)[:, None]
"""
WRONG = RIGHT.replace("softmax(-1)", "softmax(1)")
STUB = f'{HEAD}    """What to do."""\n    raise NotImplementedError("your code goes here")\n'
SECOND = """def active_set(weights, k):
    order = weights[..., 0].argsort(dim=1, stable=True)[:, :k]
    return torch.zeros(weights.shape[:2], dtype=torch.bool).scatter(1, order, True)
"""


def cell(source: str, kind: str = "code", **more) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": source, "id": f"c{abs(hash((source, kind))) % 10**9}"}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | more


def answer(source: str, name: str = "input_attention", **more) -> dict:
    ours = {"metarim": {"exercise": name, "role": "answer", "points": 3}}
    return cell(source, metadata=ours, id=f"{name}-answer") | more


def check(name: str = "input_attention", **more) -> dict:
    ours = {"metarim": {"exercise": name, "role": "check"}}
    return cell(f'check("{name}", {name})', metadata=ours, id=f"{name}-check") | more


def notebook(*cells: dict, **more) -> dict:
    """`cells` between the set-up and a right `active_set`."""
    rest = [answer(SECOND, "active_set"), check("active_set")]
    metadata = {"metarim": {"lesson": LESSON, "kind": "exercise"}}
    return {"cells": [cell(SETUP), *cells, *rest], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5} | more


def saved(content: dict, name: str = f"{LESSON}.ipynb") -> Callable[[Path, Path], None]:
    return lambda folder, outside: (folder / name).write_text(
        json.dumps(content).replace("@OUTSIDE@", str(outside)), encoding="utf-8"
    )


def book(*sources: str) -> Notebook:
    return Notebook(LESSON, [Cell(number, "code", source) for number, source in enumerate(sources, 1)])


def found_in(*sources: str, name: str = "input_attention", **more):
    return find_answer(name, book(*sources), **more)


def sent(found) -> str:
    return "\n".join(piece.source for piece in found.pieces)
