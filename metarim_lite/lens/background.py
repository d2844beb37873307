"""Work that goes on in a thread, while a notebook's kernel stays usable; and what it may cost to look at it."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

RUNNING, STOPPED, FINISHED, FAILED, CLOSED = "running", "stopped", "finished", "failed", "closed"


class Background:
    """Pieces of work, one after the other, in a thread of its own. It can be stopped between two pieces, and go on.

    Example:
        >>> background = Background(piece=count_one, changed=print_state)   # count_one() says whether more is left
        >>> background.start(); background.stop(); background.go_on(); background.wait()

    Args:
        piece: does the next piece; returns whether more is left. A long one asks `asked` whether to come to an end.
        changed: called, in the thread, whenever `state` has changed.
        inside: makes the context that the thread works in.

    Attributes:
        state: RUNNING, STOPPED (it can go on), FINISHED, FAILED or CLOSED.
        error: what a piece raised, where it failed.
    """

    def __init__(
        self,
        piece: Callable[[], bool],
        changed: Callable[[], None],
        inside: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.piece, self.changed, self.inside = piece, changed, inside
        self.state, self.error = RUNNING, None
        self._settled = RUNNING
        self._condition = threading.Condition()
        self._stop = self._close = False
        self._inside = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metarim-background", daemon=True)

    def start(self) -> None:
        """Begin, once the thread is inside its context.

        Raises:
            what entering the context raised.
        """
        self._thread.start()
        while self._thread.is_alive() and not self._inside.wait(0.2):
            pass
        if not self._inside.is_set():
            raise self.error
        close = weakref.WeakMethod(self.close)  # else a thread in the middle of torch may crash a Python that ends
        atexit.register(lambda: (ours := close()) and ours(10))

    def asked(self) -> bool:
        """Whether somebody wants it to stop."""
        return self._stop or self._close

    def stop(self) -> None:
        """Ask it to stop after this piece. Nothing happens where it does not run."""
        with self._condition:
            self._stop = True
            self._condition.notify_all()

    def go_on(self) -> None:
        """Let it go on where it was stopped, or is about to stop."""
        with self._condition:
            self._stop = False
            if self._settled == STOPPED:  # whoever waits from now on waits for the next stop
                self._settled = RUNNING
            self._condition.notify_all()

    def close(self, seconds: float = 0) -> None:
        """Ask it to end for good, and wait for that so many seconds at most."""
        with self._condition:
            self._close = True
            self._condition.notify_all()
        if seconds and self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def wait(self) -> None:
        """Until it does not run any more. A Ctrl-C meanwhile asks it to stop.

        Raises:
            what a piece raised, where it failed.
        """
        try:
            with self._condition:
                while self._settled == RUNNING and self._thread.is_alive():
                    self._condition.wait(0.2)  # on Windows a wait without end would be deaf to Ctrl-C
        except KeyboardInterrupt:
            self.stop()
            self.wait()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        try:
            with self.inside():
                self._inside.set()
                more = True
                while more and not self._close:
                    if self._stop:
                        self._pause()
                    else:
                        more = self.piece()
            self._become(CLOSED if more else FINISHED)
        except BaseException as error:  # whatever it is, nobody else is there to see it
            self.error = error
            self._become(FAILED)

    def _pause(self) -> None:
        self._become(STOPPED)
        with self._condition:
            self._condition.wait_for(lambda: self._close or not self._stop)
        if not self._close:
            self._become(RUNNING)

    def _become(self, state: str) -> None:
        self.state = state
        try:
            self.changed()
        finally:
            with self._condition:
                self._settled = state  # now, that whoever waits finds everything done
                self._condition.notify_all()


class Budget:
    """What looking may cost: at most a share of the time, going by what the last look took. The first look is free.

    Args:
        share: of the time.
        clock: seconds of the work that is looked at.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self.share, self.clock = share, clock
        self.spent = self.last = 0.0

    def affords(self) -> bool:
        """Whether another look, as dear as the last, stays within the share."""
        return self.spent + self.last <= self.share * self.clock()

    @contextmanager
    def spending(self) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.last = perf_counter() - began
            self.spent += self.last
