"""The book of a scenario: what was asked, executed, mailed back and received, and every promise that was broken.

Four witnesses are held against one another: the clients, the backend's journal, the in-house servers and the gateway's
store. `violations` is empty when every accepted request had its result, once, at the right server, in order, unchanged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

from tests.scenarios.exchange.book import Asked, Executed, Made, Noted, Queued, Received

_ENDINGS = frozenset("RM")
NOT_IN_TIME = "A0011"
ON_ITS_WAY = 5.0  # seconds a request that was handed over in time may take to be written down as executed


class Fault(StrEnum):
    """The kinds of broken promise."""

    LOST = "lost"  # accepted, and no result, nor recorded as in doubt and told
    RESULT_LOST = "result lost"  # the gateway took it from the backend, the server never got it
    REPEATED = "repeated"  # more often than attempts were in doubt
    REPEATED_BY_BACKEND = "repeated after the backend's resend"  # the gateway took the same result twice
    MISROUTED = "misrouted"  # at the server of another terminal
    REORDERED = "reordered"  # against the order of its lane
    OVERTAKEN = "overtaken"  # executed before an earlier request of its address
    ALTERED = "altered"  # other bytes than were sent
    EXECUTED_TWICE = "executed twice"  # one request of the gateway
    TAKEN_TWICE = "taken twice"  # the same bytes sent again after a lost 250, taken for another request
    EXECUTED_AGAIN = "executed again"  # such a request, after the first one was executed
    ANSWERED_AND_EXECUTED = "answered and executed"
    LATE = "executed late"
    UNASKED = "unasked"  # nobody asked, or the backend never made it, or the store does not know it
    LEFT_OVER = "left over"  # in the store, when all should be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    fault: Fault
    about: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.about}"


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Everything the four witnesses say. `life` of a request in seconds, None where lateness is not asked for."""

    asked: tuple[Asked, ...]
    executed: tuple[Executed, ...]
    made: tuple[Made, ...]
    received: tuple[Received, ...]
    queued: tuple[Queued, ...]
    noted: tuple[Noted, ...]
    terminal_of: dict[str, str]  # by mail address
    life: float | None = None
    left_over: tuple[str, ...] = ()

    @cached_property
    def queued_by_mail(self) -> dict[tuple[int, str], list[Queued]]:
        """By mail and address, in the order of the lane; more than one where a result was queued again for a repeat."""
        found: dict[tuple[int, str], list[Queued]] = defaultdict(list)
        for row in sorted(self.queued, key=lambda row: row.sequence):
            found[row.mail_id, row.rcpt_to.lower()].append(row)
        return found

    @cached_property
    def asked_by_handover(self) -> dict[str, Asked]:
        return {request.handover: request for request in self.asked}

    @cached_property
    def made_by_what(self) -> dict[tuple[str, str], list[Made]]:
        """By address and bytes."""
        found: dict[tuple[str, str], list[Made]] = defaultdict(list)
        for made in self.made:
            found[made.rcpt_to.lower(), made.digest].append(made)
        return found

    @cached_property
    def received_by_what(self) -> dict[tuple[str, str], list[Received]]:
        """By address and bytes."""
        found: dict[tuple[str, str], list[Received]] = defaultdict(list)
        for mail in self.received:
            found[mail.rcpt_to.lower(), mail.digest].append(mail)
        return found

    def rows_of(self, mail: Received) -> list[Queued]:
        """What the store knows of a mail that was received."""
        return self.queued_by_mail.get((mail.mail_id, mail.rcpt_to.lower()), [])

    def is_own(self, mail: Received) -> bool:
        """Whether the gateway itself answered."""
        return any(row.own for row in self.rows_of(mail))

    @cached_property
    def violations(self) -> list[Violation]:
        """Every broken promise, in the order of the rules."""
        return [Violation(fault=fault, about=about) for fault, find in _RULES for about in find(self)]

    def figures(self) -> dict[str, int]:
        """How much of everything there was, and how many violations of each kind."""
        faults = Counter(violation.fault for violation in self.violations)
        return {
            "requests": len(self.asked),
            "accepted": sum(request.accepted is not None for request in self.asked),
            "resubmitted in doubt": sum(request.doubts for request in self.asked),
            "executed": len(self.executed),
            "results taken": sum(made.sent for made in self.made),
            "results in doubt at the backend": sum(made.doubts for made in self.made),
            "received": len(self.received),
            "answered A0011": len({mail.handover for mail in self.received if mail.code.startswith(NOT_IN_TIME)}),
            "deliveries in doubt": sum(row.in_doubt for row in self.queued),
            "repeats": sum(len(mails) - 1 for mails in self.received_by_what.values()),
            "requests in doubt": sum(noted.in_doubt for noted in self.noted),
            "requests overdue": sum(noted.overdue for noted in self.noted),
            **{fault.value: faults[fault] for fault in Fault if faults[fault]},
        }


