"""A client that says over its socket exactly what it is told, and hears each reply."""

from __future__ import annotations

import socket
from typing import Self

from tests.scenarios.gateway_process import Address

PATIENCE = 30.0


class Conversation:
    """One connection from `bind`, an IP of this machine; `with` it. `greeting` is the reply to connecting."""

    def __init__(self, address: Address, bind: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(address, PATIENCE, source_address=(bind, 0))
        self._lines = self._socket.makefile("rb")
        try:
            self.greeting = self.hear()
        except OSError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def say(self, *commands: str) -> str:
        """Each command in turn; the reply to the last one."""
        reply = ""
        for command in commands:
            self.send(command.encode("utf-8") + b"\r\n")
            reply = self.hear()
        return reply

    def content(self, data: bytes, end: bytes = b"\r\n.\r\n") -> str:
        """After DATA: the bytes and the end of the content; the reply to it."""
        self.send(data + end)
        return self.hear()

    def send(self, data: bytes) -> None:
        """Bytes, waiting for nothing."""
        self._socket.sendall(data)

    def hear(self) -> str:
        """The last line of the next reply; empty where the connection was closed instead."""
        while True:
            line = self._lines.readline().decode("ascii", "replace").rstrip("\r\n")
            if line[3:4] != "-":
                return line

    def is_over(self) -> bool:
        """Whether the other side has closed, without another word."""
        return self._lines.read() == b""
