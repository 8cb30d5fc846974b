"""Opening the store: one writer, a few readers, and the checks without which the service does not start.

SQLite runs through pysqlite3 (its own current SQLite) in WAL mode with synchronous=FULL, read back; PostgreSQL through
psycopg 3 with fsync and synchronous_commit on. The store's file is 0600 in a directory of 0700.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2 as pysqlite
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from storage import write_line
from storage.failures import SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR, StoreRefused

# Below it, two connections that commit and checkpoint at once can corrupt a WAL file (SQLite's WAL-reset defect).
OLDEST_SQLITE = (3, 51, 3)
_PAGE_SIZE = 16384
_JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024
_READERS = 4
# Whoever holds a lock must not hold everybody: the wait ends as busy, and a process that stands still lets go.
_LOCK_WAIT = "2s"
_STALLED = "30s"
# A server that is gone without a word is given up after some ten seconds; what a store URL says itself goes first.
_GONE_AFTER = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_LOCK_SUFFIX = ".serve-lock"
_LINE_SUFFIX = ".write-line"
_TURN = "turn"
_TURN_WAIT = 2.0


@dataclass(frozen=True, slots=True)
class Engines:
    """The store's engines: `writer` for effects, `worker` for units of work, `reader` for everything else.

    On SQLite writer and worker are one connection, used by one thread.
    """

    url: URL
    writer: Engine
    worker: Engine
    reader: Engine

    @property
    def on_sqlite(self) -> bool:
        return self.writer.dialect.name == "sqlite"

    def dispose(self) -> None:
        """Close every connection."""
        for engine in {id(e): e for e in (self.writer, self.worker, self.reader)}.values():
            engine.dispose()


def parse_url(url: str) -> URL:
    """A store URL with its driver filled in; StoreRefused for a database the gateway does not run on."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg", query={**_GONE_AFTER, **parsed.query})
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise StoreRefused(f"store.url: {parsed.get_backend_name()} needs a file, or use postgresql://")


def open_engines(url: str) -> Engines:
    """Open the store, creating a missing SQLite file, and read its safety settings back."""
    parsed = parse_url(url)
    engines = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        _read_back(engines)
    except DBAPIError as error:
        engines.dispose()
        raise StoreRefused(f"the store cannot be opened: {error.orig}") from error
    except BaseException:
        engines.dispose()
        raise
    return engines


def database_file(url: URL) -> Path:
    """The SQLite file a URL names."""
    return Path(str(url.database)).absolute()


def _sqlite(url: URL) -> Engines:
    path = database_file(url)
    _make_private(path)
    _try_line(path.with_name(path.name + _LINE_SUFFIX))
    plain = URL.create("sqlite", database=str(path))
    arguments: dict[str, Any] = {"cached_statements": 1024, "check_same_thread": False, "timeout": 5.0}
    writer = create_engine(
        plain,
        module=pysqlite,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args=arguments,
        hide_parameters=True,  # an error must not carry the bytes of a mail into a log
    )
    reader = create_engine(
        plain,
        module=pysqlite,
        poolclass=QueuePool,
        pool_size=_READERS,
        max_overflow=0,
        connect_args=arguments,
        hide_parameters=True,
    )
    event.listen(writer, "connect", _prepare_sqlite)
    event.listen(writer, "begin", _begin_immediate)
    event.listen(writer, "checkin", _end_turn)
    event.listen(reader, "connect", _prepare_sqlite)
    event.listen(reader, "begin", _begin_deferred)
    return Engines(url, writer, writer, reader)


