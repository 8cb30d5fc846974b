"""One application from the form to the communication check: mail over real sockets, `serve` as a process, the commands.

The applicant and the reviewer know nothing but their mails and what the commands print; the clock of the sandbox moves.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from sqlalchemy import select

from handlers.calendar import JST
from storage.models import Application
from tests.fakes.in_house_server import ReceivedMail
from tests.scenarios.mails import (
    ACCEPTED,
    body_of,
    handover_of,
    mail_id_in,
    read,
    receipt_in,
    request,
    send_application,
    send_request,
    subject_of,
    swaks_mail,
    text_of,
)
from tests.scenarios.outside import await_mails, wait_until
from tests.scenarios.site import ADMINISTRATOR, APPLICANT, REVIEWER, Site, Terminal, mail_id_of, site_in

QUESTION = "接続先のサーバは何台ですか。"
ANSWER = "2台です。"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A sandbox with the sample office on the default store, its clock not yet moved."""
    tmp_path.chmod(0o700)
    with site_in(tmp_path, None, sandbox={"enabled": True, "movable_clock": True}) as opened:
        opened.process.start()
        opened.import_office()
        yield opened


def came(site: Site, subject: str, count: int = 2) -> list[ReceivedMail]:
    """The mails of that subject once all have come; one to each person, unless told otherwise."""
    mails = await_mails(site.outside.smarthost, count, lambda mail: subject in subject_of(mail), subject)
    if count > 1:
        assert sorted(mail.rcpt_to for mail in mails) == sorted([APPLICANT, ADMINISTRATOR])
    return mails


def state(site: Site, receipt: str) -> str:
    query = select(Application.state).where(Application.receipt_number == receipt)
    return site.read(lambda session: session.scalars(query).one())


def answer(site: Site, mail: ReceivedMail, text: str) -> None:
    """Reply to a mail as its addressee's mail program does."""
    asked = read(mail)
    written = EmailMessage(policy=SMTP)
    written["From"] = mail.rcpt_to
    written["To"] = asked["Reply-To"]
    written["Subject"] = f"Re: {asked['Subject']}"
    written["Message-ID"] = "<answer@applicant.example>"
    written["In-Reply-To"] = asked["Message-ID"]
    written.set_content(text + "\n" + "".join(f"> {line}\n" for line in text_of(mail).splitlines()))
    with smtplib.SMTP(*site.process.public, timeout=30) as client:
        assert client.send_message(written, mail.rcpt_to, [str(asked["Reply-To"])]) == {}


def asked_and_answered(site: Site, receipt: str) -> None:
    """The reviewer looks at the mail first, asks, and reads the answer."""
    preview = site.process.command("application", "inquire", receipt, QUESTION, "--preview")
    assert preview.returncode == 0, preview.stderr
    assert QUESTION in preview.stdout
    assert state(site, receipt) == "received"
    assert site.process.json("application", "inquire", receipt, QUESTION)["state"] == "inquiry"
    mails = await_mails(site.outside.smarthost, 2, lambda mail: QUESTION in text_of(mail), "inquiries")
    assert len(mails) == 2
    answer(site, next(mail for mail in mails if mail.rcpt_to == APPLICANT), f"【回答】\n{ANSWER}\n")
    is_news = lambda mail: mail.rcpt_to == REVIEWER and ANSWER in text_of(mail)  # noqa: E731
    await_mails(site.outside.smarthost, 1, is_news, "the answer")
    assert state(site, receipt) == "under_review"


def terminal_of(site: Site, receipt: str) -> Terminal:
    (issued,) = site.process.json("application", "show", receipt)["terminals"]
    (address,) = issued["mail_addresses"]
    return Terminal(name=issued["name"], ip=issued["ip_address"], address=address)


def test_an_application_goes_from_the_form_to_the_communication_check(site):
    mail_id_of(send_application(site.process.public, swaks_mail()))
    receipt = receipt_in(came(site, ACCEPTED)[0])
    asked_and_answered(site, receipt)

    completed = site.process.json("application", "complete", receipt)
    assert completed["state"] == "ids_issued"
    came(site, "利用申込確認完了のお知らせ")
    terminal = terminal_of(site, receipt)
    assert all(terminal.name in text_of(mail) for mail in came(site, "ID通知のお知らせ"))
    passwords = [one["value"] for one in site.process.json("application", "reveal-passwords", receipt)["passwords"]]
    assert len(passwords) == 2

    start = date.fromisoformat(completed["start_date"])
    ahead = datetime.combine(start, datetime.min.time(), JST) - datetime.now(JST) + timedelta(minutes=1)
    site.move_clock(ahead)
    wait_until(lambda: state(site, receipt) == "in_use", "the start of use")
    in_house = site.outside.in_house(terminal.ip)
    body = request()
    mail_id_of(send_request(site.process.naccs, terminal, body))
    wait_until(lambda: [m for m in list(in_house.mails) if handover_of(body) in body_of(m)], "the result of TCC")
    wait_until(lambda: state(site, receipt) == "checked", "the communication check")

    kinds = [entry["kind"] for entry in site.process.json("application", "history", receipt)]
    assert [kind for kind in kinds if kind in ("received", "inquiry", "answer", "completed")] == [
        "received", "inquiry", "answer", "completed"
    ]  # fmt: skip
    everything = list(site.outside.smarthost.mails)
    assert not [password for password in passwords if any(password.encode() in mail.content for mail in everything)]
    assert len({mail_id_in(mail) for mail in everything}) == len(everything)
    assert "Traceback" not in site.process.log
