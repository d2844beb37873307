"""Files: whole or not at all, UTF-8, and paths as users write them."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from metarim_lite import files
from metarim_lite.errors import UserError


def test_a_reader_sees_the_old_content_or_the_new_whatever_happens_between(tmp_path, monkeypatch):
    path = tmp_path / "größe.json"
    files.replace_file(path, b"old")
    seen = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def watched(*given, real=real):
            seen.append(path.read_bytes())
            return real(*given)

        monkeypatch.setattr(os, name, watched)
    files.replace_file(path, "neu ✓")
    assert path.read_bytes() == "neu ✓".encode()
    assert seen == [b"old", b"old", "neu ✓".encode()]  # the file's fsync, the switch, the fsync of its name


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("shared", [False, True])
def test_a_write_that_is_stopped_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, stop, shared):
    path = tmp_path / "kept"
    files.replace_file(path, b"old")

    def stopped(_):
        raise stop

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt if isinstance(stop, KeyboardInterrupt) else UserError):
        files.replace_file(path, b"new", shared=shared)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["kept"]


def _write_often(path, letter):
    for _ in range(50):
        files.replace_file(path, letter * 10_000, shared=True)


def test_two_processes_may_write_the_same_file(tmp_path):
    path, context = tmp_path / "shared", multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_often, args=(path, letter)) for letter in "ab"]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        assert not path.exists() or len(set(path.read_text())) == 1
    assert [process.exitcode for process in processes] == [0, 0]
    assert os.listdir(tmp_path) == ["shared"] and path.stat().st_size == 10_000


def test_what_cannot_be_written_is_one_sentence_with_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "x", tmp_path / "file" / "x", tmp_path):
        with pytest.raises(UserError, match=r"^cannot write '.*' \(.+\); .*: choose another place$"):
            files.replace_file(path, b"", mend="choose another place")
        with pytest.raises(UserError, match=r"^cannot (write|read)"):
            files.append_line(path, "")


def test_text_is_utf_8_with_or_without_a_mark_and_json_comes_back(tmp_path):
    files.write_json(tmp_path / "x.json", {"größe": [1, 2.5, None, "✓"]})
    text = (tmp_path / "x.json").read_bytes()
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "x.json").write_bytes(mark + text.replace(b"\n", b"\r\n"))
        assert json.loads(files.read_text(tmp_path / "x.json")) == {"größe": [1, 2.5, None, "✓"]}
    files.append_line(tmp_path / "lines", "größe ✓")
    files.append_line(tmp_path / "lines", "zwei")
    assert (tmp_path / "lines").read_bytes() == "größe ✓\nzwei\n".encode()
    with pytest.raises(FileNotFoundError):
        files.read_text(tmp_path / "none")
    with pytest.raises(UserError, match="cannot read"):
        files.read_text(tmp_path)


def test_a_tilde_is_the_home_folder_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.user_path("~/runs") == tmp_path / "runs"
    assert files.user_path(Path("runs/~")) == Path("runs/~")
    assert files.make_folder("~/a/b") == tmp_path / "a" / "b" and (tmp_path / "a" / "b").is_dir()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["nobody"])
    with pytest.raises(UserError, match="no home folder"):
        files.user_path("~/runs")
    with pytest.raises(UserError, match="no path"):
        files.user_path(3)
