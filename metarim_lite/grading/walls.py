"""What a process that runs a stranger's code cannot do. It builds these walls around itself, before it reads that code,
and nothing that it does afterwards can take them down.

    limits      of the system, everywhere: computing time, memory, size of a file, open files, no core dumps
    Landlock    Linux 5.13 and later: files. It reads Python and its libraries, but for this package, and writes into
                its own folder alone.
    seccomp     Linux on x86-64 and ARM64: calls that the kernel refuses. No new process, no other program, no network,
                no signal to anybody else, no change of owners, rights or priorities.
    a fence     everywhere, in Python: refuses the same with a sentence that a student understands. Python code that
                wants to can climb over it; the three others it cannot.

Neither needs rights, a container or a daemon. Run by root, the process gives up all of root's powers first. Nothing but
the standard library is imported here: the child's side has no other part of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 36, 38, 22


FILES, CALLS = "files (Landlock)", "calls, network, processes (seccomp)"


def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def limit(seconds: int, memory: int, file_bytes: int) -> None:
    """
    Args:
        seconds: of computing time; one second later the process is killed.
        memory: bytes more than it has now (where the system counts addresses: not on macOS).
        file_bytes: that one file may have.
    """
    import resource

    def at_most(what: int, number: int, hard: int | None = None) -> None:
        with contextlib.suppress(ValueError, OSError):
            top = resource.getrlimit(what)[1]
            most = number if hard is None else hard
            most = most if top == resource.RLIM_INFINITY else min(most, top)
            resource.setrlimit(what, (min(number, most), most))

    at_most(resource.RLIMIT_CPU, seconds, seconds + 1)
    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_FSIZE, file_bytes)
    at_most(resource.RLIMIT_NOFILE, 64)
    at_most(resource.RLIMIT_STACK, 1 << 23)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        at_most(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + memory)
        at_most(resource.RLIMIT_MSGQUEUE, 0)


def give_up_root() -> None:
    """Root without its powers: no limit can be raised, no file be read that its owner may not read."""
    if sys.platform == "linux":
        header, nothing = struct.pack("<Ii", 0x20080522, 0), bytes(24)
        libc().capset(header, nothing)


# --- Landlock: files ------------------------------------------------------------------------------------------------

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, the same everywhere
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = 1, 2, 4, 8, 1 << 5, 1 << 8, 1 << 14
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
READABLE = (  # of the system: libraries, what they ask the machine for, and devices that hold nothing
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/zero", "/dev/urandom", "/dev/random",
)  # fmt: skip


def files_can_be_walled() -> int:
    """Landlock's version; 0 where there is none."""
    return max(0, libc().syscall(CREATE, None, 0, 1)) if sys.platform == "linux" else 0


def shelves(roots: Iterable[Path], hidden: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """What to open so that all below `roots` can be read, but nothing below `hidden`: (path, whole). A folder that is
    not whole may be listed alone: Landlock can allow what is below a folder, and cannot make an exception."""
    for root in roots:
        if any(root == h or h in root.parents for h in hidden) or not root.exists():
            continue
        inside = [h for h in hidden if root in h.parents]
        yield root, not inside
        if inside:
            yield from shelves(sorted(root.iterdir()), inside)


def wall_off_files(own: Path, hidden: Iterable[Path]) -> bool:
    """Read Python and the system's libraries, write into `own`, and no more; False where there is no Landlock."""
    version = files_can_be_walled()
    if not version:
        return False
    call = libc().syscall
    libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    handled = (1 << (13 if version == 1 else 14 if version == 2 else 15 if version < 5 else 16)) - 1
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)  # TCP; signals and abstract sockets
    asked = struct.pack("<QQQ", handled, network, scope)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = call(CREATE, asked, len(asked), 0)

    def allow(path: Path, access: int) -> None:
        with contextlib.suppress(OSError):
            handle = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
            access &= handled if path.is_dir() else handled & OF_A_FILE
            call(ADD, rules, 1, struct.pack("<Qi", access, handle), 0)
            os.close(handle)

    python = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, *sys.path) if p}
    for path, whole in shelves([*python, *map(Path, READABLE)], [h.resolve() for h in hidden]):
        allow(path, READ_FILE | READ_DIR | EXECUTE if whole else READ_DIR)
    allow(Path(os.devnull), READ_FILE | WRITE_FILE | TRUNCATE)
    allow(own, READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG)
    done = call(RESTRICT, rules, 0) == 0
    os.close(rules)
    return done


