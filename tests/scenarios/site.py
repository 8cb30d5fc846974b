"""A gateway with its store and everybody around it: smarthost, in-house systems, applicant, reviewer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from gateway.sandbox import sample_mails
from storage.clock import move_clock
from storage.engines import Engines, open_engines
from storage.store import Work, opened
from tests.scenarios.gateway_process import GatewayProcess
from tests.scenarios.outside import Outside

T = TypeVar("T")

DOMAIN = "nss.center.example"
APPLY = f"apply@{DOMAIN}"
CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
APPLICANT = "tsukan-hanako@applicant.example"
ADMINISTRATOR = "kanri@applicant.example"
REVIEWER = f"reviewer@{DOMAIN}"
OPERATOR = f"operator@{DOMAIN}"

_QUEUED_AS = re.compile(r"250 2\.0\.0 queued as (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A terminal with an SMTP server, as the office file or an application brought it."""

    name: str
    ip: str
    address: str


# Terminals the office has from the start, where a test is not about how they come to be.
FIRST = Terminal(name="60777S", ip="127.20.13.21", address="3A0001@SMTP.CT0001.CENTER.EXAMPLE")
SECOND = Terminal(name="60778S", ip="127.20.13.22", address="3A0002@SMTP.CT0001.CENTER.EXAMPLE")
THIRD = Terminal(name="60779S", ip="127.20.13.23", address="3A0003@SMTP.CT0001.CENTER.EXAMPLE")


class Site:
    """`process` is the gateway, `outside` the servers it delivers to. `store_url` None: the default store."""

    def __init__(self, directory: Path, store_url: str | None, **sections: dict[str, object]) -> None:
        self.outside = Outside()
        settings: dict[str, dict[str, object]] = {
            "public": {"port": 0},
            "naccs": {"port": 0, "terminal_port": self.outside.terminal_port},
            "smarthost": {"port": self.outside.smarthost.port},
        }
        if store_url is not None:
            settings["store"] = {"url": store_url.replace("postgresql://", "postgresql+psycopg://")}
        for section, keys in sections.items():
            settings[section] = settings.get(section, {}) | keys
        self.process = GatewayProcess(directory, settings)
        self.store_url = store_url or f"sqlite:///{directory / 'var' / 'gateway.db'}"
        self._engines: Engines | None = None

    @property
    def on_sqlite(self) -> bool:
        return self.store_url.startswith("sqlite")

    def import_office(self, *terminals: Terminal) -> None:
        """Import the sample office, with these terminals besides its own."""
        contract = sample_mails.read("offices.toml").decode()
        added = "".join(_in_toml(terminal) for terminal in terminals)
        file = self.process.directory / "offices.toml"
        file.write_text(contract.replace("[[office.user]]", f"{added}[[office.user]]", 1), encoding="utf-8")
        done = self.process.command("office", "import", str(file))
        assert done.returncode == 0, done.stderr

    def read(self, work: Work[T]) -> T:
        """Read the store beside the service."""
        if self._engines is None:
            self._engines = open_engines(self.store_url)
        with self._engines.reader.connect() as connection, Session(bind=connection) as session:
            return work(session)

    def move_clock(self, ahead: timedelta) -> None:
        """Move the clock every process of a sandbox goes by."""
        move_clock_of(self.store_url, ahead)

    def complete(self, receipt: str, start: date | None = None) -> Any:
        """Let the reviewer complete an application; what the command prints as JSON."""
        chosen = [] if start is None else ["--start-date", start.isoformat()]
        return self.process.json("application", "complete", receipt, *chosen)

    def close(self) -> None:
        """End the process, then the servers."""
        with ExitStack() as ends:
            ends.callback(self.outside.close)
            ends.callback(self.process.close)
            if self._engines is not None:
                ends.callback(self._engines.dispose)


def move_clock_of(store_url: str, ahead: timedelta) -> None:
    """Write the row every process of a sandbox reads its clock's offset from."""
    with opened(store_url) as store:
        store.run(lambda session: move_clock(session, ahead))


def _in_toml(terminal: Terminal) -> str:
    return (
        f'[[office.line.terminal]]\nname = "{terminal.name}"\nequipment = "SMTP"\n'
        f'ip_address = "{terminal.ip}"\nmail_addresses = ["{terminal.address}"]\n\n'
    )


@contextmanager
def site_in(directory: Path, store_url: str | None, **sections: dict[str, object]) -> Iterator[Site]:
    """A site in a directory of its own, ended with the block."""
    site = Site(directory, store_url, **sections)
    try:
        yield site
    finally:
        site.close()


def mail_id_of(reply: str) -> int:
    """The id in a 250 at the dot; AssertionError for any other reply."""
    found = _QUEUED_AS.fullmatch(reply.splitlines()[0] if reply else "")  # a 421 may follow in the same read
    assert found, reply
    return int(found[1])
