"""Do the tests notice? Plants the mistakes of planted_mistakes.toml one by one and runs the tests that should fail.

    python tests/plant_mistakes.py                      # all: half an hour on one core
    python tests/plant_mistakes.py --only ppo.py        # those whose file, number or sentence holds these words
    python tests/plant_mistakes.py --jobs 2             # so many at a time

Each mistake goes into a copy of the package in a temporary folder, which stands first on PYTHONPATH; the working tree
is never touched. Before any mistake, the tests in question have to pass on an untouched copy. A mistake whose old text
is not there exactly once does not apply any more and counts as an error: write it anew.

Neither pytest nor CI runs this; run it after changing what tests hold. It exits 1 unless every mistake applies and nine
of ten are noticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "metarim_lite"
WANTED = 0.9  # share that has to be noticed
PATIENCE = 20  # a test run that takes so many times as long as without the mistake hangs, and a hanging test fails
AT_LEAST, AT_MOST = 120.0, 1800.0  # seconds; what a run without a mistake may take


@dataclass(frozen=True)
class Mistake:
    file: str
    """In the package."""
    old: str
    new: str
    tests: tuple[str, ...]
    """The test files that are responsible, without "test_" and ".py"."""
    about: str

    def planted_in(self, source: str) -> str:
        """The source with the mistake.

        Raises:
            ValueError: the old text is not there, or more than once.
        """
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"the old text is there {count} times: {self.old!r}")
        return source.replace(self.old, self.new)


def run_tests(names: tuple[str, ...], mistake: Mistake | None = None, patience: float = AT_MOST) -> tuple[str, str]:
    """(outcome, one line about it) of the tests on a copy of the package, with the mistake if there is one.

    A run that takes longer than `patience` seconds is stopped.
    """
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(
            shutil.copytree(PACKAGE, Path(folder) / "metarim_lite", ignore=shutil.ignore_patterns("__pycache__"))
        )
        if mistake is not None:
            target = copy / mistake.file
            try:
                target.write_text(mistake.planted_in(target.read_text()))
            except (OSError, ValueError) as error:
                return "does not apply", str(error)
        files = [str(TESTS / f"test_{name}.py") for name in names]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *files]
        paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            # In the empty folder: with `-m`, Python puts the current one before PYTHONPATH.
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            return ("noticed" if mistake else "error"), f"a test hung for {patience:.0f} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode in (0, 1):
        said = lines[0].split(" - ")[0].split("::", 1)[-1] if lines else ""
        return ("survived", "") if done.returncode == 0 else ("noticed", said)
    if lines and mistake is not None:  # the mistake broke the import, so that no test could be collected
        return "noticed", lines[0]
    return "error", (done.stdout + done.stderr).strip()[-300:]


def timed(names: tuple[str, ...]) -> tuple[float, str, str]:
    """(seconds, outcome, one line about it) of the tests without a mistake."""
    began = time.monotonic()
    outcome, about = run_tests(names)
    return time.monotonic() - began, outcome, about


def read_table() -> list[Mistake]:
    rows = tomllib.loads((TESTS / "planted_mistakes.toml").read_text())["mistake"]
    return [Mistake(**row | {"tests": tuple(row["tests"])}) for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="words in a mistake's file, number or sentence")
    parser.add_argument("--jobs", type=int, default=1, help="mistakes planted at a time")
    parser.add_argument("--unplanted", action="store_true", help="run the tests on the untouched package only")
    asked = parser.parse_args()
    chosen = {
        number: mistake
        for number, mistake in enumerate(read_table(), 1)
        if asked.only.lower() in f"#{number} {mistake.file} {mistake.about}".lower()
    }
    if not chosen:
        parser.error(f"no mistake matches {asked.only!r}")
    # One folder of generated levels for all runs, so that minigrid makes each once.
    with tempfile.TemporaryDirectory(prefix="planted-levels-") as levels, ThreadPoolExecutor(asked.jobs) as pool:
        os.environ.setdefault("METARIM_CACHE", levels)
        sound = sorted({name for mistake in chosen.values() for name in mistake.tests})
        seconds = {}
        for name, (spent, outcome, about) in zip(sound, pool.map(lambda name: timed((name,)), sound), strict=True):
            if outcome != "survived":
                print(f"test_{name}.py fails without any mistake ({outcome}): {about}")
                return 1
            seconds[name] = spent
        if asked.unplanted:
            print(f"{len(sound)} test files pass on the untouched package")
            return 0
        began, counts = time.monotonic(), dict.fromkeys(("noticed", "survived", "does not apply", "error"), 0)

        def planted(mistake: Mistake) -> tuple[str, str]:
            sound_run = sum(seconds[name] for name in mistake.tests)
            return run_tests(mistake.tests, mistake, patience=max(AT_LEAST, PATIENCE * sound_run))

        results = pool.map(planted, chosen.values())
        for (number, mistake), (outcome, about) in zip(chosen.items(), results, strict=True):
            counts[outcome] += 1
            print(
                f"#{number:<3}{outcome:14} {mistake.file}: {mistake.about} {f'[{about}]' if about else ''}", flush=True
            )
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()), end="")
    print(f" of {len(chosen)}, {time.monotonic() - began:.0f} s")
    applied = counts["noticed"] + counts["survived"]
    return 0 if applied == len(chosen) and counts["noticed"] >= WANTED * applied else 1


if __name__ == "__main__":
    sys.exit(main())
