"""What a failing statement or commit means, and how the callers hear of it.

`StoreBusy` is answered 451, `StoreFull` 452; `StoreBroken` ends the service with a non-zero status: after a failed
commit the kernel may have dropped what was written, so nothing is tried again on that file.
"""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError


class StoreTrouble(Exception):
    """The store could not take a write; nothing of it was committed."""


class StoreBusy(StoreTrouble):
    """Locked, or unreachable, for longer than a caller should wait; trying later is right."""


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


# Primary result codes of SQLite: BUSY 5, LOCKED 6, FULL 13; READONLY 8, IOERR 10, CORRUPT 11, CANTOPEN 14.
_SQLITE_CODES = {
    5: Failure.BUSY,
    6: Failure.BUSY,
    13: Failure.FULL,
    8: Failure.INPUT_OUTPUT,
    10: Failure.INPUT_OUTPUT,
    11: Failure.INPUT_OUTPUT,
    14: Failure.INPUT_OUTPUT,
}
# SQLSTATE classes: 40 transaction rollback, 55P03 lock not available, 53100 disk full, 58 system error (I/O),
# 08 connection exception, 57P0x operator intervention.
_SQLSTATES = (
    ("40", Failure.BUSY),
    ("55P03", Failure.BUSY),
    ("53100", Failure.FULL),
    ("58", Failure.INPUT_OUTPUT),
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
    primary_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return _SQLITE_CODES.get(primary_code, Failure.STATEMENT)
