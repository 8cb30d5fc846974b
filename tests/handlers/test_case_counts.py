from __future__ import annotations

import pytest

from handlers.applications.contents import ItemChange
from handlers.case_counts import Count, counts
from tests.handlers.review_cases import contents, line_change, no_servers
from tests.handlers.test_two_persons import NEW_LINE


def said(code, before, after):
    change = ItemChange(code=code, before=before, after=after)
    return contents(items=(code,), item_changes=(change,), lines=())


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("なし", "1ABCD", Count(added=1)),
        ("1ABCD", "なし", Count(deleted=1)),
        ("1ABCD", "1ABCE", Count(changed=1)),
        ("1ABCD\n2ABCD", "1ABCD、3ABCD\n4ABCD", Count(added=1, changed=1)),
        ("1ABCD,2ABCD;3ABCD", "1ABCD", Count(deleted=2)),
        ("2", "5", Count(added=3)),
        ("5個", "2個", Count(deleted=3)),
        ("なし", "3", Count(added=3)),
        ("", "", Count()),
    ],
)
def test_an_item_is_counted_from_what_it_was_and_will_be(before, after, expected):
    assert counts(said("user_codes", before, after))["user_codes"] == expected


def test_a_mailbox_is_never_changed():
    assert counts(said("mailboxes", "3", "5"))["mailboxes"] == Count(added=2, changed=None)
    assert counts(said("mailboxes", "甲", "乙"))["mailboxes"] == Count(changed=None)


def test_lines_and_terminals_are_counted_from_their_own_screen():
    found = counts(
        contents(
            line_change(**NEW_LINE, interactive_terminals=2, gateway_servers=1),
            no_servers(access_speed="100Mbps", terminals_to_delete=("25130M", "25131M")),
            no_servers(mail_addresses=2, target_terminal="60777S"),
            no_servers(action="廃止"),
            items=("naccs_lines", "naccs_terminals"),
        )
    )
    assert found == {
        "user_codes": Count(),
        "identification_numbers": Count(),
        "lines": Count(added=1, changed=1, deleted=1),
        "terminals": Count(added=4, changed=1, deleted=2),
        "mailboxes": Count(changed=None),
    }
