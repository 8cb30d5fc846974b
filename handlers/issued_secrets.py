"""Passwords issued with IDs: sealed in the store, each under a data key of its own that is not in the store.

To destroy one is to delete its key: what a backup of the store holds can then be read by nobody. A key is on the disk
before the row it opens is committed, and leaves it just before the commit that says so; what is rolled back keeps it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, event, select
from sqlalchemy.orm import Session

from handlers import case_history
from handlers.allocation_order import Change, TerminalChange
from handlers.audit import audit
from handlers.calendar import BusinessCalendar, jst_date
from handlers.case_history import EntryKind
from handlers.desk import DataKeys, DeskSettings
from handlers.workflow import State
from storage.models import Application, IssuedSecret, LogicalTerminal
from storage.store import new_key

# Without letters and digits that look alike in print: I and 1, O and 0.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 12  # 60 bits
_NONCE = 12  # NIST SP 800-38D §8.2: 96 bits
_CHUNK = 500


class SecretKind(StrEnum):
    """What a secret opens."""

    OFFICE_PASSWORD = "office_password"  # noqa: S105 - 事業所パスワード, a kind and not a password
    TERMINAL_ACCESS_KEY = "terminal_access_key"  # 端末アクセスキー


class Hidden(StrEnum):
    """Why passwords are not shown."""

    NOT_ISSUED = "not_issued"
    WINDOW_CLOSED = "window_closed"
    GONE = "gone"  # destroyed, or their keys are lost: they can be issued again
    TAKEN_BACK = "taken_back"  # with the IDs, when the case became void: they cannot be issued again


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """A password to be shown; `terminal` is empty for the office's own."""

    kind: SecretKind
    terminal: str
    value: str = field(repr=False)


def issue(
    session: Session, desk: DeskSettings, application: Application, changes: Sequence[TerminalChange], now: datetime
) -> int:
    """Issue 事業所パスワード and 端末アクセスキー for each added terminal; how many passwords.

    Without an added terminal, or without a key file, none is issued.
    """
    names = [change.name for change in changes if change.change is Change.ADDED]
    if not names:
        return 0
    terminals = session.scalars(
        select(LogicalTerminal.id).where(LogicalTerminal.name.in_(names)).order_by(LogicalTerminal.name)
    ).all()
    return _seal_new(session, desk, application, [None, *terminals], now)


def reveal(
    session: Session,
    desk: DeskSettings,
    application: Application,
    actor: str,
    now: datetime,
    calendar: BusinessCalendar,
) -> tuple[Revealed, ...] | Hidden:
    """The passwords of an application, the office's first; `now` must be in the window. Each view is recorded."""
    last = last_day(application, calendar)
    if last is None or _last_issued(session, application) is None:
        return Hidden.NOT_ISSUED
    if application.state == State.VOID:
        return Hidden.TAKEN_BACK
    if jst_date(now) > last:
        return Hidden.WINDOW_CLOSED
    rows = _standing(session, application)
    if not rows:
        return Hidden.GONE
    revealed = [_open(session, desk.data_keys, row) for row in rows]
    shown = tuple(found for found in revealed if found is not None)
    if len(shown) < len(rows):
        return Hidden.GONE
    case_history.record(session, application, EntryKind.SECRETS_VIEWED, actor, now)
    audit(session, actor, "secrets_viewed", f"application:{application.receipt_number}", "", now)
    return tuple(sorted(shown, key=lambda one: (one.kind is not SecretKind.OFFICE_PASSWORD, one.terminal)))


def last_day(application: Application, calendar: BusinessCalendar) -> date | None:
    """The last JST day on which passwords of an application can be seen; None before its start is confirmed."""
    if application.start_date is None:
        return None
    return application.passwords_until or calendar.last_day_of_password_window(application.start_date)


def reissue(session: Session, desk: DeskSettings, application: Application, until: date, now: datetime) -> int:
    """Issue every password of an application anew, to be seen until the end of a JST day; how many.

    The former ones are destroyed. Terminals that ended get none. 0: there was nothing to issue again.
    """
    today = jst_date(now)
    held = session.execute(
        select(IssuedSecret.terminal_id, LogicalTerminal.effective_until)
        .outerjoin(LogicalTerminal, LogicalTerminal.id == IssuedSecret.terminal_id)
        .where(IssuedSecret.application_id == application.id)
        .distinct()
        .order_by(IssuedSecret.terminal_id)
    ).all()
    wanted = [row.terminal_id for row in held if row.effective_until is None or row.effective_until > today]
    if desk.data_keys is None or not wanted:
        return 0
    destroy(session, desk, application, now)
    application.passwords_until = until
    return _seal_new(session, desk, application, wanted, now)


