from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from handlers import reviews
from handlers.applications.register import find_office, get_office, is_registered, line_facts, office_facts, open_cases
from handlers.calendar import jst_date
from storage.models import LogicalTerminal
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT
from tests.handlers.review_cases import CALENDAR, DESK, START, WITH_SMTP_SERVER, receive, take_contracts


@pytest.fixture
def office(store, now):
    """The store with the sample office, one SMTP server included."""
    take_contracts(store, now, WITH_SMTP_SERVER)
    return store


def facts_of_line(store, today):
    def read(session):
        return line_facts(session, get_office(session, "CT0001"), ["09143", "99999"], today)

    return store.read(read)


def test_an_office_is_found_by_its_code_exactly_as_written(office):
    assert office.read(lambda session: find_office(session, "CT0001") is not None)
    assert office.read(lambda session: find_office(session, "ct0001")) is None


def test_the_rules_of_the_form_see_lines_and_terminals(office):
    facts = office.read(lambda session: office_facts(session, "CT0001"))
    assert facts is not None
    assert facts.known
    assert facts.router_numbers == {"09143": ("25130M", "27264C", "60777S")}


def test_an_unknown_office_has_no_facts(office):
    assert office.read(lambda session: office_facts(session, "ZZ9999")) is None


def test_a_terminal_that_ends_is_not_offered_any_more(office, now):
    def end(session):
        row = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == "27264C")).one()
        row.effective_until = jst_date(now) + timedelta(days=30)

    office.run(end)
    facts = office.read(lambda session: office_facts(session, "CT0001"))
    assert facts is not None
    assert facts.router_numbers == {"09143": ("25130M", "60777S")}
    assert [terminal.name for terminal in facts_of_line(office, jst_date(now))["09143"].terminals] == [
        "25130M",
        "60777S",
    ]


@pytest.mark.parametrize(
    ("email", "registered"),
    [(CONTACT, True), (CONTACT.upper(), True), (ADMINISTRATOR, True), ("other@applicant.example", False), ("", False)],
)
def test_contacts_and_the_administrator_are_registered(office, email, registered):
    assert office.read(lambda session: is_registered(get_office(session, "CT0001"), email)) is registered


def test_an_office_without_administrator_address_registers_nobody_by_an_empty_one(office):
    def ask(session):
        row = get_office(session, "CT0001")
        row.administrator_email = ""
        return is_registered(row, "")

    assert office.read(ask) is False


def test_a_line_shows_its_terminals_with_their_addresses(office, now):
    facts = facts_of_line(office, jst_date(now))
    assert set(facts) == {"09143"}
    shown = [(row.name, row.equipment, row.package, row.mail_addresses) for row in facts["09143"].terminals]
    assert shown == [("25130M", "PC", "メール", 0), ("27264C", "PC", "インタ", 0), ("60777S", "SMTP", "", 1)]
    assert facts["09143"].spare_router is False


def test_free_addresses_are_those_nobody_holds(office, now):
    # /24 without network, broadcast and the router's own, less three terminals.
    assert facts_of_line(office, jst_date(now))["09143"].free_addresses == 250
    receive(office, now)
    office.run(lambda session: reviews.complete(session, DESK, "260001A", START, "os:reviewer", now, CALENDAR))
    assert facts_of_line(office, jst_date(now))["09143"].free_addresses == 249


def test_open_cases_are_named_with_their_lines_oldest_first(office, now):
    receive(office, now, "260001A")
    receive(office, now, "260002A", state="inquiry")
    receive(office, now, "260003A", state="withdrawn")
    cases = office.read(lambda session: open_cases(session, get_office(session, "CT0001")))
    assert [case.receipt_number for case in cases] == ["260001A", "260002A"]
    assert cases[0].router_numbers == frozenset({"09143"})