# --- the rules ------------------------------------------------------------------------------------------------------


def _lost(ledger: Ledger) -> Iterator[str]:
    ended = {mail.handover for mail in ledger.received if mail.kind in _ENDINGS}
    told = {noted.handover for noted in ledger.noted if noted.in_doubt and noted.overdue}
    known = ended | told
    for request in ledger.asked:
        if request.accepted is not None and request.awaits_result and request.handover not in known:
            yield f"{request.handover} of {request.address}"


def _result_lost(ledger: Ledger) -> Iterator[str]:
    for (rcpt_to, _), made in ledger.made_by_what.items():
        came = len(ledger.received_by_what.get((rcpt_to, made[0].digest), ()))
        if rcpt_to in ledger.terminal_of and came < sum(one.sent for one in made):
            yield f"{made[0].kind} of {made[0].handover} for {rcpt_to}, {came} of {len(made)}"


def _copies(ledger: Ledger) -> Iterator[tuple[str, int, int, int]]:
    """Of each message: what it is, how often it came, how often it may, and the backend's own doubts."""
    for (rcpt_to, digest), mails in ledger.received_by_what.items():
        rows = {row for mail in mails for row in ledger.rows_of(mail)}
        made = ledger.made_by_what.get((rcpt_to, digest), ())
        answers = {row.request_id for row in rows if row.own}
        request = ledger.asked_by_handover.get(mails[0].handover)
        # A repeat of a request whose 250 was lost gets its result again.
        again = min(len(rows) - len({row.mail_id for row in rows}), 0 if request is None else request.doubts)
        allowed = max(1, len(made), len(answers)) + again + sum(row.in_doubt for row in rows)
        about = f"{mails[0].kind} {mails[0].code} of {mails[0].handover} at {mails[0].terminal}: {len(mails)} times"
        yield about, len(mails), allowed, sum(one.doubts for one in made)


def _repeated(ledger: Ledger) -> Iterator[str]:
    for about, came, allowed, doubts in _copies(ledger):
        if came > allowed + doubts:
            yield about


def _repeated_by_backend(ledger: Ledger) -> Iterator[str]:
    for about, came, allowed, doubts in _copies(ledger):
        if allowed < came <= allowed + doubts:
            yield about


def _misrouted(ledger: Ledger) -> Iterator[str]:
    for mail in ledger.received:
        belongs = ledger.terminal_of.get(mail.rcpt_to.lower())
        if mail.terminal != belongs:
            yield f"{mail.handover} for {mail.rcpt_to} of {belongs} came to {mail.terminal}"


def _reordered(ledger: Ledger) -> Iterator[str]:
    """Of each server, what came last of each mail follows the lane; so does what came first, if never fetched."""
    last: dict[str, dict[tuple[int, str], tuple[int, Received]]] = defaultdict(dict)
    first: dict[str, dict[tuple[int, str], tuple[int, Received]]] = defaultdict(dict)
    for mail in sorted(ledger.received, key=lambda mail: mail.order):
        rows = ledger.rows_of(mail)
        if rows:
            key = mail.mail_id, mail.rcpt_to.lower()
            last[mail.terminal][key] = rows[-1].sequence, mail
            if not rows[0].fetched:
                first[mail.terminal].setdefault(key, (rows[0].sequence, mail))
    for terminal, mails in (*last.items(), *first.items()):
        for (before, _), (after, mail) in pairwise(sorted(mails.values(), key=lambda each: each[1].order)):
            if after <= before:
                yield f"{mail.handover} at {terminal}: place {after} of its lane after {before}"


