"""Supervised training on sequence tasks: the same RIM and LSTM, the same runs that survive, no worlds and no reward.

    from metarim_lite.experiments.sequences import SEQUENCES, train_sequence
    run = train_sequence(SEQUENCES["copying-small"], folder="runs/copying-small")
    run.metrics[-1]["test/60 blanks"]

A report falls due every `report_every` updates: tests on all splits, one line of `metrics.jsonl`, a checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import bounded, check, config_of, from_dict, seed_number, to_dict, whole_number
from ..errors import UserError
from ..files import user_path
from ..flat import fill
from ..machine import check_device, choose_device
from ..models import LSTM, RIM, ControllerState, Diagnostics
from ..processes import check_alone
from ..runs.checkpoints import read_model, write_model
from ..runs.folder import Learner, run_folder
from ..runs.loop import Loop, looping
from ..tasks import COPYING_SMALL, TASKS, Adding, Batch, BouncingBalls, Copying, Digits, Task

SCHEDULES = ("constant", "linear")
TEST_SEED = 1_000_003  # test sequences are the same at every report and in every run
DRAWN = 1024  # sequences of a test that are drawn together: another number would be other sequences
AT_ONCE = 128  # … and that are answered together; more of them would only need more memory


def make_controller(config: SequenceConfig) -> RIM | LSTM:
    """The RIM, or the LSTM of the same width."""
    c = config
    if c.controller == "lstm":
        return LSTM(c.input_size, c.width, cell_clip=c.cell_clip, kernel=c.kernel)
    return make_rim(c, c.width)


def make_rim(config: SequenceConfig, width: int) -> RIM:
    """The RIM of N·H = width units."""
    c = config
    sizes = {"key_size": c.key_size, "input_heads": c.input_heads, "comm_heads": c.comm_heads}
    sizes |= {"comm_key_size": c.comm_key_size, "comm_value_size": c.comm_value_size}
    sizes |= {"output_gate": c.output_gate, "cell_clip": c.cell_clip, "kernel": c.kernel}
    if c.value_size is not None:
        sizes["value_size"] = c.value_size
    return RIM.as_in_paper(c.input_size, width, c.num_modules, c.active, **sizes)


@dataclass(frozen=True)
class SequenceConfig:
    """Everything that decides a run. Same config, same device, on a CPU same number of threads: same run. The defaults
    are the paper's copying."""

    task: str = bounded("copying", one_of=tuple(TASKS))
    """"copying", "adding", "bouncing-balls" or "digits"; its settings stand in the field of that name below."""
    controller: str = bounded("rim", one_of=("rim", "lstm"))
    """"rim" or "lstm"."""
    width: int = bounded(600, at_least=1)
    """N·H of a RIM; hidden size of an LSTM."""
    num_modules: int = 6
    """N."""
    active: int = 4
    """k."""
    input_size: int = bounded(600, at_least=1)
    """D: width of the encoded input."""
    key_size: int = 64
    """d_k of the input attention."""
    value_size: int | None = None
    """d_v of the input attention; None: 4·H."""
    input_heads: int = 1
    """Heads of the input attention."""
    comm_heads: int = 4
    """A: heads of the communication attention."""
    comm_key_size: int = 32
    """d_k of one head of the communication attention."""
    comm_value_size: int = 32
    """d_v of one head of the communication attention."""
    output_gate: str = "none"
    """Of the messages between modules: "none" (the paper), "gated" (the authors' code) or "bounded" (ours)."""
    cell_clip: float | None = None
    """Bound on the numbers in the cells, of a RIM's modules or of an LSTM; None: none (the paper)."""
    kernel: str = "fused"
    """How spans are computed: "plain", "fused" or "compiled" (of an LSTM: as "fused"). Changes speed, not results."""
    lr: float = bounded(1e-3, above=0)
    """Adam's learning rate."""
    schedule: str = bounded("constant", one_of=SCHEDULES)
    """How it goes on: "constant", or "linear", down to 0 at the last update."""
    query_rate: float = bounded(1.0, above=0)
    """Share of the learning rate with which W_q of a RIM moves, what modules look for as their states change: below 1,
    selection learns more slowly than what is selected (ours); 1: as all others (the paper)."""
    clip: float = bounded(1.0, above=0)
    """Largest norm of the gradient."""
    batch: int = bounded(64, at_least=1)
    """B: sequences per update."""
    updates: int = bounded(10_000, at_least=1)
    """Updates in all."""
    report_every: int = bounded(100, at_least=1)
    """Updates between two reports."""
    test_sequences: int = bounded(256, at_least=1)
    """Sequences per test split at each report."""
    seed: int = bounded(0, at_least=0, at_most=2**63 - 1)
    """Seeds parameters and training data. Test data are always the same."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu" or "cuda"."""
    threads: int = bounded(0, at_least=0, zero="what fits")
    """Of torch on the CPU; 0: as many as fit, at most one for each core. A run that goes on keeps those it began with,
    which its state.json records."""
    copying: Copying = field(default_factory=Copying)
    adding: Adding = field(default_factory=Adding)
    bouncing_balls: BouncingBalls = field(default_factory=BouncingBalls)
    digits: Digits = field(default_factory=Digits)

    def __post_init__(self) -> None:
        check(self)
        with torch.device("meta"):  # without memory, only so that impossible sizes are refused here
            make_controller(self)
            make_rim(self, self.num_modules if self.controller == "lstm" else self.width)  # what it ignores is checked

    @property
    def chosen_task(self) -> Task:
        """The task with its settings."""
        return getattr(self, self.task.replace("-", "_"))


