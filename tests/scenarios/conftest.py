"""A place for a gateway on either store; a module's tests share one gateway where each leaves it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import make_postgresql_database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str | None]:
    """A directory and the URL of an empty store; None: the default, an SQLite file below the directory."""
    directory = tmp_path_factory.mktemp("gateway")
    directory.chmod(0o700)
    if request.param == "sqlite":
        return directory, None
    return directory, make_postgresql_database(request.getfixturevalue("postgresql"))
