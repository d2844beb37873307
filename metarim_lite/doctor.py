"""`metarim doctor`: what the course needs of this machine, line by line. Each line has a tick, or says what to do.

It runs where nothing else does: only Python's own library is imported before something else has been found to be there.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

GOOD, NOTE, BAD = "✓", "!", "✗"  # in order; works, and you may want to know; has to be mended
TESTED = ((3, 11), (3, 13))  # Python
LESSON_GB, COMFORT_GB = 1.0, 2.0  # memory of the largest lesson; with Jupyter and a browser beside it
DRIVER = Path("/proc/driver/nvidia/version")


class Finding(NamedTuple):
    """One line: a mark, and what there is or what to do."""

    mark: str
    said: str


def examine() -> Iterator[tuple[str, Finding]]:
    """Every part of the examination with what was found, as soon as it is known. A part that fails is a finding."""
    parts: dict[str, Callable[[], list[Finding]]] = {
        "python": python, "packages": packages, "device": device, "threads": threads, "memory": memory,
        "cache": cache, "course": course, "notebooks": notebooks,
    }  # fmt: skip
    for name, part in parts.items():
        try:
            found = part()
        except ModuleNotFoundError as error:
            found = [Finding(BAD, f"cannot be looked at without {error.name}")]
        except Exception as error:  # whatever it is, it belongs into the report
            found = [Finding(BAD, f"cannot be looked at: {type(error).__name__}: {error}")]
        for finding in found:
            yield name, finding


def doctor() -> bool:
    """Print the examination; True when nothing has to be mended."""
    marks = [BAD]
    for name, (mark, said) in examine():
        print(f"{_shown(mark)} {name:<10} {said}", flush=True)
        marks.append(mark)
    well = marks.count(BAD) == 1
    print("\nEverything that the course needs is there." if well else f"\nMend the lines with {_shown(BAD)} first.")
    return well


def _shown(mark: str) -> str:
    """The mark, in letters where this terminal has no ticks."""
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return {GOOD: "ok", BAD: "NO"}[mark]
    return mark


def python() -> list[Finding]:
    here, text = sys.version_info[:2], f"{platform.python_version()} ({platform.system()})"
    first, last = (".".join(map(str, version)) for version in TESTED)
    if here < TESTED[0]:
        return [Finding(BAD, f"{text}, and {first} or newer is needed: make a new environment, with Python {last} say")]
    if here > TESTED[1]:
        return [Finding(NOTE, f"{text} is newer than what was tested ({first} to {last})")]
    return [Finding(GOOD, text)]


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" -> (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def requirements() -> dict[str, str]:
    """What the package needs, as its installation says: distribution -> oldest version that will do ("" for any).

    Raises:
        PackageNotFoundError: the package was not installed, only copied.
    """
    needed = {}
    for line in metadata.requires("metarim-lite") or []:
        name, rest = re.fullmatch(r"([\w.-]+)(.*)", line).groups()
        if "extra ==" not in rest:
            oldest = re.search(r">=\s*([\d.]+)", rest)
            needed[name] = oldest[1] if oldest else ""
    return needed


def packages() -> list[Finding]:
    try:
        found = [Finding(GOOD, f"metarim-lite {metadata.version('metarim-lite')}")]
        needed = requirements()
    except metadata.PackageNotFoundError:
        return [Finding(BAD, "metarim-lite itself is not installed: in its folder, run pip install -e '.[lab]'")]
    there = []
    for name, oldest in needed.items():
        mend = f"pip install -U '{name}{'>=' + oldest if oldest else ''}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(Finding(BAD, f"{name} is missing: {mend}"))
            continue
        if version_numbers(version) < version_numbers(oldest):
            found.append(Finding(BAD, f"{name} {version} is too old: {mend}"))
        else:
            there.append(f"{name} {version}")
    return [*found, *(Finding(GOOD, ", ".join(there[i : i + 5])) for i in range(0, len(there), 5))]


def device() -> list[Finding]:
    torch = importlib.import_module("torch")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    driver = DRIVER.exists() or shutil.which("nvidia-smi") is not None
    if usable:
        card = torch.cuda.get_device_properties(0)
        return [Finding(GOOD, f"cuda: {card.name}, {card.total_memory / 1e9:.0f} GB (device='auto' takes it)")]
    if torch.version.cuda is None:
        if driver:
            return [Finding(NOTE, "cpu: there is a GPU, and this torch is built for CPUs; another build would use it")]
        return [Finding(GOOD, "cpu (this torch is built for CPUs, which is all that the course needs)")]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Finding(NOTE, "cpu: CUDA_VISIBLE_DEVICES hides the GPU")]
    if driver:
        why = str(told[0].message).splitlines()[0] if told else "no reason was given"
        return [Finding(NOTE, f"cpu: there is a GPU driver, and torch {torch.__version__} cannot use it ({why})")]
    return [Finding(NOTE, "cpu: no GPU driver is installed; if this machine has a GPU, install one, else all is well")]


def threads() -> list[Finding]:
    torch = importlib.import_module("torch")
    from .machine import available_cores

    cores, used = available_cores(), torch.get_num_threads()
    capped = f" (OMP_NUM_THREADS={cap})" if (cap := os.environ.get("OMP_NUM_THREADS")) else ""
    if used > cores:
        return [Finding(NOTE, f"torch uses {used} on {cores} cores{capped}: they wait for each other; set fewer")]
    return [Finding(GOOD, f"torch uses {used} of {cores} cores{capped}")]


def memory() -> list[Finding]:
    free = free_memory_gb()
    if free is None:
        return [Finding(NOTE, f"this system does not say how much is free; a lesson needs {LESSON_GB:.1f} GB")]
    if free < LESSON_GB:
        advice = "close notebooks and programs, or take a larger machine"
        return [Finding(BAD, f"{free:.1f} GB are free and a lesson needs up to {LESSON_GB:.1f}: {advice}")]
    if free < COMFORT_GB:
        return [Finding(NOTE, f"{free:.1f} GB are free: enough for one notebook at a time")]
    return [Finding(GOOD, f"{free:.1f} GB are free; a lesson needs up to {LESSON_GB:.1f}")]


def free_memory_gb() -> float | None:
    """Memory that this process may still take, in GB (10⁹ bytes), within the limits of a container and of ulimit.
    None where the system does not say."""
    found = [_of_system(), _of_container(), _of_ulimit()]
    return min((bytes_ / 1e9 for bytes_ in found if bytes_ is not None), default=None)


def _of_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
    except OSError:
        pass
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: its own size first, then load, total, free, …
        status[0] = ctypes.sizeof(status)
        return status[2] if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: what is built in, at least
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_container() -> int | None:
    group = Path("/sys/fs/cgroup")
    for most, used, held in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            limit, now = (int((group / name).read_text(encoding="utf-8")) for name in (most, used))
            files = re.search(
                r"^(?:total_)?inactive_file (\d+)", (group / held).read_text(encoding="utf-8"), re.MULTILINE
            )
        except (OSError, ValueError):  # not there, or "max"
            continue
        return max(0, limit - now + (int(files[1]) if files else 0))  # files kept in memory give way
    return None


def _of_ulimit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    return max(0, limit - used)


def cache() -> list[Finding]:
    from .cache import cache_folder
    from .errors import UserError
    from .files import make_folder

    mend = "levels are made anew every time; name a folder that you may write to in METARIM_CACHE"
    folder = cache_folder()
    if folder is None:
        return [Finding(NOTE, f"no home folder is known here: {mend}")]
    try:
        make_folder(folder)
    except UserError as error:
        return [Finding(NOTE, f"{str(error).split(';')[0]}: {mend}")]
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"]
    size = sum(path.stat().st_size for path in files) / 1e6
    damaged = damaged_files(folder)
    if damaged:
        named = f"{damaged[0]}" + (f" and {len(damaged) - 1} more" if len(damaged) > 1 else "")
        return [Finding(NOTE, f"{named} cannot be read: it counts as absent and is made again; or delete it")]
    return [Finding(GOOD, f"{folder}: {len(files)} files, {size:.0f} MB; may be deleted at any time")]


def damaged_files(folder: Path) -> list[Path]:
    """Banks of levels in the cache that cannot be read."""
    from .envs.storage import Damaged, from_bytes

    found = []
    for path in sorted((folder / "levels").rglob("*.v*")):
        try:
            from_bytes(path.read_bytes())
        except (Damaged, OSError):
            found.append(path)
    return found


def works(attempt: Callable[[], None]) -> tuple[bool, str]:
    """Whether an attempt succeeds, and the error if it does not. Nobody's dice are disturbed."""
    from .course.probing import undisturbed

    try:
        with undisturbed():
            attempt()
    except Exception as error:  # whatever it is, the student should read it here
        return False, f"{type(error).__name__}: {error}"
    return True, ""