SEQUENCES: dict[str, SequenceConfig] = {
    "copying": SequenceConfig(),
    "copying-small": SequenceConfig(
        copying=COPYING_SMALL, width=192, num_modules=8, active=3, input_size=32, key_size=16, value_size=48,
        comm_heads=2, comm_key_size=8, comm_value_size=8, lr=5e-3, schedule="linear", clip=0.1, batch=32, updates=600,
        report_every=150,
    ),
    "adding": SequenceConfig(task="adding"),
    "bouncing-balls": SequenceConfig(task="bouncing-balls", lr=7e-4),
    "digits": SequenceConfig(task="digits", lr=1e-4),
}  # fmt: skip
"""Named settings. Each is a RIM; `dataclasses.replace(SEQUENCES[name], controller="lstm")` is its baseline."""


class SequenceModel(nn.Module):
    """The task's encoder -> controller (RIM or LSTM) -> the task's decoder."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.chosen_task.encoder(config.input_size)
        self.controller = make_controller(config)
        self.decoder = config.chosen_task.decoder(config.width)

    def forward(
        self, inputs: Tensor, state: ControllerState | None = None, *, record: bool = False
    ) -> tuple[Tensor, ControllerState, Diagnostics | None]:
        """Inputs [T,B,task.input_size] -> answers [T,B,task.output_size], the state after them, diagnostics or None."""
        outputs, state, diagnostics = self.controller(self.encoder(inputs), state, record=record)  # [T,B,width]
        return self.decoder(outputs), state, diagnostics

    def answer(self, batch: Batch) -> Tensor:
        """Answers [T,B,task.output_size]. From step `batch.given` on the model reads its own answers."""
        answers, state, _ = self(batch.inputs[: batch.given])
        said = [answers]
        for _ in range(batch.given, len(batch.inputs)):
            answers, state, _ = self(self.config.chosen_task.as_input(said[-1][-1]).unsqueeze(0), state)
            said.append(answers)  # [1,B,output_size]
        return torch.cat(said)


@torch.no_grad()
def evaluate_sequence(model: SequenceModel, split: str, sequences: int = 1024, seed: int = TEST_SEED) -> float:
    """The task's metric on `sequences` sequences of a split, on the model's device.

    The generator lives on the CPU, so that test sequences are the same on every device.

    Raises:
        UserError: an unknown split, no sequences.
    """
    task, device = model.config.chosen_task, next(model.parameters()).device
    dice = torch.Generator().manual_seed(seed_number(seed))
    sequences = whole_number("sequences", sequences, at_least=1)
    total, answered = 0.0, 0
    while answered < sequences:
        asked = min(DRAWN, sequences - answered)
        batch = task.sample(asked, dice, split)
        batch = batch._replace(inputs=batch.inputs.to(device), targets=batch.targets.to(device))
        B = batch.inputs.shape[1]
        parts = [model.answer(batch._replace(inputs=inputs)) for inputs in batch.inputs.split(AT_ONCE, 1)]
        total, answered = total + B * task.metric(torch.cat(parts, 1), batch).item(), answered + B
        if B < asked:  # the task has no more
            break
    return total / answered


@dataclass
class SequenceRun:
    """What training leaves behind."""

    config: SequenceConfig
    model: SequenceModel
    metrics: list[dict[str, Any]]
    folder: Path | None
    finished: bool
    """False when it was stopped by Ctrl-C before all updates were made."""

    def __repr__(self) -> str:
        last = self.metrics[-1] if self.metrics else {}
        tests = ", ".join(f"{k.removeprefix('test/')} {v:.3f}" for k, v in last.items() if k.startswith("test/"))
        name, measured = f"{self.config.controller} on {self.config.task}", self.config.chosen_task.metric_name
        return f"SequenceRun({name}, {last.get('update', 0):,} updates, {measured}: {tests})"


class SequenceTrainer(Learner):
    """A model and its task. `update()` moves it on."""

    def __init__(self, config: SequenceConfig) -> None:
        self.config, self.task = config, config.chosen_task
        self.device = choose_device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = SequenceModel(config).to(self.device)
        # At rate 1 not apart: the optimizer numbers its parameters as runs kept from before do, which go on.
        apart = [] if config.controller == "lstm" or config.query_rate == 1 else [self.model.controller.W_q]
        others = [p for p in self.model.parameters() if all(p is not q for q in apart)]
        self.rates = (config.lr, config.lr * config.query_rate)
        groups = [{"params": params, "lr": lr} for params, lr in zip((others, apart), self.rates, strict=True)]
        self.optimizer = torch.optim.Adam(groups)
        self.dice = torch.Generator(device=self.device).manual_seed(config.seed)
        self.counters = {"update": 0, "reports": 0, "seconds": 0.0}

    def update(self) -> dict[str, Tensor]:
        """One batch, one step of Adam."""
        if self.config.schedule == "linear":
            for group, lr in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = lr * (1 - self.counters["update"] / self.config.updates)
        batch = self.task.sample(self.config.batch, self.dice)
        loss = self.task.loss(self.model.answer(batch), batch)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.counters["update"] += 1
        return {"loss": loss.detach(), "gradient_norm": norm}

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer}


def train_sequence(
    config: SequenceConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    on_report: Callable[[dict[str, Any]], None] | None = None,
) -> SequenceRun:
    """Train a controller on a sequence task; with a folder, survive being killed.

    Args:
        config: what to train and how; the paper's copying by default.
        folder: where to keep config, metrics, checkpoints and, at the end, the model. A folder that holds a run
            of the same config is resumed. None: nothing is written.
        progress: show a bar.
        on_report: called with each line of the metrics.

    Returns:
        The SequenceRun: model, metrics, folder.

    Raises:
        UserError: an unknown device, a folder of another run, a damaged checkpoint, a loss that is not finite
            (what checkpoint there is stays).
    """
    check_alone("a sequence task")
    config = config_of(SequenceConfig, config)
    choose_device(config.device)
    # A run may be made longer, unless its learning rate was on its way to 0.
    longer = ("updates",) if config.schedule == "constant" else ()
    with run_folder(folder, config, ("kernel", *longer), config.threads) as kept:
        trainer = SequenceTrainer(config)
        kept.resume(trainer)
        kept.begin(trainer.counters["update"] >= config.updates, "model.safetensors")
        title = f"{config.controller} on {config.task}"
        with looping(trainer, "update", "updates", config.updates, title, progress, kept.path) as loop:
            finished = loop.report(kept, lambda: _next_report(trainer, loop), on_report)
        if kept.path is not None and finished:
            save_sequence_model(kept.path / "model", trainer.model)
        return SequenceRun(config, trainer.model, kept.metrics, kept.path, finished)


def _next_report(trainer: SequenceTrainer, loop: Loop) -> dict[str, Any]:
    """Updates up to the next report; returns its line of metrics."""
    config, counters = trainer.config, trainer.counters
    means, speed = loop.advance(
        trainer.update, lambda: counters["update"] % config.report_every == 0 or counters["update"] >= config.updates
    )
    tests = {
        f"test/{split}": evaluate_sequence(trainer.model, split, config.test_sequences) for split in trainer.task.tests
    }
    loop.bar.set_postfix({k.removeprefix("test/"): f"{v:.3f}" for k, v in tests.items()})
    clock = {"updates_per_second": speed, "seconds": counters["seconds"]}
    return {"update": counters["update"], **means, **tests, **clock}


def save_sequence_model(path: str | Path, model: SequenceModel) -> Path:
    """Write a model (config and parameters) to one safetensors file, `path` with that ending."""
    return write_model(path, model, {"sequence": to_dict(model.config)})


def load_sequence_model(path: str | Path, device: str = "cpu") -> SequenceModel:
    """A model from a file written by `save_sequence_model`, or the shipped one of a study, by the study's name.

    Raises:
        UserError: no such file, study or device, or a damaged or foreign file.
    """
    path = user_path(path)
    if not path.is_file():
        shipped = Path(str(resources.files("metarim_lite.data") / f"study-{path}.safetensors"))
        if not shipped.is_file():
            raise UserError(f"there is no file {str(path)!r}; a finished run keeps its model in model.safetensors")
        path = shipped
    saved, config = read_model(path, "sequence", "save_sequence_model")
    model = SequenceModel(from_dict(SequenceConfig, config))
    model.load_state_dict(fill(model.state_dict(), saved, f"model file {path.name!r}"))
    return model.to(check_device(device))


def baseline(config: SequenceConfig, **changes: Any) -> SequenceConfig:
    """The same run with an LSTM, of the same width unless `changes` says otherwise."""
    return dataclasses.replace(config, controller="lstm", **changes)