def _make_private(path: Path) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o700)
    _refuse_open_to_others(path.parent, "0700")
    if path.exists():
        _refuse_open_to_others(path, "0600")
    else:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _try_line(line: Path) -> None:
    """Make the writers' line, or say why nobody could ever write."""
    try:
        os.close(os.open(line, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR):
            return  # the first write finds out, and may be tried again
        raise StoreRefused(
            f"{line} cannot be written to ({error.strerror}): writers of the store take turns by it. "
            "Let the user who runs the gateway own it, on a file system that is not read-only"
        ) from error


def _refuse_open_to_others(path: Path, wanted: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StoreRefused(f"{path} is open to others ({mode:04o}): chmod {wanted} it, then start again")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions of its own: the "begin" event says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"page_size={_PAGE_SIZE}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=OFF",
        "secure_delete=ON",
        f"journal_size_limit={_JOURNAL_SIZE_LIMIT}",
        "busy_timeout=2000",
        "cache_size=-65536",
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """Begin to write, in turn; the turn ends when the connection goes back, behind its commit."""
    line = Path(f"{connection.engine.url.database}{_LINE_SUFFIX}")
    try:
        if _TURN not in connection.info:  # a connection that begins again still has its turn
            connection.info[_TURN] = write_line.enter(line, _TURN_WAIT)
    except write_line.OutOfTurn as error:
        raise _begin_failed("database is locked", SQLITE_BUSY) from error
    except OSError as error:
        code = _AS_SQLITE_SAYS.get(error.errno or 0, SQLITE_IOERR)
        raise _begin_failed(f"{line.name}: {error.strerror}", code) from error
    connection.exec_driver_sql("BEGIN IMMEDIATE")


# What SQLite itself would say of its own files. Without descriptors or memory left it is a matter of waiting.
_AS_SQLITE_SAYS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), SQLITE_FULL),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK, errno.EINTR), SQLITE_BUSY),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT), SQLITE_CANTOPEN),
}


def _begin_failed(text: str, code: int) -> OperationalError:
    failure = pysqlite.OperationalError(text)
    failure.sqlite_errorcode = code
    return OperationalError("BEGIN IMMEDIATE", None, failure)


def _end_turn(_connection: Any, record: Any) -> None:
    turn = record.info.pop(_TURN, None)
    if turn is not None:
        write_line.leave(turn)


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _postgresql(url: URL) -> Engines:
    def engine(size: int, **options: Any) -> Engine:
        return create_engine(url, pool_size=size, max_overflow=0, hide_parameters=True, **options)

    # The writer tells a lost connection apart itself; a ping before every batch would cost it a round trip. A reader's
    # statements see one snapshot, as on SQLite.
    reader = engine(_READERS, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    engines = Engines(url, engine(1), engine(1, pool_pre_ping=True), reader)
    for each in (engines.writer, engines.worker, engines.reader):
        event.listen(each, "connect", _prepare_postgresql)
    return engines


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout TO '{_LOCK_WAIT}'")
        cursor.execute(f"SET idle_in_transaction_session_timeout TO '{_STALLED}'")
    connection.commit()


def _read_back(engines: Engines) -> None:
    with engines.reader.connect() as connection:
        if engines.on_sqlite:
            _check_sqlite(connection)
        else:
            _check_postgresql(connection)


def _check_sqlite(connection: Connection) -> None:
    version = tuple(int(part) for part in pysqlite.sqlite_version.split("."))
    if version < OLDEST_SQLITE:
        raise StoreRefused(f"SQLite {pysqlite.sqlite_version} can corrupt a WAL file: install pysqlite3 >= 0.6.1")
    for pragma, wanted in (("journal_mode", "wal"), ("synchronous", 2)):
        found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
        if found != wanted:
            raise StoreRefused(f"the store runs with {pragma}={found}, but only {wanted} keeps its promises")


def _check_postgresql(connection: Connection) -> None:
    for setting, refused in (("fsync", {"off"}), ("synchronous_commit", {"off", "local"})):
        found = str(connection.exec_driver_sql(f"SHOW {setting}").scalar())
        if found in refused:
            raise StoreRefused(f"PostgreSQL runs with {setting}={found}, so a 250 would be no promise")


class FileLock:
    """At most one `serve` per SQLite file: a lock beside it, held until the process ends."""

    def __init__(self, url: URL) -> None:
        self._path = database_file(url).with_name(database_file(url).name + _LOCK_SUFFIX)
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise StoreRefused at once."""
        _make_private(self._path.with_name(self._path.name.removesuffix(_LOCK_SUFFIX)))
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreRefused(
                f"another serve holds {self._path.name}: stop it, or use PostgreSQL for several processes"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreRefused(f"{self._path} cannot be locked: {error.strerror}") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._descriptor is not None:
            write_line.leave(self._descriptor)
            self._descriptor = None
