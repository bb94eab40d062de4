"""Leases: one worker per stream and hour, or per whatever else a name says.

By the database's clock, so that hosts need not agree on the time. A lease saves double work. A change of the
database that is the holder's alone confirms it in its own transaction, so that who was overtaken is refused.
What a holder does elsewhere (files, queues) nothing can refuse: that must do no harm when it comes late. So
files have names that say what is in them, and lose them before they are deleted (`shared_files`).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from pii_pipeline.database import DatabaseUnavailable, again_if_lost
from pii_pipeline.ledger.model import LeaseHeld, LeaseLost
from pii_pipeline.ledger.processes import is_dead, process_owner
from pii_pipeline.ledger.tables import insert_new, leases, now

_BEATS_PER_TTL = 4


class Lease:
    """A lease that is held. `owner` is for people; what proves the holding is a token of its own, because
    two threads of a process are the same owner."""

    def __init__(self, engine: sa.Engine, name: str, owner: str, ttl: timedelta) -> None:
        self.name, self.owner, self.ttl = name, owner, ttl
        self._engine = engine
        self._token = uuid.uuid4().hex
        self._mine = (leases.c.name == name) & (leases.c.token == self._token)

    @again_if_lost
    def acquire(self) -> None:
        """Takes the lease if it is free, expired or held by a dead process of this host.

        Raises `LeaseHeld` with owner and expiry otherwise.
        """
        place = leases.c.name == self.name
        with self._engine.begin() as connection:
            expires_at = now(connection) + self.ttl
            values = {"owner": self.owner, "token": self._token, "expires_at": expires_at}
            row = {"name": self.name, **values}
            if insert_new(connection, leases, [row], leases.c.token):
                return
            held = connection.execute(sa.select(leases).where(place).with_for_update()).one_or_none()
            if held is None:  # released between the two statements (PostgreSQL)
                if not insert_new(connection, leases, [row], leases.c.token):
                    raise LeaseHeld(self.name, "somebody quicker", expires_at)
            elif held.token == self._token or held.expires_at <= now(connection) or is_dead(held.owner):
                connection.execute(sa.update(leases).where(place).values(values))
            else:
                raise LeaseHeld(self.name, held.owner, held.expires_at)

    def confirm(self, connection: sa.Connection) -> None:
        """For a transaction that must be the holder's: nobody else takes the lease before it has ended.

        Moves the expiry to a whole `ttl` from now. Raises `LeaseLost` if somebody else has, or had, the lease
        since it was taken; one that expired and that nobody wanted is still held.
        """
        values = {"expires_at": now(connection) + self.ttl}
        if connection.execute(sa.update(leases).where(self._mine).values(values)).rowcount == 0:
            raise LeaseLost(f"the lease of {self.name} expired and was taken")

    def renew(self) -> None:
        """The same in a transaction of its own. Also for long work, to learn that it is in vain."""
        with self._engine.begin() as connection:
            self.confirm(connection)

    @again_if_lost
    def release(self) -> None:
        """Gives the lease back; nothing happens if it was lost."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(leases).where(self._mine))


@contextmanager
def hold(engine: sa.Engine, name: str, owner: str | None, ttl: timedelta) -> Iterator[Lease]:
    """A lease for the length of a ``with``, renewed by a thread four times per `ttl`."""
    lease = Lease(engine, name, owner or process_owner(), ttl)
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

    beats = threading.Thread(target=beat, name=f"lease {name}", daemon=True)
    beats.start()
    try:
        yield lease
    finally:
        done.set()
        beats.join()
        with suppress(SQLAlchemyError, DatabaseUnavailable):  # then it expires; the work is done
            lease.release()
