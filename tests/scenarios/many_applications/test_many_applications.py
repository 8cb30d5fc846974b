"""The scenario at a size that every run of the suite can afford, and that its judge sees what it judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.store import Store
from tests.scenarios.many_applications.book import Book
from tests.scenarios.many_applications.checks import violations
from tests.scenarios.many_applications.runner import Crew, Report, run

BOOK = Book(applications=60, offices=6)


@pytest.fixture(scope="module")
def report(place: tuple[Path, str | None]) -> Report:
    directory, url = place
    return run(directory, url, BOOK, Crew(processes=3), lambda _: None)


@pytest.fixture
def finished(report: Report, place: tuple[Path, str | None]) -> Iterator[Store]:
    """The store after the scenario."""
    directory, url = place
    store = Store.open(url or f"sqlite:///{directory / 'var' / 'gateway.db'}", "test")
    yield store
    store.close()


def test_nothing_is_given_twice_or_skipped_and_nobody_is_left_out(report):
    assert report.violations == []
    assert report.figures["applications"] == 60
    assert report.figures["deadlocks"] == 0


class _TakenBack(Exception):
    pass


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE applications SET receipt_number = '269999A' WHERE receipt_number LIKE '%0007A'", "receipt numbers"),
        ("UPDATE applications SET state = 'received' WHERE receipt_number LIKE '%0007A'", "not every application"),
        ("UPDATE logical_terminals SET name = '69999S' WHERE name = '60003S'", "names of the pool S"),
        ("UPDATE logical_terminals SET ip_address = '10.100.0.9' WHERE name = '60000S'", "IP addresses of"),
        ("DELETE FROM reservations WHERE kind = 'ip' AND value = '10.100.0.2'", "IP addresses are reserved"),
        ("UPDATE mail_addresses SET address = 'X' WHERE address LIKE '3A0001@SMTP.MA0000%'", "mail addresses of"),
        ("UPDATE logical_terminals SET application_id = 1 WHERE name = '60000S'", "asked for"),
        ("UPDATE logical_terminals SET application_id = 1 WHERE name = '60000S'", "an ID notice shows"),
        ("UPDATE mails SET template = 'applicant/id-notice@1' WHERE template LIKE 'applicant/review-complete%'",
         "was told"),
        ("DELETE FROM issued_secrets WHERE terminal_id IS NULL", "passwords instead of"),
        ("UPDATE issued_secrets SET key_name = '1'", "two passwords"),
        ("DELETE FROM audit_events WHERE event = 'complete'", "the audit trail"),
        ("UPDATE map_version SET version = version - 1", "the map has version"),
    ],
)  # fmt: skip
def test_the_judge_sees_what_would_be_wrong(report, finished, damage, words):
    found: list[str] = []

    def work(session):
        session.execute(text(damage))
        found.extend(violations(session, BOOK, report.start))
        raise _TakenBack

    with pytest.raises(_TakenBack):
        finished.run(work)
    assert any(words in one for one in found), found
