"""The command line on a store of the tests, its clock standing at the tests' `now`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from gateway.cli import build
from storage.clock import move_clock
from storage.store import Store


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs commands in this process, each opening the store for itself."""

    environment: dict[str, str]

    def run(self, *arguments: str, lang: str = "ja", **environment: str) -> Result:
        """Run one command; the result has its exit code and what it printed."""
        return CliRunner().invoke(
            build(), ["--lang", lang, *arguments], env=self.environment | environment, catch_exceptions=False
        )

    def json(self, *arguments: str) -> Any:
        """What a command that succeeds prints as JSON."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def on_store(store: Store, url: str, directory: Path, now: datetime) -> CommandLine:
    """A command line on the store, its key file in `directory`."""
    store.run(lambda session: move_clock(session, now - datetime.now(UTC)))
    return CommandLine(
        {
            "NACCS_GATEWAY_STORE__URL": url.replace("postgresql://", "postgresql+psycopg://"),
            "NACCS_GATEWAY_SECRETS__KEY_FILE": str(directory / "secret.key"),
            "NACCS_GATEWAY_SECRETS__PASSWORD_KEYS": str(directory / "passwords.key"),
            "NACCS_GATEWAY_SANDBOX__ENABLED": "true",
            "NACCS_GATEWAY_SANDBOX__MOVABLE_CLOCK": "true",
            "SUDO_UID": "",
        }
    )
