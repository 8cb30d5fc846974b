"""A store with the corpus' offices in it, put back to that for each case: nothing of one reaches another."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as pysqlite
import pytest

from storage.store import Store
from tests.conftest import sqlite_store_in
from tests.desk_corpus.corpus import OFFICES
from tests.desk_corpus.store_desk import StoreDesk, take_offices
from tests.handlers.review_cases import DESK

NOW = datetime.fromisoformat("2026-11-24T01:00:00+00:00")


class RestoredStore:
    """One opened store for many cases: what they wrote is undone as a whole, by the pages of a copy.

    To open a store and to compile its statements takes longer than most cases do.
    """

    def __init__(self, directory: Path, template: Path) -> None:
        self.store = Store.open(sqlite_store_in(directory, template), "test")
        take_offices(self.store, OFFICES, DESK, NOW)
        self._copy: Any = pysqlite.connect(":memory:", check_same_thread=False)
        with self.store.engines.writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.backup(self._copy)

    def restore(self) -> None:
        """Put every table back."""
        # The writer's own transaction would be begun by a session; a copy of pages needs none.
        raw = self.store.engines.writer.raw_connection()
        try:
            self._copy.backup(raw.driver_connection)
        finally:
            raw.close()
        self.store.renew()  # on a busy machine all cases take longer than a claim lives

    def write(self, file: Path) -> None:
        """A store of its own, with the offices alone."""
        file.touch(mode=0o600)
        written: Any = pysqlite.connect(str(file))
        self._copy.backup(written)
        written.close()

    def close(self) -> None:
        self._copy.close()
        self.store.close()


@pytest.fixture(scope="module")
def restored_store(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestoredStore]:
    """The store of a module's cases."""
    opened = RestoredStore(tmp_path_factory.mktemp("cases"), sqlite_template)
    yield opened
    opened.close()


@pytest.fixture
def store_desk(restored_store: RestoredStore, tmp_path: Path) -> StoreDesk:
    """The desk at ten o'clock on 2026-11-24 in Japan, with nothing but its offices."""
    restored_store.restore()
    return StoreDesk(restored_store.store, tmp_path, NOW)


@pytest.fixture
def store_file(restored_store: RestoredStore, tmp_path: Path) -> Path:
    """A store's file of its own with the offices in it, for a service to open."""
    tmp_path.chmod(0o700)
    file = tmp_path / "gateway.db"
    restored_store.write(file)
    return file
