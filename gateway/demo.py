"""The whole story on one machine: an application by mail, its review, the IDs, and the first NACCS message.

A real gateway on an empty temporary store, a recording smarthost, and an in-house system that speaks as the known one
does. Only the clock is moved: from the review to the start date.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.demo_timeline import Timeline
from gateway.sandbox import sample_mails
from gateway.sandbox.applicant_client import ApplicantClient
from gateway.sandbox.dialogue import Exchange
from gateway.sandbox.in_house_client import KnownClient, Parcel, known_mail
from gateway.sandbox.peers import RecordedMail, Recorder
from gateway.service import Service
from gateway.settings import Settings
from handlers import contracts, reviews
from handlers.applications.contents import ApplicationContents
from handlers.calendar import JST, BusinessCalendar, jst_date, seed_holidays
from handlers.naccs.common_items import OUTPUT_PLACES
from handlers.reviews import Decided
from storage.clock import move_clock
from storage.models import Application, LogicalTerminal, MailAddress

_GRACE_BEFORE_MIDNIGHT = timedelta(minutes=5)


@contextmanager
def demo_settings() -> Iterator[Settings]:
    """Settings for free loopback ports and a store in a directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="naccs-demo-") as directory:
        yield Settings.model_validate(
            {
                "store": {"url": f"sqlite:///{Path(directory) / 'gateway.db'}"},
                "public": {"port": 0},
                "naccs": {"port": 0, "terminal_port": _free_port()},
                "smarthost": {"port": _free_port()},
                "secrets": {"key_file": str(Path(directory) / "secret.key")},
                "sandbox": {"enabled": True, "movable_clock": True},
                "center": {"host_name": "center.example"},
            }
        )