def _overtaken(ledger: Ledger) -> Iterator[str]:
    latest: dict[str, int] = {}
    seen: set[str] = set()
    for each in sorted(ledger.executed, key=lambda each: each.order):
        request = ledger.asked_by_handover.get(each.handover)
        if request is None or each.handover in seen:
            continue
        seen.add(each.handover)
        if request.number < latest.get(request.address, -1):
            yield f"{each.handover} of {request.address}"
        latest[request.address] = max(request.number, latest.get(request.address, -1))


def _altered(ledger: Ledger) -> Iterator[str]:
    for each in ledger.executed:
        request = ledger.asked_by_handover.get(each.handover)
        if request is not None and each.digest != request.digest:
            yield f"the message of {each.handover} at the backend"
        elif request is not None and each.mail_digest != request.mail_digest:
            yield f"the mail around {each.handover} at the backend"
        if request is not None and each.address.lower() != request.address.lower():
            yield f"{each.handover} is of {request.address}, the backend was told {each.address}"


def _executed_twice(ledger: Ledger) -> Iterator[str]:
    times = Counter(each.request_id for each in ledger.executed)
    yield from (f"request {request_id}, {count} times" for request_id, count in times.items() if count > 1)


def _taken_twice(ledger: Ledger) -> Iterator[str]:
    times = Counter(noted.handover for noted in ledger.noted)
    for handover, count in times.items():
        if count > 1:
            yield f"{handover} as {count} requests"


def _executed_again(ledger: Ledger) -> Iterator[str]:
    requests: dict[str, set[str]] = defaultdict(set)
    for each in ledger.executed:
        requests[each.handover].add(each.request_id)
    for handover, ids in requests.items():
        if len(ids) > 1:
            yield f"{handover} as the requests {', '.join(sorted(ids))}"


def _answered_and_executed(ledger: Ledger) -> Iterator[str]:
    executed = {each.request_id for each in ledger.executed}
    for mail in ledger.received:
        if any(row.own and row.request_id in executed for row in ledger.rows_of(mail)):
            yield f"{mail.handover} was answered {mail.code}"


def _late(ledger: Ledger) -> Iterator[str]:
    """The hand-over begins in the life of the request; when the backend gets it done is not the gateway's to say."""
    if ledger.life is None:
        return
    noted_by_id = {noted.request_id: noted for noted in ledger.noted}
    for each in ledger.executed:
        noted = noted_by_id.get(each.request_id)
        if noted is None:
            continue
        began = (noted.claimed or noted.received) - noted.received
        if began > ledger.life:
            yield f"{each.handover}, whose hand-over began {began:.3f} s after it was received"
        elif (age := each.at - noted.received) > ledger.life + ON_ITS_WAY:
            yield f"{each.handover}, {age:.3f} s after it was received"


def _unasked(ledger: Ledger) -> Iterator[str]:
    handovers = {made.handover for made in ledger.made} | ledger.asked_by_handover.keys()
    for mail in ledger.received:
        is_made = (mail.rcpt_to.lower(), mail.digest) in ledger.made_by_what
        if not is_made and not (ledger.is_own(mail) and mail.handover in handovers):
            yield f"{mail.kind} {mail.code} of {mail.handover!r} at {mail.terminal}"
        elif not ledger.rows_of(mail):
            yield f"{mail.kind} of {mail.handover!r} at {mail.terminal} has no row in the store"
    for each in ledger.executed:
        if each.handover not in ledger.asked_by_handover:
            yield f"{each.handover!r} at the backend"


_RULES: tuple[tuple[Fault, Callable[[Ledger], Iterator[str]]], ...] = (
    (Fault.LOST, _lost),
    (Fault.RESULT_LOST, _result_lost),
    (Fault.REPEATED, _repeated),
    (Fault.REPEATED_BY_BACKEND, _repeated_by_backend),
    (Fault.MISROUTED, _misrouted),
    (Fault.REORDERED, _reordered),
    (Fault.OVERTAKEN, _overtaken),
    (Fault.ALTERED, _altered),
    (Fault.EXECUTED_TWICE, _executed_twice),
    (Fault.TAKEN_TWICE, _taken_twice),
    (Fault.EXECUTED_AGAIN, _executed_again),
    (Fault.ANSWERED_AND_EXECUTED, _answered_and_executed),
    (Fault.LATE, _late),
    (Fault.UNASKED, _unasked),
    (Fault.LEFT_OVER, lambda ledger: iter(ledger.left_over)),
)
