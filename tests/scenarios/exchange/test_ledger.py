"""The ledger finds what it is there to find: each fault, put into a sound book, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from tests.scenarios.exchange.book import Asked, Executed, Made, Noted, Queued, Received
from tests.scenarios.exchange.ledger import Fault, Ledger

T = TypeVar("T")

TERMINALS = {"a@one.example": "60001S", "b@one.example": "60001S", "c@two.example": "60002S"}
REQUESTS = [(address, number) for number in range(3) for address in TERMINALS]


def handover(address: str, number: int) -> str:
    return f"{address[0].upper()}{number}"


def sound() -> Ledger:
    """Three addresses at two terminals, three requests of each, every one executed and answered in order."""
    numbered = list(enumerate(REQUESTS))
    return Ledger(
        asked=tuple(
            Asked(
                handover=handover(address, number),
                address=address,
                terminal=TERMINALS[address],
                number=number,
                digest=f"body {order}",
                mail_digest=f"mail {order}",
                accepted=100.0 + order,
            )
            for order, (address, number) in numbered
        ),
        executed=tuple(
            Executed(
                request_id=str(order),
                handover=handover(address, number),
                address=address,
                digest=f"body {order}",
                mail_digest=f"mail {order}",
                at=100.5 + order,
                order=order,
            )
            for order, (address, number) in numbered
        ),
        made=tuple(
            Made(
                serial=str(order),
                handover=handover(address, number),
                kind="R",
                rcpt_to=address,
                digest=f"result {order}",
                sent=True,
            )
            for order, (address, number) in numbered
        ),
        received=tuple(
            Received(
                terminal=TERMINALS[address],
                order=order,
                mail_id=1000 + order,
                rcpt_to=address,
                handover=handover(address, number),
                kind="R",
                code="00000-0000-0000",
                digest=f"result {order}",
            )
            for order, (address, number) in numbered
        ),
        queued=tuple(
            Queued(
                mail_id=1000 + order,
                rcpt_to=address,
                lane=f"terminal:{TERMINALS[address]}",
                sequence=order,
                state="delivered",
                in_doubt=0,
                own=False,
            )
            for order, (address, number) in numbered
        ),
        noted=tuple(
            Noted(request_id=str(order), handover=handover(address, number), received=100.0 + order, answered=True)
            for order, (address, number) in numbered
        ),
        terminal_of=TERMINALS,
        life=5.0,
    )


def but(rows: tuple[T, ...], number: int, **changes: Any) -> tuple[T, ...]:
    """The rows with one of them changed."""
    return tuple(replace(row, **changes) if at == number else row for at, row in enumerate(rows))  # type: ignore[type-var]


def without(rows: tuple[T, ...], number: int) -> tuple[T, ...]:
    return rows[:number] + rows[number + 1 :]


def swapped(rows: tuple[Any, ...], one: int, other: int) -> tuple[Any, ...]:
    """The rows with the places of two of them changed."""
    return but(but(rows, one, order=rows[other].order), other, order=rows[one].order)


def with_doubt(book: Ledger, number: int, doubts: int = 1) -> Ledger:
    return replace(book, queued=but(book.queued, number, in_doubt=doubts))


def with_a_copy(book: Ledger, number: int, **changes: Any) -> Ledger:
    """The book in which a mail came once more, behind all others but as the last of its lane."""
    copy = replace(book.received[number], order=len(book.received), **changes)
    return replace(book, received=(*book.received, copy))


def refused(book: Ledger, number: int) -> Ledger:
    """The book in which one request was answered A0011 by the gateway and never executed."""
    answer = {"code": "A0011-0000-0000", "digest": "own answer"}
    return replace(
        book,
        executed=without(book.executed, number),
        made=without(book.made, number),
        received=but(book.received, number, **answer),
        queued=but(book.queued, number, own=True, request_id=str(number)),
    )


def unanswered(book: Ledger, number: int, **noted: bool) -> Ledger:
    """The book in which the hand-over of one request was lost, and with it its result."""
    return replace(
        book,
        executed=without(book.executed, number),
        made=without(book.made, number),
        received=without(book.received, number),
        queued=without(book.queued, number),
        noted=but(book.noted, number, answered=False, **noted),
    )


def queued_again(book: Ledger, number: int, doubts: int) -> Ledger:
    """The book in which the same result stands twice in its lane; `doubts` of the request itself."""
    again = replace(book.queued[number], sequence=50)
    return replace(book, queued=(*book.queued, again), asked=but(book.asked, number, doubts=doubts))


LAST = len(REQUESTS) - 1

FAULTS: dict[str, tuple[Callable[[Ledger], Ledger], set[Fault]]] = {
    "a result that never came": (
        lambda book: replace(book, received=without(book.received, 4)),
        {Fault.LOST, Fault.RESULT_LOST},
    ),
    "a request that left no trace": (lambda book: unanswered(book, 4), {Fault.LOST}),
    "a request in doubt nobody was told of": (lambda book: unanswered(book, 4, in_doubt=True), {Fault.LOST}),
    "an output that never came": (
        lambda book: replace(
            book,
            made=(*book.made, replace(book.made[3], serial="more", kind="P", digest="an output")),
        ),
        {Fault.RESULT_LOST},
    ),
    "a repeat without doubt": (lambda book: with_a_copy(book, LAST), {Fault.REPEATED}),
    "a second repeat with one doubt": (
        lambda book: with_a_copy(with_doubt(with_a_copy(book, LAST), LAST), LAST),
        {Fault.REPEATED},
    ),
    "a repeat with the doubt at another mail": (
        lambda book: with_a_copy(with_doubt(book, 0), LAST),
        {Fault.REPEATED},
    ),
    "a result queued again for no reason": (
        lambda book: with_a_copy(queued_again(book, LAST, doubts=0), LAST),
        {Fault.REPEATED},
    ),
    "a result the gateway took twice": (
        lambda book: with_a_copy(replace(book, made=but(book.made, LAST, doubts=1)), LAST),
        {Fault.REPEATED_BY_BACKEND},
    ),
    "a mail at another terminal's server": (
        lambda book: replace(book, received=but(book.received, 2, terminal="60001S")),
        {Fault.MISROUTED},
    ),
    "a copy at another terminal's server": (
        lambda book: with_a_copy(with_doubt(book, LAST), LAST, terminal="60001S"),
        {Fault.MISROUTED},
    ),
    "two results of one lane the wrong way round": (
        lambda book: replace(book, received=swapped(book.received, 0, 1)),
        {Fault.REORDERED},
    ),
    "an old mail in doubt resent behind later ones": (
        lambda book: with_a_copy(with_doubt(book, 0), 0),
        {Fault.REORDERED},
    ),
    "a request executed before an earlier one of its address": (
        lambda book: replace(book, executed=swapped(book.executed, 0, 3)),
        {Fault.OVERTAKEN},
    ),
    "another message at the backend": (
        lambda book: replace(book, executed=but(book.executed, 1, digest="other")),
        {Fault.ALTERED},
    ),
    "another mail around the message": (
        lambda book: replace(book, executed=but(book.executed, 1, mail_digest="other")),
        {Fault.ALTERED},
    ),
    "another address told to the backend": (
        lambda book: replace(book, executed=but(book.executed, 1, address="c@two.example")),
        {Fault.ALTERED},
    ),
    "other bytes at the terminal": (
        lambda book: replace(book, received=but(book.received, 1, digest="other")),
        {Fault.RESULT_LOST, Fault.UNASKED},
    ),
    "a request executed twice": (
        lambda book: replace(book, executed=(*book.executed, replace(book.executed[LAST], order=99))),
        {Fault.EXECUTED_TWICE},
    ),
    "one mail taken for two requests": (
        lambda book: replace(book, noted=(*book.noted, replace(book.noted[LAST], request_id="again"))),
        {Fault.TAKEN_TWICE},
    ),
    "one mail executed as two requests": (
        lambda book: replace(
            book, executed=(*book.executed, replace(book.executed[LAST], request_id="again", order=99))
        ),
        {Fault.EXECUTED_AGAIN},
    ),
    "A0011 for a request that was executed": (
        lambda book: replace(refused(book, 1), executed=book.executed),
        {Fault.ANSWERED_AND_EXECUTED},
    ),
    "A0011 and a result": (
        lambda book: replace(refused(book, LAST), executed=book.executed, made=book.made),
        {Fault.ANSWERED_AND_EXECUTED, Fault.RESULT_LOST},
    ),
    "a request executed late": (
        lambda book: replace(book, executed=but(book.executed, 1, at=112.0)),
        {Fault.LATE},
    ),
    "a hand-over that began late": (
        lambda book: replace(book, noted=but(book.noted, 1, claimed=106.5)),
        {Fault.LATE},
    ),
    "a result nobody made": (
        lambda book: replace(book, made=without(book.made, 1)),
        {Fault.UNASKED},
    ),
    "a mail the store does not know": (
        lambda book: replace(book, received=but(book.received, LAST, mail_id=1)),
        {Fault.UNASKED},
    ),
    "something left in the store": (lambda book: replace(book, left_over=("queued",)), {Fault.LEFT_OVER}),
}

SOUND: dict[str, Callable[[Ledger], Ledger]] = {
    "everything once": lambda book: book,
    "a repeat with a doubt": lambda book: with_a_copy(with_doubt(book, LAST), LAST),
    "a doubt without a repeat": lambda book: with_doubt(book, LAST),
    "A0011 for a request that was never executed": lambda book: refused(book, 1),
    "in doubt, overdue and told": lambda book: unanswered(book, 4, in_doubt=True, overdue=True),
    "a request without a 250": lambda book: replace(
        unanswered(book, 4), asked=but(book.asked, 4, accepted=None), noted=without(book.noted, 4)
    ),
    "a fetch, which has no result of its own": lambda book: replace(
        unanswered(book, 4), asked=but(book.asked, 4, awaits_result=False)
    ),
    "a mail in doubt, given up, and fetched behind later ones": lambda book: replace(
        with_a_copy(book, 0), queued=but(book.queued, 0, in_doubt=1, sequence=50, fetched=True)
    ),
    "a result queued again for a request that came again": lambda book: with_a_copy(queued_again(book, 0, doubts=1), 0),
    "a hand-over that began in time and took long": lambda book: replace(
        book, noted=but(book.noted, 1, claimed=105.5), executed=but(book.executed, 1, at=110.5)
    ),
    "two results made alike": lambda book: replace(
        with_a_copy(book, LAST), made=(*book.made, replace(book.made[LAST], serial="second"))
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_ledger_catches(name):
    damage, faults = FAULTS[name]
    assert {violation.fault for violation in damage(sound()).violations} == faults


@pytest.mark.parametrize("name", SOUND)
def test_the_ledger_accepts(name):
    assert SOUND[name](sound()).violations == []


def test_every_fault_is_caught_in_some_book():
    assert set().union(*(faults for _, faults in FAULTS.values())) == set(Fault)


def test_the_figures_count_repeats_doubts_and_each_kind_of_fault():
    figures = with_a_copy(with_doubt(sound(), 0), LAST).figures()
    assert figures["requests"] == figures["accepted"] == len(REQUESTS)
    assert (figures["deliveries in doubt"], figures["repeats"], figures["repeated"]) == (1, 1, 1)
