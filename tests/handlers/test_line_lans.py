"""One LAN stands behind one router, unless its lines are shared on purpose."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from handlers.contract_faults import ContractsRefused
from handlers.line_lans import Lan, overlaps
from storage.models import Line
from tests.handlers.review_cases import HASHES, OFFICES, take_contracts
from tests.handlers.test_terminals import only_sqlite

LINE = OFFICES[OFFICES.index("[[office.line]]") : OFFICES.index("[[office.line.terminal]]")]
SECOND = LINE.replace('"09143"', '"09144"')
OTHER_OFFICE = OFFICES[: OFFICES.index("[[office.line]]")].replace("CT0001", "CT0002")


def shared(line: str, *offices: str) -> str:
    codes = ", ".join(f'"{code}"' for code in offices)
    said = f"shared_with_other_offices = true\nshared_with = [{codes}]"
    return line.replace("shared_with_other_offices = false", said)


def file_with(*lines: str, first: str = LINE) -> str:
    return OFFICES.replace(LINE, first).replace("[[office.user]]", "\n".join([*lines, "[[office.user]]"]), 1)


def refused(store, now, text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ContractsRefused) as found:
        take_contracts(store, now, text, password_hashes={**HASHES, "CT0002": "x"})
    return [(fault.place, fault.rule, fault.value) for fault in found.value.faults]


def test_two_lines_of_a_file_on_one_lan_are_refused_with_both_named(store, now):
    assert refused(store, now, file_with(SECOND)) == [
        ("office CT0001, line 09144, lan_subnet", "lan_taken", "127.20.13.0/24 (09143)")
    ]
    inside = SECOND.replace("127.20.13.0/24", "127.20.13.128/25")
    assert refused(store, now, file_with(inside))[0][2] == "127.20.13.128/25 (09143)"
    take_contracts(store, now, file_with(SECOND.replace("127.20.13.0/24", "127.20.14.0/24")))


def test_a_line_is_refused_for_the_lan_of_a_line_of_the_register(store, now):
    take_contracts(store, now)
    around = SECOND.replace("127.20.13.0/24", "127.20.0.0/16")
    assert refused(store, now, OTHER_OFFICE + around) == [
        ("office CT0002, line 09144, lan_subnet", "lan_taken", "127.20.0.0/16 (09143)")
    ]
    ended = (now + timedelta(hours=9)).date()
    store.run(lambda session: session.execute(update(Line).values(effective_until=ended)))
    take_contracts(store, now, OTHER_OFFICE + around, password_hashes={"CT0002": "x"})


@only_sqlite
def test_lines_of_one_office_that_are_both_shared_have_one_lan(store, now):
    assert refused(store, now, file_with(shared(SECOND)))[0][1] == "lan_taken"  # the other is not
    take_contracts(store, now, file_with(shared(SECOND), first=shared(LINE)))
    assert refused(store, now, file_with(SECOND, first=shared(LINE)))[0][0] == "office CT0001, line 09144, lan_subnet"


@only_sqlite
def test_lines_of_two_offices_share_a_lan_when_one_names_the_other(store, now):
    other = OTHER_OFFICE + shared(SECOND)
    assert refused(store, now, file_with(first=shared(LINE)) + other)[0][1] == "lan_taken"
    both = OFFICES.replace(LINE, shared(LINE, "CT0002")) + other
    take_contracts(store, now, both, password_hashes={**HASHES, "CT0002": "x"})


@only_sqlite
def test_an_overlap_that_the_register_has_already_is_left_alone(store, now):
    text = file_with(SECOND.replace("127.20.13.0/24", "127.20.14.0/24"))
    take_contracts(store, now, text)
    store.run(lambda session: session.execute(update(Line).values(lan_subnet="127.20.13.0/24")))
    take_contracts(store, now, file_with(SECOND))
    assert store.read(lambda session: set(session.scalars(select(Line.lan_subnet)))) == {"127.20.13.0/24"}


def lan(number: str, subnet: str, **values) -> Lan:
    return Lan(router_number=number, subnet=subnet, office_code="CT0001", **values)


def test_every_pair_is_found_whatever_lies_between():
    lans = [
        lan("1", "10.0.0.0/8"),
        lan("2", "10.1.0.0/16"),
        lan("3", "10.1.1.0/24"),
        lan("4", "10.2.0.0/16"),
        lan("5", "11.0.0.0/8"),
        lan("6", "fd00::/8"),
        lan("7", "fd00::/64"),
    ]
    found = [(one.router_number, other.router_number) for one, other in overlaps(lans)]
    assert found == [("1", "2"), ("1", "3"), ("2", "3"), ("1", "4"), ("6", "7")]
