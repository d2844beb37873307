"""Files as a user's machine has them: written whole or not at all, always UTF-8, with or without a home folder."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from .errors import UserError

AGAIN = "make space, then resume"


def user_path(path: str | Path) -> Path:
    """A path as the user meant it: "~" is their home folder.

    Raises:
        UserError: there is no home folder, or it is no path.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{str(path)!r} begins with ~, and no home folder is known here; write it out") from None
    except TypeError:
        raise UserError(f"{path!r} is no path; give a text such as 'runs/mine'") from None


def make_folder(path: str | Path) -> Path:
    """A folder we may write to, made if needed.

    Raises:
        UserError: it cannot be made or written to.
    """
    path = user_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have probed, too
    except OSError as error:
        raise UserError(f"cannot write to {str(path)!r} ({error.strerror}); choose a folder you may write to") from None
    return path


def read_file(path: Path) -> bytes:
    """What is in a file.

    Raises:
        FileNotFoundError: there is none.
        UserError: there is one, but we may not read it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r} ({error.strerror}); make it a file that you may read") from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte-order mark that some editors put before it.

    Raises:
        FileNotFoundError, UserError: as `read_file`.
        UnicodeDecodeError: it is not UTF-8. (A `ValueError`, as are those of `json.loads` and `tomllib.loads`.)
    """
    return read_file(path).decode("utf-8-sig").replace("\r\n", "\n")


def replace_file(path: Path, content: bytes | str, mend: str = AGAIN, shared: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, even after a power cut.

    Args:
        path: the file; its folder exists.
        content: bytes, or text to be written as UTF-8.
        mend: what the user can do when it cannot be written.
        shared: other processes may write the same file at this moment. (Else a temporary file left by a kill has the
            same name every time, and is written over.)

    Raises:
        UserError: the disk is full or the folder cannot be written to; the old file is untouched.
    """
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part" if shared else f"{path.name}.part")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _keep_names(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(path, error, mend) from None
        raise


def write_json(path: Path, value: Any) -> None:
    """`replace_file` with a value as JSON.

    Raises:
        UserError: as `replace_file`.
    """
    replace_file(path, json.dumps(value, indent=1) + "\n")


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, and wait until the disk has it: what is written afterwards may count on it. What a full
    disk leaves of it is cut off when the run is resumed.

    Raises:
        UserError: the disk is full or the file cannot be written to.
    """
    try:
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _not_written(path, error, AGAIN) from None


def _keep_names(folder: Path) -> None:
    """Make the disk keep what files are called before anything else is written: a power cut may not swap the two."""
    with contextlib.suppress(OSError):  # not every system can, Windows for one
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_written(path: Path, error: OSError, mend: str) -> UserError:
    return UserError(f"cannot write {str(path)!r} ({error.strerror}); what was there before is kept: {mend}")
