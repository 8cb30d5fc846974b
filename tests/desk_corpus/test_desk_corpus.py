"""Every odd or wrong application brings exactly what its file says, changes nothing else, and the desk goes on."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import pytest

from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import rule_codes
from handlers.reviews import Decided
from handlers.workflow import Event
from tests.desk_corpus.corpus import ACTING, AT_SMTP, STATES, Case, case, cases
from tests.desk_corpus.store_desk import CASES, REGISTER, Envelope, SentMail, StoreDesk

ON_A_STORE = [each for each in cases() if each.expected.outcome != AT_SMTP]
EVENTS = {
    "inquire": (Event.INQUIRE, {"words": "接続先の台数を教えてください。"}),
    "complete": (Event.COMPLETE, {}),
    "accept_address": (Event.ACCEPT_ADDRESS, {}),
}
NEXT_MAILS = 3


def arrive(desk: StoreDesk, chosen: Case, raw: bytes | None = None) -> str:
    """Let a case's mail come in; the state of its row."""
    sent = chosen.envelope
    envelope = Envelope(to=desk.address(sent.to), mail_from=sent.mail_from, peer=sent.peer, signed_by=sent.signed_by)
    return desk.receive(chosen.mail if raw is None else raw, envelope).state


def prepare(desk: StoreDesk, chosen: Case) -> None:
    """What happens before the odd mail: other mails of the corpus, and what the reviewer does."""
    for step in chosen.before:
        if step in EVENTS:
            event, details = EVENTS[step]
            decided = desk.decide("260001A", event, **details)
            assert isinstance(decided, Decided), decided
        else:
            earlier = case(step.removeprefix("mail:"))
            assert arrive(desk, earlier) == STATES[earlier.expected.outcome], earlier.name


def assert_mails(sent: Iterable[SentMail], expected: Iterable[tuple[str, str]]) -> None:
    """Each expected mail once, and no other."""
    left = [(mail.template, mail.to) for mail in sent]
    for pattern, to in expected:
        found = next((one for one in left if fnmatchcase(one[0], pattern) and one[1] == to), None)
        assert found is not None, f"no {pattern} to {to} among {left}"
        left.remove(found)
    assert left == []


def faults_told(sent: Iterable[SentMail]) -> list[tuple[str, str, str]]:
    return [fault for mail in sent if mail.template.endswith("-invalid") for fault in mail.faults]


def assert_contents(desk: StoreDesk, chosen: Case) -> None:
    """What the last application of the case says, and the files it has."""
    expected = chosen.expected
    if not expected.applications:
        return
    receipt = expected.applications[-1][0]
    said = desk.application(receipt).contents
    text = ApplicationContents.from_json(said)
    assert [words for words in expected.kept if words not in _readable(text)] == []
    assert [words for words in expected.dropped if words in _readable(text)] == []
    if expected.files is not None:
        assert desk.files_of(receipt) == expected.files
    if expected.receipt_spent:
        assert sorted(each.code for each in text.warnings) == sorted(expected.warnings)


def _readable(contents: ApplicationContents) -> str:
    """What the application says, without what is said about it."""
    return contents.model_copy(update={"warnings": ()}).model_dump_json()


@pytest.mark.parametrize("chosen", ON_A_STORE, ids=lambda each: each.name)
def test_an_odd_application_brings_what_its_file_says_and_the_next_one_is_taken(store_desk, chosen):
    desk, expected = store_desk, chosen.expected
    prepare(desk, chosen)
    desk.sent()
    register, before = desk.digest(REGISTER), desk.digest(CASES)

    assert arrive(desk, chosen) == STATES[expected.outcome]
    sent = desk.sent()

    if expected.wrong is not None:
        assert faults_told(sent) == expected.wrong
    assert_mails(sent, expected.mails)
    assert desk.applications() == expected.applications
    assert desk.digest(REGISTER) == register
    if expected.outcome not in ACTING:
        assert desk.digest(CASES) == before
    assert_contents(desk, chosen)
    assert_the_next_one_is_taken(desk, len(expected.applications) + 1)


def assert_the_next_one_is_taken(desk: StoreDesk, number: int) -> None:
    """A sound application that follows is accepted, under the number that follows."""
    sound = case("item-with-its-pair")
    assert arrive(desk, sound, sound.mail.replace(b"<item-with-its-pair@", b"<next@")) == "handled"
    assert desk.applications()[-1] == (f"26{number:04d}A", "received")
    assert len(desk.sent()) >= NEXT_MAILS


def test_there_are_enough_odd_applications_and_each_says_whence_its_expectation_is():
    assert len(cases()) >= 130
    assert all(each.about and each.paper for each in cases())
    spent = [each.name for each in cases() if each.expected.receipt_spent != (each.expected.outcome == "accepted")]
    assert spent == []


def test_the_corpus_breaks_every_rule_that_has_words():
    broken = {code for each in cases() for _, _, code in each.expected.wrong or ()}
    only_asked_for = {"file_name", "file_names", "item_change"}  # what a required field is told to hold
    in_numbers = {"too_many_lines"}  # a limit of its own, tested with a smaller one
    assert rule_codes() - broken == only_asked_for | in_numbers


def test_no_mail_of_the_corpus_goes_to_an_address_outside_its_own():
    addressees = {to for each in cases() for _, to in each.expected.mails}
    assert {address.rpartition("@")[2] for address in addressees} <= {
        "applicant.example", "nss.center.example", "elsewhere.example"
    }  # fmt: skip
