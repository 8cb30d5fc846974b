"""The order of one lane as memory holds it, and the settings that delivery goes by.

Nothing here waits, reads a clock or touches the store. An announced mail is sent only when everything
before it in its lane is known: a gap in the lane sequence makes the lane ask for a scan of the store
instead. Memory is bounded: a lane knows a window of its mails, and all lanes together keep so many bytes of
content.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heapify, heappop, heappush
from math import inf

from gateway.smtp_out import TimeLimits
from storage.columns import from_micros
from storage.effects import Enqueue
from storage.mail_queue import Outbound

WINDOW = 200
_MOST_KNOWN = 50 * WINDOW  # deferred notices included


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How delivery behaves. Seconds, where nothing else is said.

    `destinations`: by the name of a logical terminal, what holds for it instead.
    """

    name: str  # what we call ourselves in HELO and EHLO
    terminal_life: float = 30 * 60
    notice_life: float = 5 * 86400
    retry_first: float = 2.0  # the destination's back-off: first wait
    retry_max: float = 300.0
    mail_tries: int = 3  # towards a terminal, of a mail that fails at RCPT or later
    mail_tries_within: float = 60.0
    notice_retry_first: float = 5 * 60
    notice_retry_max: float = 70 * 60
    idle_close: float = 30.0
    scan_every: float = 30.0
    lease_margin: float = 10.0  # of the node's lease that must remain before MAIL and the final dot
    terminal_limits: TimeLimits = field(default_factory=lambda: TimeLimits(connect=10, command=60, block=60, dot=60))
    smarthost_limits: TimeLimits = field(default_factory=TimeLimits)
    hand_overs: int = 64  # to the backend, at once
    memory_bytes: int = 64 * 1024 * 1024  # of contents, over all lanes
    destinations: Mapping[str, DeliverySettings] = field(default_factory=dict)

    def of(self, lane: str) -> DeliverySettings:
        """What holds for that lane."""
        return self.destinations.get(lane.removeprefix("terminal:"), self)

    @property
    def longest_wait(self) -> float:
        """The longest that one mail of a lane is ever put off."""
        return max(self.mail_tries_within, self.notice_retry_max)


class ContentMemory:
    """The bytes of content that all lanes together may keep."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, content: bytes | None) -> bytes | None:
        """The content when there is room for it, else None: it is read from the store when its turn comes."""
        if content is None or self.used + len(content) > self.limit:
            return None
        self.used += len(content)
        return content


@dataclass(slots=True, eq=False)
class Waiting:
    """A mail at its place in the lane; `due` is monotonic, `generation` says how fresh our knowledge is."""

    outbound: Outbound
    due: float
    content: bytes | None
    generation: int
    due_at: datetime
    attempts: int
    in_doubt: int
    tries: int = 0  # in this process, that got as far as RCPT

    def is_written(self) -> None:
        """The store has its counts and due time as they are here: they are nobody else's change."""
        self.outbound = replace(self.outbound, attempts=self.attempts, in_doubt=self.in_doubt, due_at=self.due_at)


