"""Who is believed (design §9): one author, verified, and registered with the office."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.applications.authenticity import Verdict, believed, believed_about, released, verified_by
from handlers.applications.receipt_holds import HoldReason
from storage.models import Application, Contact, Office
from tests.handlers.applications.application_mails import inbound, mail_with
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT

OFFICE = Office(code="CT0001", administrator_email=ADMINISTRATOR, contacts=[Contact(name="通関　花子", email=CONTACT)])
OTHER = "new-person@applicant.example"


def mail(sender=CONTACT, *, trusted=True, signed_by=(), head=b""):
    return replace(inbound(head + mail_with(sender=sender), trusted=trusted), signed_by=signed_by)


def application(address=OTHER, *, accepted=False):
    return Application(applicant_email=address, address_accepted=accepted)


def test_a_trusted_network_verifies():
    assert verified_by(mail()) == "network 127.0.0.1"


def test_a_signature_of_the_authors_domain_verifies_first():
    assert verified_by(mail(signed_by=("Applicant.EXAMPLE",))) == "dkim applicant.example"
    assert verified_by(mail(trusted=False, signed_by=("applicant.example",))) == "dkim applicant.example"


@pytest.mark.parametrize("domain", ["example", "mail.applicant.example", "xapplicant.example", "elsewhere.example", ""])
def test_a_signature_of_any_other_domain_does_not(domain):
    assert verified_by(mail(trusted=False, signed_by=(domain,))) == ""


def test_a_relay_between_voids_the_network_and_no_signature():
    relayed = b"Received: from a by b; now\r\n"
    assert verified_by(mail(head=relayed)) == ""
    assert verified_by(mail(head=relayed, signed_by=("applicant.example",))) == "dkim applicant.example"


def test_two_authors_are_never_verified():
    assert verified_by(mail(head=b"From: a@applicant.example\r\n", signed_by=("applicant.example",))) == ""


@pytest.mark.parametrize("sender", [CONTACT, CONTACT.upper(), ADMINISTRATOR])
def test_registered_people_are_believed(sender):
    verdict = believed(mail(sender), OFFICE)
    assert verdict == Verdict(authentic=True, why="network 127.0.0.1", registered=True)


DOUBTS = {
    "no single author": (mail(head=b"From: a@applicant.example\r\n"), OFFICE, HoldReason.NO_SINGLE_AUTHOR),
    "not verified": (mail(trusted=False), OFFICE, HoldReason.UNVERIFIED),
    "not registered": (mail(OTHER), OFFICE, HoldReason.NOT_REGISTERED),
    "no office": (mail(), None, HoldReason.NOT_REGISTERED),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_all_others_are_not(name):
    raw, office, doubt = DOUBTS[name]
    verdict = believed(raw, office)
    assert (verdict.authentic, verdict.doubt, verdict.why) == (False, doubt, doubt.in_english)


@pytest.mark.parametrize(
    ("sender", "accepted", "doubt"),
    [
        (CONTACT, False, None),
        (ADMINISTRATOR, False, None),
        (OTHER, False, HoldReason.ADDRESS_NOT_ACCEPTED),
        (OTHER, True, None),
        (OTHER.upper(), True, None),
        ("someone@elsewhere.example", True, HoldReason.NOT_OF_CASE),
    ],
)
def test_about_an_application_its_accepted_notice_address_counts_too(sender, accepted, doubt):
    verdict = believed_about(mail(sender), application(accepted=accepted), OFFICE)
    assert (verdict.authentic, verdict.doubt) == (doubt is None, doubt)


def test_an_accepted_address_has_to_be_verified_all_the_same():
    verdict = believed_about(mail(OTHER, trusted=False), application(accepted=True), OFFICE)
    assert verdict.doubt is HoldReason.UNVERIFIED


def test_an_empty_address_of_the_register_is_nobodys():
    office = Office(code="CT0001", administrator_email="", contacts=[])
    assert not believed(mail(), office).authentic


@pytest.mark.parametrize(("sender", "registered"), [(CONTACT, True), (OTHER, False)])
def test_a_reviewer_vouches_for_what_is_released(sender, registered):
    verdict = released("os:shinsa", OFFICE, mail(sender, trusted=False))
    assert verdict == Verdict(authentic=True, why="released by os:shinsa", registered=registered)
