"""The start date: an address routes from 00:00 in Japan on that day, by itself, in the process that refused it before.

"By itself" is the calendar's doing, not a restart's; the sandbox's movable clock stands in for the days between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from handlers.calendar import JST, jst_date
from handlers.case_history import EntryKind
from handlers.lane_pauses import GATEWAY
from handlers.naccs.common_items import OUTPUT_PLACES
from handlers.workflow import State
from storage.models import Application, CaseEntry
from tests.scenarios.conversation import Conversation
from tests.scenarios.mails import (
    body_of,
    item_of,
    receipt_in,
    request,
    send_application,
    send_request,
    subject_of,
    swaks_mail,
)
from tests.scenarios.outside import await_mails, wait_until
from tests.scenarios.site import REVIEWER, Site, Terminal, mail_id_of, site_in

EVENING = timedelta(hours=2)  # before midnight; more than a dialogue ever takes
LAST_SECONDS = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A completed application whose start date lies ahead, and what it issued."""

    receipt: str
    start: date
    terminal: Terminal

    @property
    def midnight(self) -> datetime:
        """The instant the start date begins."""
        return datetime.combine(self.start, datetime.min.time(), tzinfo=JST)


@pytest.fixture(scope="module")
def site(place: tuple[Path, str | None]) -> Iterator[Site]:
    """A sandbox whose clock may be moved."""
    directory, store_url = place
    with site_in(directory, store_url, sandbox={"enabled": True, "movable_clock": True}) as site:
        yield site


@pytest.fixture(scope="module")
def ahead(site: Site) -> Ahead:
    """Applied for and completed as wished, with the service stopped again afterwards."""
    site.process.start()
    site.import_office()
    mail_id_of(send_application(site.process.public, swaks_mail()))
    (asked,) = await_mails(site.outside.smarthost, 1, lambda mail: mail.rcpt_to == REVIEWER, "review requests")
    assert subject_of(asked).startswith("【テスト】")
    receipt = receipt_in(asked)
    completed = site.complete(receipt)
    assert completed["state"] == State.IDS_ISSUED
    (issued,) = completed["terminals"]
    site.process.terminate()
    terminal = Terminal(name=issued["name"], ip=issued["ip_address"], address=issued["mail_addresses"][0])
    return Ahead(receipt, date.fromisoformat(completed["start_date"]), terminal)


@pytest.fixture(scope="module")
def evening_before(site: Site, ahead: Ahead) -> tuple[str, str]:
    """`serve` runs since the evening before the start date: its reply to MAIL then, and the application's state."""
    site.move_clock(ahead.midnight - EVENING - datetime.now(UTC))
    site.process.start()
    return reply_to_mail(site, ahead.terminal), state_of(site, ahead.receipt)


@pytest.fixture(scope="module")
def at_midnight(site: Site, ahead: Ahead, evening_before: tuple[str, str]) -> Ahead:
    """The same process, some seconds before the start date: from here on the clock goes by itself."""
    site.move_clock(ahead.midnight - LAST_SECONDS - datetime.now(UTC))
    return ahead


def reply_to_mail(site: Site, terminal: Terminal) -> str:
    with Conversation(site.process.naccs, bind=terminal.ip) as client:
        return client.say(f"HELO {terminal.name}", f"MAIL FROM:{terminal.address}")


def state_of(site: Site, receipt: str) -> str:
    query = select(Application.state).where(Application.receipt_number == receipt)
    return site.read(lambda session: session.scalars(query).one())


def came_into_use(site: Site, receipt: str) -> list[tuple[str, date]]:
    """By whom, and on which day in Japan; a state says less, for the TCC's check follows when it likes."""
    query = (
        select(CaseEntry.actor, CaseEntry.occurred_at)
        .join(Application, Application.id == CaseEntry.application_id)
        .where(Application.receipt_number == receipt, CaseEntry.kind == EntryKind.IN_USE)
    )
    return site.read(lambda session: [(actor, jst_date(at)) for actor, at in session.execute(query)])


def test_an_address_routes_from_midnight_of_its_start_date_without_a_restart(site, evening_before, at_midnight):
    terminal = at_midnight.terminal
    reply, state = evening_before
    assert reply.startswith("550 5.7.1 ")
    assert state == State.IDS_ISSUED
    wait_until(lambda: reply_to_mail(site, terminal).startswith("250 "), "MAIL to be taken")
    in_house = site.outside.in_house(terminal.ip)
    mail_id_of(send_request(site.process.naccs, terminal, request()))
    (result,) = await_mails(in_house, 1, lambda mail: True, "results")
    assert item_of(body_of(result), "subject") == b"00000-0000-0000"
    assert body_of(result)[OUTPUT_PLACES["received_at"]].startswith(f"{at_midnight.start:%Y%m%d}00".encode())


def test_an_application_comes_into_use_by_itself_on_its_start_date(site, at_midnight):
    receipt = at_midnight.receipt
    wait_until(lambda: came_into_use(site, receipt), "the application to be in use")
    assert came_into_use(site, receipt) == [(GATEWAY, at_midnight.start)]
    assert state_of(site, receipt) in (State.IN_USE, State.CHECKED)
