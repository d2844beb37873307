"""The command line: `metarim COMMAND`. Each command is a function in a `cli_*` file; its docstring is its help."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import tyro

from .cli_course import build, check, doctor, exercises, grade, ship
from .cli_look import bench, compare_minigrid, demo, evaluate, play, replay, report, transfer
from .cli_many import continual, forgetting, sweep
from .cli_study import study
from .cli_train import adapt, from_file, imitate, train, train_command
from .errors import UserError
from .files import user_path

COMMANDS: dict[str, Any] = {
    "demo": demo,
    "train": train,
    "imitate": imitate,
    "evaluate": evaluate,
    "adapt": adapt,
    "continual": continual,
    "forgetting": forgetting,
    "sweep": sweep,
    "transfer": transfer,
    "study": study,
    "replay": replay,
    "play": play,
    "bench": bench,
    "compare-minigrid": compare_minigrid,
    "report": report,
    "ship": ship,
    "check": check,
    "grade": grade,
    "exercises": exercises,
    "build": build,
    "doctor": doctor,
}


def at_home(value: Any) -> Any:
    """Paths as their user meant them (shells leave the ~ of --folder=~/runs alone); anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(at_home, value))
    return user_path(value) if isinstance(value, Path) else value


def _read(words: list[str]) -> Callable[[], None]:
    """The command that these words ask for, ready to be called.

    Raises:
        UserError: a config refuses its values. (tyro would frame and shorten the sentence.)
    """

    def later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
        @functools.wraps(command)
        def read(*args: Any, **kwargs: Any) -> Callable[[], None]:
            return functools.partial(command, *map(at_home, args), **{k: at_home(v) for k, v in kwargs.items()})

        return read

    commands = COMMANDS
    if words[:1] == ["train"]:
        words, command = train_command(words)
        commands = COMMANDS | {"train": command}
    elif words and words[0] in ("continual", "forgetting", "sweep"):
        words, command = from_file(words, COMMANDS[words[0]])
        commands = COMMANDS | {words[0]: command}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                {name: later(command) for name, command in commands.items()},
                prog="metarim",
                description="Train, test and look into agents made of recurrent independent mechanisms.",
                args=words,
            )
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        sys.stderr.write(complaint.getvalue())
        raise


def _end(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is under way takes a moment to save
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line. Exit status 2 for a mistake the user can mend, with one sentence; 130 after Ctrl-C and 143
    after SIGTERM, when the run under way has been saved."""
    if threading.current_thread() is threading.main_thread():
        # A script that starts us in the background has us ignore Ctrl-C; kill -INT is to save and stop us there too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # else one waits for the others where no signal is heard
            signal.signal(signal.SIGTERM, _end)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of few letters shows "?" for the others, and no command fails
            stream.reconfigure(errors="replace")
    if sys.argv[1:] == ["--version"]:
        print(f"metarim-lite {metadata.version('metarim-lite')}")
        return
    try:
        _read(sys.argv[1:])()
    except UserError as error:
        print(f"metarim: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # whoever read our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # of a file that no part of ours reads or writes in a way of its own
        if error.filename is None:
            raise
        print(f"metarim: {error.filename!r}: {error.strerror}; name a file that may be used so", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
