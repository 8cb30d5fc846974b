"""What a failing statement or commit means, and how the callers hear of it.

`StoreBusy` is answered 451, `StoreFull` 452; `StoreBroken` ends the service with a non-zero status: after a failed
commit the kernel may have dropped what was written, so nothing is tried again on that file.
"""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, OperationalError


class StoreTrouble(Exception):
    """The store could not take a write; nothing of it is known to be committed."""


class StoreBusy(StoreTrouble):
    """Locked, or unreachable, for longer than a caller should wait; trying later is right.

    Nothing was committed, unless the connection was lost inside COMMIT and could not be had again to look.
    """


class StoreFull(StoreTrouble):
    """The disk under the store is full; the service stays up and probes."""


class StoreBroken(StoreTrouble):
    """Writing to the disk failed, or another process took this node: the process must end."""


class StoreRefused(Exception):
    """The store cannot be opened as it is; the text says what to do."""


class Failure(Enum):
    """The classes of `semantics` for a database error."""

    STATEMENT = auto()  # this unit's own fault, or unknown: run again with a savepoint per unit
    BUSY = auto()  # locked, deadlock, serialization: the whole batch again
    FULL = auto()
    INPUT_OUTPUT = auto()
    CONNECTION_LOST = auto()


SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN = 5, 10, 13, 14
# Primary result codes of SQLite; LOCKED 6, PROTOCOL 15 (a race for the WAL's locks), READONLY 8, CORRUPT 11, NOTADB 26.
_SQLITE_CODES = {
    SQLITE_BUSY: Failure.BUSY,
    6: Failure.BUSY,
    15: Failure.BUSY,
    SQLITE_FULL: Failure.FULL,
    8: Failure.INPUT_OUTPUT,
    SQLITE_IOERR: Failure.INPUT_OUTPUT,
    11: Failure.INPUT_OUTPUT,
    SQLITE_CANTOPEN: Failure.INPUT_OUTPUT,
    26: Failure.INPUT_OUTPUT,
}
# The index of the WAL could not grow: SQLite reports a full disk so.
_IOERR_SHMSIZE = 4874
# SQLSTATE classes: 40 transaction rollback, 55P03 lock not available, 57014 query cancelled by a timeout, 25006 a
# server that only reads just now, 53100 disk full, 53 other resources, 58 system error (I/O), XX001 and XX002 damage,
# 08 connection exception, 57P0x operator intervention.
_SQLSTATES = (
    ("40", Failure.BUSY),
    ("55P03", Failure.BUSY),
    ("57014", Failure.BUSY),
    ("25006", Failure.BUSY),
    ("53100", Failure.FULL),
    ("53", Failure.BUSY),
    ("58", Failure.INPUT_OUTPUT),
    ("XX001", Failure.INPUT_OUTPUT),
    ("XX002", Failure.INPUT_OUTPUT),
    ("08", Failure.CONNECTION_LOST),
    ("57P0", Failure.CONNECTION_LOST),
)


def classify(error: DBAPIError) -> Failure:
    """Sort an error of the driver; what is not known counts as the statement's own."""
    if error.connection_invalidated:
        return Failure.CONNECTION_LOST
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return next((failure for prefix, failure in _SQLSTATES if state.startswith(prefix)), Failure.STATEMENT)
    if isinstance(error, OperationalError) and type(error.orig).__module__.startswith("psycopg"):
        return Failure.CONNECTION_LOST  # a server that cannot be reached has no SQLSTATE to tell
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return Failure.FULL if code == _IOERR_SHMSIZE else _SQLITE_CODES.get(code & 0xFF, Failure.STATEMENT)


def raise_trouble(failure: Failure, error: DBAPIError) -> None:
    """Raise the trouble a failure means to callers; return when it is the statement's own."""
    if failure in (Failure.BUSY, Failure.CONNECTION_LOST):
        raise StoreBusy(str(error.orig)) from error
    if failure is Failure.FULL:
        raise StoreFull(str(error.orig)) from error
    if failure is Failure.INPUT_OUTPUT:
        raise StoreBroken(str(error.orig)) from error