def _make_a_world() -> None:
    import torch

    from .envs import GridWorlds, LevelBank

    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(2)), num_envs=2)
    worlds.reset()
    worlds.step(torch.zeros(2, dtype=torch.int64))


def _make_an_agent() -> None:
    import torch

    from .envs import GridWorlds, LevelBank
    from .models import Agent, AgentConfig, act

    worlds = GridWorlds(LevelBank.generate("BabyAI-GoToLocal-v0", seeds=range(2)), num_envs=2)
    out, _ = act(Agent(AgentConfig()), worlds.reset(), None, torch.ones(2, dtype=torch.bool))
    if out.logits.shape != (2, 7):
        raise RuntimeError(f"logits of shape {tuple(out.logits.shape)}")


TRIED = {"a world can be made and stepped": _make_a_world, "an agent can look at it and act": _make_an_agent}


def course() -> list[Finding]:
    from .runs import load_agent, shipped_agents

    found = []
    for what, attempt in TRIED.items():
        done, why = works(attempt)
        found.append(Finding(GOOD if done else BAD, what if done else f"{what}? {why}"))
    agents = shipped_agents()
    for name in agents:
        load_agent(name)
    return [*found, Finding(GOOD, f"the agents that come with the package can be read: {', '.join(agents)}")]


def notebooks() -> list[Finding]:
    for name in ("jupyterlab", "notebook", "google-colab"):
        try:
            return [Finding(GOOD, f"{name} {metadata.version(name)}")]
        except metadata.PackageNotFoundError:
            continue
    return [Finding(NOTE, "no Jupyter in this environment: pip install 'metarim-lite[lab]' (VS Code brings its own)")]
