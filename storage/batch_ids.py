"""The id each batch and each unit of work leaves on its node's row in its own transaction (PostgreSQL).

After a COMMIT whose reply was lost it tells what became of it. Effects and work count apart, because they commit at
the same time on two connections. The row is the last one a transaction locks, so nobody waits for it with another.
"""

from __future__ import annotations

import time
from enum import IntEnum

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from storage.failures import Failure, StoreBroken, classify, raise_trouble
from storage.keys import STORE_MICROS, KeyMaker, lease_token

NOTIFY_CHANNEL = "naccs_gateway"
RECONNECT_FOR = 10.0  # seconds a lost commit is looked for
_PAUSE = 0.02
_BITS = 31
_MOST = (1 << _BITS) - 1


class Series(IntEnum):
    """Whose ids these are; the value is their place in `nodes.last_batch`, which holds the last of both."""

    EFFECTS = 0
    WORK = _BITS


class BatchIds:
    """The ids of one series; for one thread at a time, which commits or gives up one before it begins the next."""

    def __init__(self, engine: Engine, keys: KeyMaker, series: Series) -> None:
        self._engine = engine
        self._keys = keys
        self._series = series
        self._last = 0

    def begin(self) -> None:
        """Take the next id; every further try to commit the same batch has it too."""
        self._last = self._last % _MOST + 1

    def sign(self, connection: Connection) -> bool:
        """Leave the id and wake the other processes; whether the node's lease still runs.

        StoreBroken when the node has another holder: nothing of this process is written any more.
        """
        claim = self._keys.claim
        others, own = _MOST << (_BITS - self._series), self._last << self._series
        leased = connection.exec_driver_sql(
            "UPDATE nodes SET last_batch = (last_batch & %s::bigint) | %s::bigint WHERE id = %s AND boot_id = %s "
            f"RETURNING lease_until > {STORE_MICROS['postgresql']}",
            (others, own, claim.node, claim.boot_id),
        ).scalar()
        if leased is None:
            raise StoreBroken(f"node {claim.node} was taken over by another process")
        connection.exec_driver_sql(f"NOTIFY {NOTIFY_CHANNEL}, '{lease_token(claim.node, claim.boot_id)}'")
        return bool(leased)

    def was_committed(self) -> bool:
        """After a lost connection: whether the batch is there. Unreachable for ten seconds raises StoreBusy."""
        claim = self._keys.claim
        give_up_at = time.monotonic() + RECONNECT_FOR
        while True:
            try:
                with self._engine.connect() as connection:
                    # The lost transaction holds this row until it ends, so the lock waits for its outcome.
                    ids = connection.exec_driver_sql(
                        "SELECT last_batch FROM nodes WHERE id = %s AND boot_id = %s FOR UPDATE",
                        (claim.node, claim.boot_id),
                    ).scalar()
            except DBAPIError as error:
                if time.monotonic() >= give_up_at:
                    raise_trouble(Failure.BUSY, error)
                if classify(error) not in (Failure.BUSY, Failure.CONNECTION_LOST):
                    raise
                time.sleep(_PAUSE)
                continue
            if ids is None:
                raise StoreBroken(f"node {claim.node} was taken over by another process")
            return int(ids) >> self._series & _MOST == self._last
