"""Worker processes: batches side by side, each made whole by one process, from its files to its files.

A batch's work holds the interpreter lock for half of its time, so that threads gain little; and between
processes nothing has to travel but names and counts. Plain subprocesses, not `multiprocessing.Process`: spawn
would import the parent's main module again in every worker (for `dagster …` that is all of Dagster, for an
unguarded script the script itself), and needs semaphores that some sandboxes do not have.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from importlib import import_module
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple

from pii_pipeline.process import ENVIRONMENT

_PACKAGE = __name__.partition(".")[0]

# -P: the working directory stays off the path until the parent's own path is there.
_BOOT = (
    "import sys; from multiprocessing.connection import Connection\n"
    "parent = Connection(int(sys.argv[1])); sys.path[:] = parent.recv()\n"
    "from pii_pipeline.pipeline.workers import serve; serve(parent)"
)

# What batches are made with. Imported at once, while the parent gets ready too, not when there is work.
_LAYERS = ("validate", "pseudonymize", "derive")

WORTH_WORKERS = 32 << 20
"""Bytes in landing from which on worker processes are started: that takes them most of a second."""

Key = Hashable
"""By which two tasks are the same."""

Crew = dict[Connection, "subprocess.Popen[bytes]"]
"""Worker processes by the pipe that leads to each."""

Task = tuple[Callable[..., Any], tuple[Any, ...]]
"""`function(state, *arguments, progress)`; picklable, as is what it returns."""


def worth_workers(workers: int, sizes: Sequence[int]) -> bool:
    """Whether things of these `sizes` (bytes in landing) are worth making side by side."""
    return workers > 1 and len(sizes) > 1 and sum(sizes) >= WORTH_WORKERS


class WorkerFailed(Exception):
    """A worker process failed or is gone. The message names a type and a place, and quotes nothing."""


class _Job(NamedTuple):
    """What a worker is at; `offered`: it began with it before anybody asked."""

    key: Key
    offered: bool


class Workers:
    """Up to `processes` processes, each with the state that `make_state(*arguments)` gave it when it started.

    They start at the first `run`, unless told to before, and end with the parent, however that ends: their
    pipe closes, and they watch for a new parent. Used by several threads, runs take turns; offers are the
    business of the thread whose turn it is.
    """

    def __init__(self, processes: int, make_state: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.processes = processes
        self._state = (make_state, arguments)
        self._workers: Crew = {}
        self._asked: dict[Key, Task] = {}
        self._offered: dict[Key, Task] = {}
        self._busy: dict[Connection, _Job] = {}
        self._answers: dict[Key, Any] = {}
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, stop, self._workers)

    def run(self, tasks: Mapping[Key, Task], progress: Callable[..., None]) -> Generator[Any]:
        """The results of `tasks`, in their order; `progress` is called with what they report meanwhile.

        The first error ends all of them. Errors of this package come back as they are; any other as
        `WorkerFailed`, because its message might quote data. Tasks with the same key are the same task: what
        came of it as an offer is not made again.
        """
        with self._lock:
            missing = set(tasks)
            try:
                yield from self._run(tasks, missing, progress)
            except (OSError, EOFError) as error:
                raise WorkerFailed(f"a worker process is gone ({type(error).__name__})") from None
            finally:
                self._asked.clear()
                if missing:  # an error, or a caller who has had enough: their answers must reach nobody
                    self._end()

    def offer(self, key: Key, task: Task) -> None:
        """A task that will be asked for later, for workers that would have nothing to do till then.

        What fails, or costs a worker its life, is forgotten, and done again when asked for.
        """
        self._offered[key] = task
        self._employ()

    def withdraw(self) -> None:
        """Forgets all offers, nobody will ask for them any more; workers that are at one are ended."""
        for worker in [worker for worker, job in self._busy.items() if job.offered]:
            self._dismiss(worker)
        self._offered.clear()
        self._answers.clear()

    def adopt(self, crew: Crew) -> None:
        """Takes processes that `start_processes` made before there was a `Workers`; leaves `crew` empty."""
        with self._lock:
            while crew:
                self._hire(*crew.popitem())

    def start(self) -> None:
        """Starts all workers, without waiting for them: while the caller gets ready, so do they."""
        with self._lock:
            self._start(self.processes)

    def close(self) -> None:
        """Ends the workers; the next call starts new ones."""
        with self._lock:
            self._end()

    def _run(
        self, tasks: Mapping[Key, Task], missing: set[Key], progress: Callable[..., None]
    ) -> Generator[Any]:
        missing.difference_update(self._answers)
        under_way = {job.key for job in self._busy.values()}
        for key, task in tasks.items():
            self._offered.pop(key, None)
            if key in missing and key not in under_way:
                self._asked[key] = task
        for wanted in tasks:
            while wanted not in self._answers:
                self._start(min(self.processes, len(self._busy) + len(self._asked)))
                self._employ()
                assert self._busy, "nobody is at what is waited for"
                for worker in wait(list(self._busy)):
                    assert isinstance(worker, Connection)
                    self._listen(worker, tasks, missing, progress)
            yield self._answers.pop(wanted)

    def _listen(
        self,
        worker: Connection,
        tasks: Mapping[Key, Task],
        missing: set[Key],
        progress: Callable[..., None],
    ) -> None:
        job = self._busy[worker]
        kind: str = "lost"
        answer: Any = None
        try:
            kind, answer = worker.recv()
        except (OSError, EOFError):
            if not job.offered:
                raise
            self._dismiss(worker)
        if kind == "progress":
            progress(*answer)
            return
        self._busy.pop(worker, None)
        if kind == "done":
            self._answers[job.key] = answer
            missing.discard(job.key)
        elif not job.offered:
            raise answer
        elif job.key in missing:
            self._asked[job.key] = tasks[job.key]
        self._employ()

    def _employ(self) -> None:
        """Gives every worker that has nothing to do what was asked for, or else what was offered."""
        for worker in [worker for worker in self._workers if worker not in self._busy]:
            queue = self._asked or self._offered
            if not queue:
                return
            offered = queue is self._offered
            key = next(iter(queue))
            try:
                worker.send(queue[key])
            except OSError:
                if not offered:
                    raise
                self._dismiss(worker)
                continue
            del queue[key]
            self._busy[worker] = _Job(key, offered)

    def _dismiss(self, worker: Connection) -> None:
        self._busy.pop(worker, None)
        stop({worker: self._workers.pop(worker)})

    def _end(self) -> None:
        stop(self._workers)
        self._busy.clear()
        self._offered.clear()
        self._answers.clear()

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            self._hire(*_start_process())

    def _hire(self, pipe: Connection, process: subprocess.Popen[bytes]) -> None:
        self._workers[pipe] = process
        with contextlib.suppress(OSError):  # one that is gone is noticed when it is given work
            pipe.send(self._state)


def start_processes(count: int) -> Crew:
    """`count` processes for `Workers.adopt`, to be ended with `stop` by whoever has them. Not waited for."""
    return dict(_start_process() for _ in range(count))


def stop(crew: Crew) -> None:
    """Ends the processes, whatever they are at."""
    while crew:
        pipe, process = crew.popitem()
        process.kill()
        pipe.close()
        process.wait()


def _start_process() -> tuple[Connection, subprocess.Popen[bytes]]:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the parent's is for what the user asked for
            env={**ENVIRONMENT, **os.environ},
        )
    ours.send(sys.path)
    return ours, process


def serve(parent: Connection) -> None:
    """A worker's life: make the state, then do one task after the other until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()

    def progress(*report: Any) -> None:
        parent.send(("progress", report))

    _get_ready()
    state = None
    try:
        make_state, arguments = parent.recv()
        while True:
            function, rest = parent.recv()
            try:
                if state is None:
                    state = make_state(*arguments)
                answer = "done", function(state, *rest, progress)
            except Exception as error:  # noqa: BLE001 - whatever it is, only what is ours may be said
                answer = "failed", _presentable(error)
            parent.send(answer)
    except (EOFError, OSError):  # the parent is gone, or has no more use for this worker
        os._exit(0)


def _get_ready() -> None:
    gc.disable()  # modules are objects that all stay
    for layer in _LAYERS:
        import_module(f"{_PACKAGE}.pipeline.{layer}")
    gc.freeze()
    gc.enable()


def _presentable(error: Exception) -> Exception:
    if type(error).__module__.partition(".")[0] == _PACKAGE:
        with contextlib.suppress(Exception):
            return pickle.loads(pickle.dumps(error))
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((frame for frame in reversed(frames) if f"/{_PACKAGE}/" in frame.filename), frames[-1])
    kind = type(error)
    where = f"{Path(ours.filename).name}:{ours.lineno} in {ours.name}"
    return WorkerFailed(f"a worker process failed with {kind.__module__}.{kind.__qualname__} (at {where})")


def _leave_with(parent: int) -> None:
    """A pipe's end that some other process inherited would keep this one waiting for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