class LaneOrder:
    """What is known of one lane, in order.

    `strict`: nothing passes the head, however long it must wait. Otherwise a deferred mail lets later ones
    pass.
    """

    __slots__ = (
        "_ahead",
        "_announced",
        "_deferred",
        "_generation",
        "_known",
        "_known_through",
        "_longest_wait",
        "_memory",
        "_ready",
        "_scanning",
        "behind",
        "lane",
        "set_aside",
        "strict",
        "window",
    )

    def __init__(
        self, lane: str, memory: ContentMemory, *, strict: bool, window: int = WINDOW, longest_wait: float = inf
    ) -> None:
        self.lane = lane
        self._longest_wait = longest_wait
        self.strict = strict
        self.window = window
        self.behind = True  # the store may hold more than is known
        self.set_aside = 0  # of those taken, how many wait for an earlier one that was taken: no part of the window
        self._memory = memory
        self._known: dict[int, Waiting] = {}
        self._ready: deque[Waiting] = deque()
        self._deferred: list[tuple[float, int, Waiting]] = []
        self._known_through: int | None = None  # all that is queued up to this sequence is known
        self._announced = 0  # the highest sequence heard of
        self._scanning = False
        self._generation = 0
        self._ahead: list[tuple[Enqueue, int, int]] = []

    def __len__(self) -> int:
        return len(self._known)

    @property
    def wants_scan(self) -> bool:
        """Whether the next mail can only be found in the store, and there is room for it."""
        if not self.behind or self._ready or self._scanning:
            return False
        return self._in_window <= self.window // 2 and len(self._known) < _MOST_KNOWN

    @property
    def _in_window(self) -> int:
        return len(self._known) - len(self._deferred) - self.set_aside

    @property
    def idle(self) -> bool:
        """Whether nothing of the lane waits, as far as is known."""
        return not (self._known or self.behind or self._scanning)

    @property
    def known(self) -> Mapping[int, Outbound]:
        """The recipients in memory, as they are now, by their ids."""
        return {recipient_id: waiting.outbound for recipient_id, waiting in self._known.items()}

    def announce(self, enqueue: Enqueue, sequence: int, generation: int) -> None:
        """Hear of a mail that was committed to the lane."""
        if not self._scanning:
            self._announced = max(self._announced, sequence)
            self._append_next(enqueue, sequence, generation)
        elif len(self._ahead) < self.window:
            # The scan may have begun before that commit, or after.
            self._ahead.append((enqueue, sequence, generation))

    def begin_scan(self, generation: int) -> None:
        """From here on, announcements wait for the scan's answer."""
        self._scanning = True
        self._generation = generation

    def scanned(self, rows: Sequence[Outbound], *, complete: bool, now: float, wall: datetime) -> None:
        """Take the rows a scan found beyond those known; `complete` when the store held no more of them."""
        for row in rows:
            due = self._due(row, now, wall)
            self._known[row.recipient_id] = waiting = Waiting(
                row, due, None, self._generation, row.due_at, row.attempts, row.in_doubt
            )
            self._ready.append(waiting)
        last = rows[-1].sequence if rows else 0
        if complete:
            self._known_through = max(last, self._announced, self._known_through or 0)
        else:
            self._known_through = last
        self.behind = not complete
        self.end_scan()

    def _due(self, row: Outbound, now: float, wall: datetime) -> float:
        """When it is due on the monotonic clock; a wall clock that was set back holds nothing for long."""
        return now + min(self._longest_wait, max(0.0, (row.due_at - wall).total_seconds()))

    def renewed(self, row: Outbound, *, instead_of: Outbound, now: float, wall: datetime) -> None:
        """A mail in memory was changed in the store by somebody else: it is still queued, and this is its row.

        `instead_of` is what was known when the store was read; an outcome written since then makes the row an old one.
        """
        waiting = self._known.get(row.recipient_id)
        if waiting is None or waiting.outbound is not instead_of:
            return
        waiting.outbound = row
        waiting.attempts, waiting.in_doubt = row.attempts, row.in_doubt
        if waiting.due_at != row.due_at:
            waiting.due_at, waiting.due = row.due_at, self._due(row, now, wall)
            self._deferred = [(each.due, each.outbound.sequence, each) for _, _, each in self._deferred]
            heapify(self._deferred)

    def make_due(self) -> None:
        """Let nothing that was put off wait any longer."""
        for waiting in self._ready:
            waiting.due = 0.0
        for _, _, waiting in self._deferred:
            waiting.due = 0.0
        self._deferred = sorted((0.0, sequence, waiting) for _, sequence, waiting in self._deferred)

    def leased(self, last_sequence: int) -> None:
        """The lane was taken when this was its last sequence; the scan sees everything up to it."""
        self._announced = max(self._announced, last_sequence)

    def end_scan(self) -> None:
        """The scan is over, whatever came of it: go through what was announced meanwhile."""
        self._scanning = False
        ahead, self._ahead = self._ahead, []
        if len(ahead) >= self.window:
            self.behind = True
        for enqueue, sequence, generation in ahead:
            self.announce(enqueue, sequence, generation)

    def _append_next(self, enqueue: Enqueue, sequence: int, generation: int) -> None:
        known_through = self._known_through
        if known_through is not None and sequence <= known_through:
            self._remember_content(enqueue)
        elif sequence - 1 != known_through or self._in_window >= self.window or len(self._known) >= _MOST_KNOWN:
            self.behind = True
        else:
            self._known_through = sequence
            content = self._memory.take(enqueue.content)
            outbound = outbound_of(enqueue, sequence)
            waiting = Waiting(outbound, 0.0, content, generation, outbound.due_at, 0, 0)
            self._known[enqueue.recipient.id] = waiting
            self._ready.append(waiting)

    def _remember_content(self, enqueue: Enqueue) -> None:
        waiting = self._known.get(enqueue.recipient.id)
        if waiting is not None and waiting.content is None:
            waiting.content = self._memory.take(enqueue.content)

    @property
    def head(self) -> Waiting | None:
        """The mail that is next, due or not."""
        return self._ready[0] if self._ready else None

    def take(self, now: float) -> Waiting | None:
        """Take the next mail that is due out of the order; `done` or `put_back` must follow."""
        while self._deferred and self._deferred[0][0] <= now:
            self._ready.append(heappop(self._deferred)[2])
        while self._ready:
            waiting = self._ready[0]
            if waiting.due <= now:
                return self._ready.popleft()
            if self.strict:
                return None
            self._defer(self._ready.popleft())
        return None

    def next_due(self) -> float | None:
        """When the next mail may be tried; None when none is known."""
        if self._ready:
            return self._ready[0].due
        return self._deferred[0][0] if self._deferred else None

    def take_while(self, condition: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take those at the head that meet the condition out of the order."""
        taken = []
        while self._ready and condition(self._ready[0]):
            taken.append(self._ready.popleft())
        return taken

    def put_back(self, waiting: Waiting, due: float) -> None:
        """Give a mail its place again, not to be tried before `due`."""
        if self._known.get(waiting.outbound.recipient_id) is not waiting:
            return
        waiting.due = due
        if self.strict or due <= 0.0:
            self._ready.appendleft(waiting)
            if len(self._ready) > 1 and self._ready[1].outbound.sequence < waiting.outbound.sequence:
                self._ready = deque(sorted(self._ready, key=_place))
        else:
            self._defer(waiting)

    def _defer(self, waiting: Waiting) -> None:
        heappush(self._deferred, (waiting.due, waiting.outbound.sequence, waiting))

    def done(self, waiting: Waiting) -> None:
        """The mail has left the lane."""
        if self._known.get(waiting.outbound.recipient_id) is waiting:
            del self._known[waiting.outbound.recipient_id]
        self._drop_content(waiting)

    def lost_track_of(self, waiting: Waiting) -> None:
        """The mail is not at its place any more: it left the lane, or stands at another one."""
        with suppress(ValueError):
            self._ready.remove(waiting)
        self.done(waiting)
        self.behind = True

    def _drop_content(self, waiting: Waiting) -> None:
        if waiting.content is not None:
            self._memory.used -= len(waiting.content)
            waiting.content = None

    def forget(self) -> None:
        """Know nothing any more: the lane may have been another's."""
        for waiting in self._known.values():
            self._drop_content(waiting)
        self._known.clear()
        self._ready.clear()
        self._deferred.clear()
        self._ahead.clear()
        self.set_aside = 0
        self._known_through = None
        self._scanning = False
        self.behind = True


def _place(waiting: Waiting) -> int:
    return waiting.outbound.sequence


def outbound_of(enqueue: Enqueue, sequence: int) -> Outbound:
    """An announced recipient as a scan would have found it."""
    recipient = enqueue.recipient
    created_at = from_micros(recipient.created_at)
    same = recipient.due_at == recipient.created_at
    return Outbound(
        recipient_id=recipient.id,
        mail_id=recipient.mail_id,
        lane=enqueue.lane,
        sequence=sequence,
        sender=recipient.sender,
        rcpt_to=recipient.rcpt_to,
        created_at=created_at,
        due_at=created_at if same else from_micros(recipient.due_at),
        waiting_since=created_at if recipient.waiting_since is None else from_micros(recipient.waiting_since),
        header=recipient.header,
        body_offset=recipient.body_offset,
        attempts=0,
        in_doubt=0,
        address_id=recipient.address_id,
        output_code=recipient.output_code,
        map_version=recipient.map_version,
        request_id=recipient.request_id,
        content=None,
    )