# --- seccomp: calls to the kernel -----------------------------------------------------------------------------------

MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
REFUSED = {  # number on x86-64 and on ARM64, None where there is none
    # another process, another program
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "unshare": (272, 97),
    "setns": (308, 268), "setsid": (112, 157), "setpgid": (109, 154),
    # looking into others, or acting on them
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    # network, and what outlives a process
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # rights and owners of files, which Landlock leaves alone
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
    # the machine itself, and ways around these walls
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "mknod": (133, None), "mknodat": (259, 33), "acct": (163, 89), "reboot": (169, 142), "init_module": (175, 105),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
LOAD, EQUAL, AT_LEAST, HAS_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of the filter's machine (BPF)
ALLOW, FAIL, EPERM, ENOSYS = 0x7FFF0000, 0x00050000, 1, 38
NUMBER, MACHINE, FIRST = 0, 4, 16  # where the call's number, the machine and its first argument lie
CLONE_THREAD = 0x10000


def calls_can_be_refused() -> bool:
    return sys.platform == "linux" and platform.machine() in MACHINES


def refuse_calls() -> bool:
    """False where the kernel, or the machine, knows no such filter."""
    if not calls_can_be_refused():
        return False
    machine, column = MACHINES[platform.machine()]
    no, me = FAIL | EPERM, os.getpid()

    def only(numbers: tuple[int, int], kind: int, value: int) -> list[tuple[int, int, int, int]]:
        """This call passes with such a first argument, and with no other."""
        test = [(LOAD, 0, 0, FIRST), (kind, 0, 1, value), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, no)]
        return [(EQUAL, 0, len(test), numbers[column]), *test]

    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, machine), (RETURN, 0, 0, no), (LOAD, 0, 0, NUMBER)]
    program += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, no)]  # the same calls under other numbers
    program += only((56, 220), HAS_BITS, CLONE_THREAD)  # clone: threads
    program += [(EQUAL, 0, 1, 435), (RETURN, 0, 0, FAIL | ENOSYS)]  # clone3: libc then takes clone
    program += only((62, 129), EQUAL, me) + only((234, 131), EQUAL, me)  # kill, tgkill: oneself, as abort() does
    program += only((302, 261), EQUAL, 0)  # prlimit64: of oneself
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            program += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, no)]
    program.append((RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("<HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    filled = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(held))
    libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return libc().prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(filled), 0, 0) == 0


# --- a fence, for the sentence --------------------------------------------------------------------------------------

DEEDS = {
    "subprocess.": "start another program", "os.system": "start another program", "os.exec": "start another program",
    "os.posix_spawn": "start another program", "os.spawn": "start another program", "os.fork": "start another process",
    "pty.spawn": "start another program", "socket.": "use a network", "os.kill": "send signals",
    "os.chmod": "change files",
    "os.chown": "change files", "os.rename": "change files", "os.symlink": "change files", "os.link": "change files",
    "os.mkdir": "change files", "os.rmdir": "change files", "os.truncate": "change files", "shutil.": "change files",
}  # fmt: skip


def build_fence(own: Path, hidden: Iterable[Path]) -> None:
    """From now on Python itself refuses these deeds with a PermissionError of plain words."""
    mine, secret = str(own) + os.sep, tuple(str(h) + os.sep for h in hidden)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    real, needed = os.path.realpath, ("/dev/null",)

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, int):
                return
            path = real(os.fsdecode(path))
            if path.startswith(mine) or path in needed:
                return
            if isinstance(flags, int) and flags & writing:
                raise PermissionError(f"an answer may not write files, and this one writes {os.path.basename(path)!r}")
            if path.startswith(secret):
                raise PermissionError("an answer may not read files of the course, and this one does")
        elif event.startswith(tuple(DEEDS)):
            deed = next(text for start, text in DEEDS.items() if event.startswith(start))
            raise PermissionError(f"an answer may not {deed}, and this one does ({event})")

    sys.addaudithook(look)


def standing() -> list[str]:
    """The walls that this system has."""
    return ["limits"] + [FILES] * bool(files_can_be_walled()) + [CALLS] * calls_can_be_refused()


def close_all_but(kept: int) -> None:
    """Every open file of this process but one, and what goes to nobody."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, 4096)