def _free_port() -> int:
    """A port that was free on every loopback address a moment ago."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


async def play(settings: Settings, timeline: Timeline, *, pause: float) -> None:
    """Play the story; `pause` is the silence of the in-house client before its dot, in seconds."""
    async with Recorder("127.0.0.1", settings.smarthost.port) as smarthost:
        service = Service(settings)
        await service.start()
        try:
            await _Story(settings, service, smarthost, timeline, pause).play()
        finally:
            await service.stop()


class _Story:
    def __init__(
        self, settings: Settings, service: Service, smarthost: Recorder, timeline: Timeline, pause: float
    ) -> None:
        self._settings = settings
        self._service = service
        self._smarthost = smarthost
        self._timeline = timeline
        self._pause = pause
        self._seen = 0
        self._start: date = date.min
        self._receipt = ""
        self._terminal = ""
        self._ip = ""
        self._address = ""

    async def play(self) -> None:
        """Every chapter in turn."""
        self._timeline.event("center", "operator", self._service.ready_line)
        await self._contract()
        await self._application()
        await self._review()
        await self._too_early()
        await self._start_date()
        async with Recorder(self._ip, self._settings.naccs.terminal_port, in_house=True) as in_house:
            await self._communication_check(in_house)
            await self._procedure(in_house)
            await self._damaged(in_house)

    async def _contract(self) -> None:
        self._timeline.chapter("The office has a contract (office import)")
        read = contracts.read_contracts(sample_mails.read("offices.toml").decode())
        hashes = await asyncio.to_thread(contracts.hash_contract_passwords, read, {})
        now = self._service.clock.now()
        await self._service.database.run(
            lambda session: contracts.import_contracts(session, read, self._service.desk, now, password_hashes=hashes)
        )
        await self._service.map.refresh()
        self._timeline.check("the map has a version", self._service.map.view.version > 0)

    async def _application(self) -> None:
        self._timeline.chapter("It applies for an SMTP two-way server (利用申込)")
        sample = sample_mails.sample("application-add-smtp-server")
        sender = sample_mails.applicant_address(sample)
        to = self._service.desk.apply_address
        now = self._service.clock.now()
        self._start = sample_mails.wished_start(jst_date(now))
        mail = sample_mails.application_mail(sample, mail_from=sender, rcpt_to=to, now=now)
        host, port = self._service.addresses["public"]
        client = ApplicantClient(host, port)
        dialogue = await asyncio.to_thread(client.send, mail, mail_from=sender, rcpt_to=to)
        self._timeline.event("通関 花子", to, "the form and システム構成図.xlsx", dialogue.reply_to("."))
        self._timeline.check("the mail is taken", dialogue.accepted)
        received = await self._notices(3)
        acceptances = [mail for mail in received if "利用申込受付完了のお知らせ" in _subject(mail)]
        recipients = {mail.rcpt_to for mail in acceptances}
        self._timeline.check("申込担当者 and 管理責任者 are told", len(recipients) == 2, recipients)
        number = re.search(r"\d{6,}A", _text(acceptances[0])) if acceptances else None
        self._receipt = number[0] if number else ""
        self._timeline.check("it has a receipt number", self._receipt)
        self._quote(acceptances)

    async def _review(self) -> None:
        self._timeline.chapter(f"A reviewer completes {self._receipt} (審査終了)")
        now = self._service.clock.now()
        days = seed_holidays({now.year, now.year + 1})
        decided = await self._service.database.run(
            lambda session: reviews.complete(
                session,
                self._service.desk,
                self._receipt,
                None,
                "os:reviewer",
                now,
                BusinessCalendar(holidays=days),
            )
        )
        self._timeline.check("the review is complete", isinstance(decided, Decided), decided)
        mails = await self._notices(4)
        for title in ("利用申込確認完了のお知らせ", "ID通知のお知らせ"):
            found = [mail for mail in mails if title in _subject(mail)]
            self._timeline.check(f"{title} goes to both", len(found) == 2, len(found))
            self._quote(found)
        await self._service.database.read(self._issued)
        what = f"{self._terminal}, {self._ip}, {self._address}, from {self._start}"
        self._timeline.event("center", "map", what)
        self._timeline.check("terminal, IP and mail address are issued", self._terminal and self._ip and self._address)

    def _issued(self, session: Session) -> None:
        application = session.scalars(select(Application).where(Application.receipt_number == self._receipt)).one()
        contents = ApplicationContents.from_json(application.contents)
        row = session.execute(
            select(LogicalTerminal.name, LogicalTerminal.ip_address, MailAddress.address)
            .join(MailAddress, MailAddress.terminal_id == LogicalTerminal.id)
            .where(LogicalTerminal.application_id == application.id)
        ).one()
        self._terminal, self._ip, self._address = row.name, row.ip_address or "", row.address
        self._timeline.check("it starts on the day wished for", application.start_date == contents.desired_start_date)

    async def _too_early(self) -> None:
        self._timeline.chapter("The in-house system is too early: the map does not route before the start date")
        reply = await self._send(sample_mails.read("tcc-request.edi"))
        self._timeline.check("MAIL is refused 550 5.7.1", reply("MAIL").startswith("550 5.7.1"), reply("MAIL"))

    async def _start_date(self) -> None:
        midnight = datetime.combine(self._start, datetime.min.time(), tzinfo=JST)
        ahead = midnight + _GRACE_BEFORE_MIDNIGHT - datetime.now(UTC)
        await self._service.database.run(lambda session: move_clock(session, ahead))
        await self._service.database.read(self._service.clock.refresh)
        self._timeline.chapter(
            f"It is {self._service.clock.now().astimezone(JST):%Y-%m-%d %H:%M} in Japan (利用開始日)"
        )

    async def _communication_check(self, in_house: Recorder) -> None:
        reply = await self._send(sample_mails.read("tcc-request.edi"))
        self._timeline.check("the request is taken", reply(".").startswith("250"), reply("."))
        body = await self._result(in_house, 0)
        expected = sample_mails.read("result-ok.edi")
        self._timeline.check(
            "the result is the sample's but for address and time",
            _without_own_items(body) == _without_own_items(expected),
            body,
        )

    async def _procedure(self, in_house: Recorder) -> None:
        self._timeline.chapter("Any other procedure is carried out by the backend (here: the simulator)")
        request = sample_mails.read("tcc-request.edi").replace(b"TCC  ", b"OTA  ", 1)
        reply = await self._send(request)
        self._timeline.check("the request is taken", reply(".").startswith("250"), reply("."))
        body = await self._result(in_house, 1)
        self._timeline.check("its result is normal", b"*SOTA  " in body and b"00000-0000-0000" in body, body)

    async def _damaged(self, in_house: Recorder) -> None:
        self._timeline.chapter("A damaged message is answered too")
        await self._send(sample_mails.read("tcc-request.edi")[:430])
        body = await self._result(in_house, 2)
        self._timeline.check("its length is wrong: A0008", b"A0008-0000-0000" in body, body)

    async def _send(self, body: bytes) -> Callable[[str], str]:
        center = self._settings.center.address
        mail = known_mail(body, mail_from=self._address, rcpt_to=center)
        host, port = self._service.addresses["naccs"]
        client = KnownClient(host, port, bind=self._ip, helo=self._terminal, pause=self._pause, listener=self._heard)
        parcel = Parcel(mail_from=self._address, rcpt_to=center, mail=mail)
        dialogue = await asyncio.to_thread(client.send, parcel)
        return dialogue.reply_to

    def _heard(self, exchange: Exchange) -> None:
        self._timeline.event(self._terminal, "center", exchange.said or "(connects)", exchange.reply)

    async def _result(self, in_house: Recorder, number: int) -> bytes:
        try:
            mail = await in_house.mail(number)
        except TimeoutError:
            self._timeline.check("a result comes", holds=False)
            return b""
        self._timeline.event("center", f"{self._terminal} at {self._ip}", f"result to <{mail.rcpt_to}>", "250")
        return mail.content.partition(b"\r\n\r\n")[2]

    async def _notices(self, count: int) -> list[RecordedMail]:
        """The next `count` mails at the smarthost."""
        for number in range(self._seen, self._seen + count):
            try:
                mail = await self._smarthost.mail(number)
            except TimeoutError:
                self._timeline.check(f"mail {number + 1} comes to the smarthost", holds=False)
                break
            self._timeline.event("center", f"<{mail.rcpt_to}>", _subject(mail), "250")
        found = self._smarthost.mails[self._seen : self._seen + count]
        self._seen += count
        return found

    def _quote(self, mails: list[RecordedMail]) -> None:
        if mails:
            self._timeline.quote(f"{_subject(mails[0])} (to {mails[0].rcpt_to})", _text(mails[0]))


def _subject(mail: RecordedMail) -> str:
    return str(message_from_bytes(mail.content, policy=policy.default)["Subject"])


def _text(mail: RecordedMail) -> str:
    body = message_from_bytes(mail.content, policy=policy.default).get_body(("plain",))
    return "" if body is None else str(body.get_content())


def _without_own_items(body: bytes) -> bytes:
    """A result without what differs by time and address."""
    blanked = bytearray(body)
    for item in ("received_at", "mail_address"):
        place = OUTPUT_PLACES[item]
        blanked[place] = b" " * len(blanked[place])
    return bytes(blanked)