def destroy(session: Session, desk: DeskSettings, application: Application, now: datetime) -> int:
    """Destroy every password of an application; how many there still were."""
    return _destroy(session, desk.data_keys, _standing(session, application), now)


def destroy_due(session: Session, desk: DeskSettings, today: date, now: datetime) -> int:
    """Destroy the passwords whose window ended before the JST day `today`; how many there still were."""
    rows = session.scalars(
        select(IssuedSecret)
        .join(Application, Application.id == IssuedSecret.application_id)
        .where(IssuedSecret.destroyed_at.is_(None), Application.passwords_until < today)
        .order_by(IssuedSecret.id)
        .with_for_update(of=IssuedSecret)
    ).all()
    for application_id in sorted({row.application_id for row in rows}):
        receipt = session.get_one(Application, application_id).receipt_number
        audit(session, "gateway", "secrets_destroyed", f"application:{receipt}", "", now)
    return _destroy(session, desk.data_keys, rows, now)


def orphans(session: Session, key_names: Sequence[str]) -> list[str]:
    """Those of the data keys that open nothing: of a transaction that was rolled back, or of a destroyed password."""
    used: set[str] = set()
    for at in range(0, len(key_names), _CHUNK):
        used.update(
            session.scalars(
                select(IssuedSecret.key_name).where(
                    IssuedSecret.key_name.in_(key_names[at : at + _CHUNK]), IssuedSecret.destroyed_at.is_(None)
                )
            )
        )
    return [name for name in key_names if name not in used]


def _seal_new(
    session: Session,
    desk: DeskSettings,
    application: Application,
    terminal_ids: Iterable[int | None],
    now: datetime,
) -> int:
    if desk.data_keys is None:
        return 0
    wanted = [(new_key(session), terminal_id) for terminal_id in terminal_ids]
    keys = desk.data_keys.make([str(identity) for identity, _ in wanted])
    for identity, terminal_id in wanted:
        value = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + AESGCM(keys[str(identity)]).encrypt(nonce, value.encode("ascii"), _bound_to(identity))
        session.add(
            IssuedSecret(
                id=identity,
                application_id=application.id,
                terminal_id=terminal_id,
                kind=SecretKind.OFFICE_PASSWORD if terminal_id is None else SecretKind.TERMINAL_ACCESS_KEY,
                key_name=str(identity),
                sealed=sealed,
                issued_at=now,
            )
        )
    session.flush()
    return len(wanted)


def _bound_to(identity: int) -> bytes:
    """What a sealed value is bound to, so that no row opens with the bytes of another."""
    return f"issued secret {identity}".encode("ascii")


def _open(session: Session, keys: DataKeys | None, row: IssuedSecret) -> Revealed | None:
    key = None if keys is None else keys.get(row.key_name)
    if key is None:
        return None
    try:
        value = AESGCM(key).decrypt(row.sealed[:_NONCE], row.sealed[_NONCE:], _bound_to(row.id))
    except InvalidTag:
        return None
    terminal = None if row.terminal_id is None else session.get_one(LogicalTerminal, row.terminal_id)
    return Revealed(
        kind=SecretKind(row.kind), terminal="" if terminal is None else terminal.name, value=value.decode("ascii")
    )


def _standing(session: Session, application: Application) -> Sequence[IssuedSecret]:
    return session.scalars(
        select(IssuedSecret)
        .where(IssuedSecret.application_id == application.id, IssuedSecret.destroyed_at.is_(None))
        .order_by(IssuedSecret.id)
    ).all()


def _last_issued(session: Session, application: Application) -> int | None:
    return session.scalar(
        select(IssuedSecret.id)
        .where(IssuedSecret.application_id == application.id)
        .order_by(IssuedSecret.id.desc())
        .limit(1)
    )


def _destroy(session: Session, keys: DataKeys | None, rows: Sequence[IssuedSecret], now: datetime) -> int:
    names = [row.key_name for row in rows]
    for row in rows:
        row.sealed = b""
        row.destroyed_at = now
    session.flush()
    if keys is not None and names:
        # Not at once: the unit of work may yet be rolled back, as a whole or to a savepoint, and would need them.
        event.listen(session.connection(), "commit", _deletion(keys, names))
    return len(names)


def _deletion(keys: DataKeys, names: Sequence[str]) -> Callable[[Connection], None]:
    def delete(connection: Connection) -> None:
        destroyed: list[str] = []
        for at in range(0, len(names), _CHUNK):
            chunk = IssuedSecret.key_name.in_(names[at : at + _CHUNK])
            query = select(IssuedSecret.key_name).where(chunk, IssuedSecret.destroyed_at.is_not(None))
            destroyed += connection.scalars(query)
        keys.destroy(destroyed)

    return delete
