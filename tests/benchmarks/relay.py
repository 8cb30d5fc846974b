"""A stand-in for a side under load: takes requests as an SMTP server does and passes something on to the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Change = Callable[[bytes], bytes | None]


class Relay:
    """Answers every command; each message goes to the sink as `change` makes it, or nowhere when that is None."""

    def __init__(self, sink_port: int, change: Change = lambda content: content) -> None:
        self.peers: list[str] = []
        self.mail_commands: list[bytes] = []
        self.replies = {b"RCPT": b"250 ok\r\n"}
        self._sink_port = sink_port
        self._change = change
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> int:
        """Start; returns the port."""
        self._server = await asyncio.start_server(self._session, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End everything; its peers must have no more to say."""
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, *(writer.wait_closed() for writer in self._writers))

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.peers.append(writer.get_extra_info("peername")[0])
        writer.write(b"220-relay\r\n220 ready\r\n")
        while line := await reader.readline():
            verb = line[:4]
            if verb == b"MAIL":
                self.mail_commands.append(line)
            if verb == b"DATA":
                writer.write(b"354 go ahead\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                task = asyncio.ensure_future(self._pass_on(content))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else self.replies.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                break
        writer.close()

    async def _pass_on(self, content: bytes) -> None:
        changed = self._change(content)
        if changed is None:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self._sink_port)
        self._writers.append(writer)
        await reader.readline()
        for step in (b"HELO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<x@y.example>\r\n", b"DATA\r\n", changed):
            writer.write(step)
            await reader.readline()
        writer.close()
