"""A TCP proxy before a PostgreSQL server that loses connections at a COMMIT, as it is told.

It passes every byte until a COMMIT comes that it has an order for: `SWALLOW_REPLY` lets the server commit and drops
the connection instead of its answer, `SWALLOW_COMMIT` drops it before the server hears of the commit, `VANISH` does
the former and takes no connection from then on. A COMMIT that only ends the set-up of a connection passes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import StrEnum
from pathlib import Path

from sqlalchemy.engine import make_url

_COMMIT = b"COMMIT\x00"
_SET_UP = b"SET lock_timeout"


class Loss(StrEnum):
    """What happens at a COMMIT."""

    SWALLOW_REPLY = "swallow_reply"
    SWALLOW_COMMIT = "swallow_commit"
    VANISH = "vanish"


class PostgresqlProxy:
    """Listens on loopback until it is closed; `url` is the server's, by way of the proxy."""

    def __init__(self, server_url: str) -> None:
        server = make_url(server_url)
        directory = str(server.query["host"])
        self._server = str(next(Path(directory).glob(".s.PGSQL.*[0-9]")))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._port = self._listening.getsockname()[1]
        behind = server.set(host="127.0.0.1", port=self._port, query={"sslmode": "disable", "gssencmode": "disable"})
        self.url = behind.render_as_string(hide_password=False)
        self._orders: list[Loss] = []
        self.lost: list[Loss] = []
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def at_commit(self, *losses: Loss) -> None:
        """Lose the next commits so, one after the other."""
        self._orders += losses

    def come_back(self) -> None:
        """Take connections again, where it took none."""
        if self._listening.fileno() == -1:
            self._listening = socket.create_server(("127.0.0.1", self._port))
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Listen no longer; connections that are open stay."""
        _close(self._listening)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """From the client to the server, with an eye on commits."""
        said = b""
        while data := _received(client):
            said += data
            if data.endswith(_COMMIT):
                if self._orders and _SET_UP not in said:
                    self._lose(self._orders.pop(0), data, client, server)
                    return
                said = b""
            _send(server, data)
        _close(server)

    def _lose(self, loss: Loss, data: bytes, client: socket.socket, server: socket.socket) -> None:
        self.lost.append(loss)
        if loss is Loss.VANISH:
            _close(self._listening)
        _close(client)
        if loss is not Loss.SWALLOW_COMMIT:
            _send(server, data)
            # It takes what was sent before it notices that nobody is there.
            _end_of_sending(server)
        else:
            _close(server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        while data := _received(server):
            _send(client, data)
        _close(client)
        _close(server)


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except OSError:
        return b""


def _send(peer: socket.socket, data: bytes) -> None:
    try:
        peer.sendall(data)
    except OSError:
        _close(peer)


def _end_of_sending(peer: socket.socket) -> None:
    try:
        peer.shutdown(socket.SHUT_WR)
    except OSError:
        peer.close()


def _close(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()
