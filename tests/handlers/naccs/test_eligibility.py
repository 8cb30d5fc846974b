"""Who may send a request; the order and the codes of the checks are those of docs/damage.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.naccs.eligibility import Check, check, check_other, named_checks, password_mac
from tests.handlers.naccs.sound_request import (
    ADDRESS,
    BODY,
    KEY,
    OFFICE,
    RECEIVED_AT,
    Users,
    request_with,
    user,
)


def code_of(body: bytes = BODY, *, users: Users | None = None, office: str = OFFICE, key: bytes = KEY) -> str | None:
    return check(
        request_with(body),
        header_from=ADDRESS,
        mail_from_key=ADDRESS.lower(),
        address_office_code=office,
        view=users or Users(),
        key=key,
        now=RECEIVED_AT,
    )


def test_the_sound_request_may_be_sent():
    assert code_of() is None


def test_a_password_kept_under_another_key_does_not_open():
    assert code_of(key=b"j" * 32) == "A0004"


def test_a_short_password_counts_without_its_filling():
    users = Users(by_code={("TST01", "001"): user("TST01", "001", OFFICE, "PW")})
    assert code_of(BODY[:37] + b"PW      " + BODY[45:], users=users) is None


def test_a_password_is_registered_with_or_without_its_filling():
    assert password_mac(KEY, OFFICE, "TST01", "001", b"PW") == password_mac(KEY, OFFICE, "TST01", "001", b"PW      ")


def test_a_password_row_copied_to_another_user_does_not_open():
    copied = Users().by_code["OTHER", "001"]
    users = Users(by_code={("TST01", "001"): replace(copied, office_code=OFFICE)})
    assert code_of(users=users) == "A0004"


def test_of_a_user_code_shared_by_two_offices_the_number_says_whose_it_is():
    users = Users(
        by_code={
            ("TST01", "001"): user("TST01", "001", OFFICE),
            ("TST01", "002"): user("TST01", "002", "CT0002"),
        }
    )
    assert code_of(users=users) is None
    assert code_of(users=users, office="CT0002") == "A0013"


def test_equal_passwords_of_two_users_do_not_look_equal():
    macs = {
        password_mac(KEY, office, code, number, b"PASSWD01")
        for office, code, number in (
            ("O1", "U1", "1"),
            ("O1", "U1", "2"),
            ("O1", "U2", "1"),
            ("O2", "U1", "1"),
        )
    }
    assert len(macs) == 4
    assert all(len(mac) == 32 for mac in macs)


def test_the_checks_have_names_in_their_order_and_a_wrong_name_is_an_error():
    assert named_checks("") == frozenset()
    assert named_checks("password hours") == {Check.PASSWORD, Check.HOURS}
    first = ["sender", "office", "user", "identification", "password"]
    assert list(Check) == [*first, "barred", "hours", "procedure", "stopped", "qualification", "tcc"]
    with pytest.raises(ValueError, match="passwort"):
        named_checks("passwort")


def test_hours_that_say_none_are_an_error_and_not_an_open_door():
    with pytest.raises(ValueError, match="service hours"):
        code_of(users=Users().with_all(service_hours="always"))


def test_everything_may_be_left_to_the_backend_but_not_of_what_the_gateway_answers():
    everything = frozenset(Check)
    for procedure, code in ((b"OTA  ", None), (b"TCC  ", "A0013"), (b"SYG  ", "A0013")):
        found = check(
            request_with(BODY[:3] + procedure + BODY[8:29] + b"NOONE" + BODY[34:]),
            header_from=None,
            mail_from_key=ADDRESS.lower(),
            address_office_code=OFFICE,
            view=Users(),
            key=KEY,
            now=RECEIVED_AT,
            left_to_backend=everything,
        )
        assert found == code


def test_a_message_that_names_no_user_is_checked_for_its_sender_first():
    def code(header_from: str | None, hours: str = "06:00-09:00", left: frozenset[str] = frozenset()) -> str | None:
        return check_other(
            header_from=header_from,
            mail_from_key=ADDRESS.lower(),
            now=RECEIVED_AT,
            default_hours=hours,
            left_to_backend=left,
        )

    assert code(None) == "A0013"
    assert code(ADDRESS) == "A0010"
    assert code(ADDRESS, "") is None
    assert code(None, left=frozenset(Check)) is None
