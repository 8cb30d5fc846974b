"""Effects: what the hot path asks the store to do, as plain data.

A `Unit` is done whole or not at all. The group commit merges the units of many callers into one multi-row statement
per kind; a change names the row and the state it expects, and a unit one of whose changes finds something else
is `Stale`: a normal result, to be decided again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class InsertKind:
    """Rows of one table. With `unique`, a row that exists already makes its unit stale."""

    table: str
    columns: tuple[str, ...]
    unique: tuple[str, ...] = ()
    repeatable: bool = False  # a row that is there already was written by an earlier try of the same unit


@dataclass(frozen=True, slots=True)
class ChangeKind:
    """A conditional update of rows of one table, by a list of (column, SQL type) carried per row.

    `condition` names the row and what it is expected to be; `v` is the carried row. The first column is what RETURNING
    gives back; within a batch it tells rows apart, unless `apart` says which others do.
    """

    table: str
    carried: tuple[tuple[str, str], ...]
    assign: str
    condition: str
    returning: str
    source: str = "v"  # what is updated from: the carried rows, or a join of them
    apart: tuple[int, ...] = (0,)  # places of the carried values that no two changes of one batch may share


@dataclass(frozen=True, slots=True)
class Insert:
    """One row of `kind`, values in the order of its columns."""

    kind: InsertKind
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One conditional update; with `must` False a row not found is told in `Applied.found` and harms nothing."""

    kind: ChangeKind
    values: tuple[Any, ...]
    must: bool = True

    @property
    def touches(self) -> tuple[Any, ...]:
        """What another change of the same batch must not touch: the later one waits for the next batch."""
        return (self.kind.table, *(self.values[place] for place in self.kind.apart))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecipient:
    """A recipient as it enters the store; instants in microseconds."""

    id: int
    mail_id: int
    direction: str
    rcpt_to: str
    state: str
    created_at: int
    due_at: int
    order_key: str = ""
    sender: str = ""
    header: bytes | None = None
    body_offset: int = 0
    address_id: int | None = None
    output_code: str = ""
    map_version: int | None = None
    waiting_since: int | None = None  # None: created_at
    request_id: int | None = None

    def values(self) -> tuple[Any, ...]:
        """The row, in the order of `RECIPIENT_COLUMNS`."""
        return (
            self.id,
            self.mail_id,
            self.direction,
            self.rcpt_to,
            self.state,
            self.created_at,
            self.due_at,
            0,
            0,
            0,
            "",
            self.order_key,
            self.sender,
            self.header,
            self.body_offset,
            self.address_id,
            self.output_code,
            self.map_version,
            self.created_at if self.waiting_since is None else self.waiting_since,
            self.request_id,
        )


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A recipient that joins a lane; its `lane_sequence` is taken in the commit that queues it.

    `content` is the mail's bytes for a delivery in this process, so that it need not read them again.
    """

    lane: str
    recipient: NewRecipient
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something subscribers of this process hear once the unit is committed."""

    topic: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Unit:
    """Effects that are committed together, decided on `map_version` where the map had a part in them."""

    changes: tuple[Change, ...] = ()
    inserts: tuple[Insert, ...] = ()
    queued: tuple[Enqueue, ...] = ()
    map_version: int | None = None
    size: int = 0  # bytes of mail it carries
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """Committed. `found` answers each change, `sequences` gives the lane sequence of each queued recipient."""

    found: tuple[bool, ...] = ()
    sequences: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing of the unit was done: the `map` moved on, a `state` was not as expected, or a `unique` row exists."""

    reason: str


type_bigint = "bigint"
type_text = "text"
type_bytes = "bytea"

MAIL = InsertKind(
    "mails",
    (
        "id",
        "direction",
        "listener",
        "mail_from",
        "peer",
        "helo_name",
        "received_at",
        "size",
        "content_hash",
        "message_id",
        "map_version",
        "address_id",
        "damage",
        "secret",
        "secret_offset",
        "template",
        "application_id",
        "signed_by",
    ),
)
CONTENT = InsertKind("mail_contents", ("mail_id", "content"))
RECIPIENT_COLUMNS = (
    "id",
    "mail_id",
    "direction",
    "rcpt_to",
    "state",
    "created_at",
    "due_at",
    "attempts",
    "handler_failures",
    "in_doubt",
    "last_reply",
    "order_key",
    "sender",
    "header",
    "body_offset",
    "address_id",
    "output_code",
    "map_version",
    "waiting_since",
    "request_id",
)
RECIPIENT = InsertKind("recipients", RECIPIENT_COLUMNS)
QUEUED_RECIPIENT = InsertKind("recipients", (*RECIPIENT_COLUMNS, "lane", "lane_sequence"))
ATTEMPT = InsertKind("attempts", ("id", "recipient_id", "attempted_at", "outcome", "stage", "reply"), repeatable=True)
REQUEST = InsertKind(
    "requests",
    (
        "id",
        "address_id",
        "procedure",
        "handover",
        "input_number",
        "received_at",
        "outstanding_until",
        "answered_at",
        "result_mail_id",
    ),
)
FINGERPRINT = InsertKind(
    "mail_fingerprints",
    ("fingerprint", "content_hash", "mail_id", "received_at"),
    unique=("fingerprint",),
)
AUDIT = InsertKind("audit_events", ("id", "occurred_at", "actor", "event", "subject", "detail"))

# A repeat is a mail of the same bytes and sender within the window, after our 250 of the first one may not have
# been seen; `repeat_after` in the future switches the look-up off.
RECIPIENT_HANDLED = ChangeKind(
    "recipients",
    (
        ("id", type_bigint),
        ("state", type_text),
        ("finished_at", type_bigint),
        ("last_reply", type_text),
        ("content_hash", type_bytes),
        ("repeat_after", type_bigint),
    ),
    "state = v.state, finished_at = v.finished_at, last_reply = v.last_reply",
    """recipients.id = v.id AND recipients.state = 'received' AND NOT EXISTS (
        SELECT 1 FROM mails AS earlier JOIN mails AS this ON this.id = recipients.mail_id
        WHERE earlier.unclean_end_at IS NOT NULL AND earlier.content_hash = v.content_hash
        AND earlier.received_at >= v.repeat_after AND earlier.id < this.id
        AND earlier.mail_from = this.mail_from AND earlier.listener = this.listener
        AND EXISTS (SELECT 1 FROM recipients AS before WHERE before.mail_id = earlier.id
        AND before.direction = 'inbound' AND before.rcpt_to = recipients.rcpt_to))""",
    "recipients.id",
)
# A request received later than now was received before the clock was set back: its end tells nothing. Clocks of hosts
# may differ by less.
CLOCKS_DIFFER_BY = 60_000_000  # microseconds
# Of an address with an outstanding request nothing more is taken, where the settings say so.
ADDRESS_FREE = ChangeKind(
    "recipients",
    (("id", type_bigint), ("address_id", type_bigint), ("now", type_bigint)),
    "last_reply = recipients.last_reply",
    f"""recipients.id = v.id AND NOT EXISTS (SELECT 1 FROM requests AS other
        WHERE other.address_id = v.address_id AND other.answered_at IS NULL
        AND other.outstanding_until > v.now AND other.received_at <= v.now + {CLOCKS_DIFFER_BY})""",
    "recipients.id",
)
# A result belongs to its oldest outstanding request, else to the oldest without an answer, else to the latest that was
# answered: one has several outputs. A request that never got its result must not draw those of later ones to itself.
_UNANSWERED = """SELECT r.id FROM requests AS r WHERE r.handover = v.handover AND r.address_id = v.address_id
        AND r.input_number = v.input_number AND r.answered_at IS NULL AND r.claimed_at IS NOT NULL
        AND r.outstanding_until IS NOT NULL
        ORDER BY CASE WHEN r.outstanding_until > v.answered_at THEN 0 ELSE 1 END, r.id LIMIT 1"""
RESULT_CORRELATED = ChangeKind(
    "recipients",
    (
        ("id", type_bigint),
        ("address_id", type_bigint),
        ("handover", type_text),
        ("input_number", type_text),
        ("answered_at", type_bigint),
    ),
    "request_id = request.id, last_reply = ''",
    "recipients.id = v.id",
    "recipients.id",
    source=f"""v JOIN requests AS request ON request.id = COALESCE(
        ({_UNANSWERED}),
        (SELECT r.id FROM requests AS r WHERE r.handover = v.handover AND r.address_id = v.address_id
        AND r.input_number = v.input_number AND r.answered_at IS NOT NULL AND r.claimed_at IS NOT NULL
        ORDER BY r.id DESC LIMIT 1))""",
    apart=(1, 2, 3),
)
RECIPIENT_DEFERRED = ChangeKind(
    "recipients",
    (
        ("id", type_bigint),
        ("due_at", type_bigint),
        ("handler_failures", type_bigint),
        ("last_reply", type_text),
    ),
    "due_at = v.due_at, handler_failures = v.handler_failures, last_reply = v.last_reply",
    "recipients.id = v.id AND recipients.state = 'received'",
    "recipients.id",
)
# A header block that a mail leaves under from now on, where it had none: a signed notice.
RECIPIENT_HEADER = ChangeKind(
    "recipients",
    (("id", type_bigint), ("lease_token", type_bigint), ("header", type_bytes), ("body_offset", type_bigint)),
    "header = v.header, body_offset = v.body_offset",
    "recipients.id = v.id AND recipients.header IS NULL AND recipients.state = 'queued' AND EXISTS "
    "(SELECT 1 FROM lanes WHERE lanes.lane = recipients.lane AND lanes.lease_token = v.lease_token)",
    "recipients.id",
)
# The first normal TCC of a terminal.
TERMINAL_CHECKED = ChangeKind(
    "logical_terminals",
    (("id", type_bigint), ("checked_at", type_bigint)),
    "checked_at = v.checked_at",
    "logical_terminals.id = v.id AND logical_terminals.checked_at IS NULL",
    "logical_terminals.id",
)
RECIPIENT_OUTCOME = ChangeKind(
    "recipients",
    (
        ("id", type_bigint),
        ("lease_token", type_bigint),
        ("state", type_text),
        ("due_at", type_bigint),
        ("finished_at", type_bigint),
        ("attempts", type_bigint),
        ("in_doubt", type_bigint),
        ("last_reply", type_text),
    ),
    "state = v.state, due_at = v.due_at, finished_at = v.finished_at, attempts = v.attempts, "
    "in_doubt = v.in_doubt, last_reply = v.last_reply",
    "recipients.id = v.id AND recipients.state = 'queued' AND EXISTS (SELECT 1 FROM lanes "
    "WHERE lanes.lane = recipients.lane AND lanes.lease_token = v.lease_token)",
    "recipients.id",
)
REQUEST_ANSWERED = ChangeKind(
    "requests",
    (
        ("result_mail_id", type_bigint),
        ("address_id", type_bigint),
        ("handover", type_text),
        ("input_number", type_text),
        ("answered_at", type_bigint),
    ),
    "answered_at = v.answered_at, result_mail_id = v.result_mail_id",
    f"requests.id = ({_UNANSWERED})",
    "requests.result_mail_id",
    apart=(1, 2, 3),
)
# The hand-over begins: from here on the request may have arrived. One outstanding request per mail address.
REQUEST_CLAIMED = ChangeKind(
    "requests",
    (("id", type_bigint), ("lease_token", type_bigint), ("claimed_at", type_bigint)),
    "claimed_at = v.claimed_at",
    f"""requests.id = v.id AND requests.claimed_at IS NULL AND requests.answered_at IS NULL
        AND EXISTS (SELECT 1 FROM lanes WHERE lanes.lane = 'backend' AND lanes.lease_token = v.lease_token)
        AND (requests.outstanding_until IS NULL OR NOT EXISTS (SELECT 1 FROM requests AS other
        WHERE other.address_id = requests.address_id AND other.answered_at IS NULL
        AND other.claimed_at IS NOT NULL AND other.id <> requests.id
        AND other.outstanding_until > v.claimed_at AND other.received_at <= v.claimed_at + {CLOCKS_DIFFER_BY})
        AND NOT EXISTS (SELECT 1 FROM v AS rival JOIN requests AS other ON other.id = rival.id
        WHERE other.address_id = requests.address_id AND other.id < requests.id
        AND other.outstanding_until IS NOT NULL))""",
    "requests.id",
)
# It surely did not arrive: the address is free again, and the request may be answered or handed over anew.
REQUEST_UNCLAIMED = ChangeKind(
    "requests",
    (("id", type_bigint),),
    "claimed_at = NULL",
    "requests.id = v.id AND requests.answered_at IS NULL",
    "requests.id",
)
# An EDIFACT or XML request awaits no result, but its doubt must be told: the watch looks where something is awaited.
REQUEST_IN_DOUBT = ChangeKind(
    "requests",
    (("id", type_bigint),),
    "in_doubt = TRUE, outstanding_until = COALESCE(requests.outstanding_until, requests.received_at)",
    "requests.id = v.id AND requests.claimed_at IS NOT NULL",
    "requests.id",
)
# The gateway's own answer to a request that was never handed over.
REQUEST_REFUSED = ChangeKind(
    "requests",
    (("id", type_bigint), ("answered_at", type_bigint), ("result_mail_id", type_bigint)),
    "answered_at = v.answered_at, result_mail_id = v.result_mail_id",
    "requests.id = v.id AND requests.answered_at IS NULL AND requests.claimed_at IS NULL",
    "requests.id",
)
# The circuit breaker of a lane as others may see it; its holder alone writes it.
LANE_BREAKER = ChangeKind(
    "lanes",
    (
        ("lane", type_text),
        ("lease_token", type_bigint),
        ("down_since", type_bigint),
        ("failures", type_bigint),
        ("last_failure", type_text),
        ("next_try_at", type_bigint),
    ),
    "down_since = v.down_since, failures = v.failures, last_failure = v.last_failure, "
    "next_try_at = v.next_try_at, told_at = CASE WHEN v.down_since IS NULL THEN NULL ELSE lanes.told_at END",
    "lanes.lane = v.lane AND lanes.lease_token = v.lease_token",
    "lanes.lane",
)
# A terminal that speaks to us is there: its lane tries at once. Of a lane that is up nothing is written.
LANE_HEARD = ChangeKind(
    "lanes",
    (("lane", type_text), ("flushed_at", type_bigint)),
    "flushed_at = v.flushed_at",
    "lanes.lane = v.lane AND lanes.down_since IS NOT NULL",
    "lanes.lane",
)
LANE_ENDPOINT = ChangeKind(
    "lanes",
    (("lane", type_text), ("lease_token", type_bigint), ("endpoint", type_text), ("endpoint_since", type_bigint)),
    "endpoint = v.endpoint, endpoint_since = v.endpoint_since",
    "lanes.lane = v.lane AND lanes.lease_token = v.lease_token",
    "lanes.lane",
)
SECRET_FORGOTTEN = ChangeKind(
    "mails",
    (("id", type_bigint),),
    "secret = NULL",
    "mails.id = v.id",
    "mails.id",
)
UNCLEAN_END = ChangeKind(
    "mails",
    (("id", type_bigint), ("unclean_end_at", type_bigint)),
    "unclean_end_at = v.unclean_end_at",
    "mails.id = v.id",
    "mails.id",
)

CHANGE_ORDER: Sequence[ChangeKind] = (
    ADDRESS_FREE,
    RECIPIENT_HANDLED,
    RECIPIENT_DEFERRED,
    RECIPIENT_HEADER,
    RECIPIENT_OUTCOME,
    REQUEST_CLAIMED,
    REQUEST_UNCLAIMED,
    REQUEST_IN_DOUBT,
    REQUEST_REFUSED,
    RESULT_CORRELATED,
    REQUEST_ANSWERED,
    TERMINAL_CHECKED,
    LANE_BREAKER,
    LANE_HEARD,
    LANE_ENDPOINT,
    SECRET_FORGOTTEN,
    UNCLEAN_END,
)
INSERT_ORDER: Sequence[InsertKind] = (
    FINGERPRINT,
    MAIL,
    CONTENT,
    RECIPIENT,
    REQUEST,
    ATTEMPT,
    AUDIT,
)
