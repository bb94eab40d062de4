"""Worker processes for the crypto that holds the GIL.

Plain subprocesses that speak pickles over their own pipes, not `multiprocessing`: spawn would import the
parent's main module again in every worker (for `dagster …` that is all of Dagster, for an unguarded script
the script itself), and needs semaphores that AWS Lambda does not have. A worker loads cryptography and
nothing else of weight.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import IO, Any, TypeVar

from pii_pipeline.keys.errors import KeysError, WorkerFailed

T = TypeVar("T")

# -P: the working directory stays off the path until the parent's own path is there.
_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer)\n"
    "from pii_pipeline.keys.workers import serve; serve()"
)


class CryptoPool:
    """Runs functions of `keys.bulk` in up to `processes` worker processes; 0 runs them inline.

    Workers start at the first call with at least `threshold` items and end with the parent, however that
    ends: their pipe closes, and they watch for a new parent. Used by several threads, calls take turns.
    A context manager; without one the workers end when the pool is collected. Pickles as its settings.
    """

    def __init__(self, processes: int = 0, threshold: int = 5_000) -> None:
        self.processes = processes
        self.threshold = threshold
        self._workers: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _stop, self._workers)

    def __reduce__(self) -> tuple[type[CryptoPool], tuple[int, int]]:
        return CryptoPool, (self.processes, self.threshold)

    def __enter__(self) -> CryptoPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parts(self, items: int) -> int:
        """Into how many parts a call with so many items is to be cut."""
        return self.processes if self.processes > 1 and items >= self.threshold else 1

    def map(self, function: Callable[..., T], parts: Sequence[tuple[Any, ...]]) -> list[T]:
        """`function(*part)` for each part, in order; a single part runs inline.

        Errors of this package come back as they are; any other as `WorkerFailed`, which names its type
        alone (its message might quote data).
        """
        if len(parts) <= 1:
            return [function(*part) for part in parts]
        with self._lock:
            try:
                self._start(len(parts))
                workers = self._workers[: len(parts)]
                for worker, part in zip(workers, parts, strict=True):
                    _send(_pipe(worker.stdin), (function, part))
                answers = [pickle.load(_pipe(worker.stdout)) for worker in workers]
            except (OSError, EOFError, pickle.PickleError) as error:
                _stop(self._workers)
                raise WorkerFailed(f"a crypto worker process is gone ({type(error).__name__})") from None
            except BaseException:
                _stop(self._workers)  # answers are still on their way: these pipes are of no more use
                raise
        for error, _ in answers:
            if error is not None:
                raise error
        return [result for _, result in answers]

    def close(self) -> None:
        """End the workers; the next call starts new ones."""
        with self._lock:
            _stop(self._workers)

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            worker = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._workers.append(worker)
            _send(_pipe(worker.stdin), sys.path)


def serve() -> None:
    """A worker's life: answer (error, result) to each (function, part) until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write into the answers
    while True:
        try:
            function, part = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[KeysError | None, Any]
        try:
            answer = None, function(*part)
        except KeysError as error:
            answer = error, None
        except Exception as error:  # noqa: BLE001 - whatever it is, its message stays here
            answer = WorkerFailed(f"a crypto worker failed with {type(error).__name__}"), None
        try:
            _send(answers, answer)
        except BrokenPipeError:
            os._exit(1)


def _leave_with(parent: int) -> None:
    """A pipe's end that some other process inherited would keep this one waiting for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _send(pipe: IO[bytes], message: object) -> None:
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # both are given as PIPE
    return pipe


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    while workers:
        worker = workers.pop()
        worker.kill()
        for pipe in (worker.stdin, worker.stdout):
            with contextlib.suppress(OSError):  # what was still buffered
                _pipe(pipe).close()
        worker.wait()
