"""Leases: one worker per stream and hour.

A lease only saves double work; what keeps the lake right is the transaction of the commit. So a holder that
loses its lease may finish, and nothing but time is lost.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from pii_pipeline.database import DatabaseUnavailable
from pii_pipeline.ledger.model import LeaseHeld, LeaseLost
from pii_pipeline.ledger.processes import is_dead, process_owner
from pii_pipeline.ledger.tables import insert_new, leases, now

_BEATS_PER_TTL = 4


class Lease:
    """A lease that is held. `owner` is for people; what proves the holding is a token of its own, because
    two threads of a process are the same owner."""

    def __init__(self, engine: sa.Engine, stream: str, hour: str, owner: str, ttl: timedelta) -> None:
        self.stream, self.hour, self.owner, self.ttl = stream, hour, owner, ttl
        self._engine = engine
        self._token = uuid.uuid4().hex
        self._mine = (leases.c.stream == stream) & (leases.c.hour == hour) & (leases.c.token == self._token)

    def acquire(self) -> None:
        """Takes the lease if it is free, expired or held by a dead process of this host.

        Raises `LeaseHeld` with owner and expiry otherwise.
        """
        place = (leases.c.stream == self.stream) & (leases.c.hour == self.hour)
        with self._engine.begin() as connection:
            expires_at = now(connection) + self.ttl
            values = {"owner": self.owner, "token": self._token, "expires_at": expires_at}
            row = {"stream": self.stream, "hour": self.hour, **values}
            if insert_new(connection, leases, [row], leases.c.token):
                return
            held = connection.execute(sa.select(leases).where(place).with_for_update()).one_or_none()
            if held is None:  # released between the two statements (PostgreSQL)
                if not insert_new(connection, leases, [row], leases.c.token):
                    raise LeaseHeld(self.stream, self.hour, "somebody quicker", expires_at)
            elif held.expires_at <= now(connection) or is_dead(held.owner):
                connection.execute(sa.update(leases).where(place).values(values))
            else:
                raise LeaseHeld(self.stream, self.hour, held.owner, held.expires_at)

    def renew(self) -> None:
        """Moves the expiry to a whole `ttl` from now. Raises `LeaseLost` if somebody else has the lease."""
        with self._engine.begin() as connection:
            values = {"expires_at": now(connection) + self.ttl}
            if connection.execute(sa.update(leases).where(self._mine).values(values)).rowcount == 0:
                raise LeaseLost(f"the lease of {self.stream} {self.hour} expired and was taken")

    def release(self) -> None:
        """Gives the lease back; nothing happens if it was lost."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(leases).where(self._mine))


@contextmanager
def hold(engine: sa.Engine, stream: str, hour: str, owner: str | None, ttl: timedelta) -> Iterator[Lease]:
    """A lease for the length of a ``with``, renewed by a thread four times per `ttl`."""
    lease = Lease(engine, stream, hour, owner or process_owner(), ttl)
    lease.acquire()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(ttl.total_seconds() / _BEATS_PER_TTL):
            try:
                lease.renew()
            except LeaseLost:
                return
            except (SQLAlchemyError, DatabaseUnavailable):
                continue  # a busy or restarting database: there are three more beats before it expires

    beats = threading.Thread(target=beat, name=f"lease {stream} {hour}", daemon=True)
    beats.start()
    try:
        yield lease
    finally:
        done.set()
        beats.join()
        lease.release()
