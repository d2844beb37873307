"""A run's metrics as TensorBoard draws them. The package tensorboard is an extra: metarim-lite[tensorboard]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError


def tensorboard_reporter(folder: str | Path) -> Callable[[dict[str, Any]], None]:
    """An `on_report` that writes every number of a line of metrics to event files in `folder`.

    >>> train(config, folder="runs/mine", on_report=tensorboard_reporter("runs/mine/tensorboard"))

    Numbers stand against frames, or updates. Lines of a resumed run replace those of the work that was lost.

    Raises:
        UserError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("tensorboard is not installed; run pip install 'metarim-lite[tensorboard]'") from None
    writer: SummaryWriter | None = None

    def report(line: dict[str, Any]) -> None:
        nonlocal writer
        step = line["frames"] if "frames" in line else line["update"]
        if writer is None:
            writer = SummaryWriter(str(folder), purge_step=step)
        for name, number in line.items():
            if isinstance(number, (int, float)) and name not in ("frames", "update"):
                writer.add_scalar(name.replace(" ", "_"), number, step)
        writer.flush()

    return report
