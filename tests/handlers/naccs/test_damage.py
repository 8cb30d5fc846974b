"""docs/damage.md is true: every row has the answer it says, and the first failing check decides."""

from __future__ import annotations

from itertools import combinations

import pytest

from handlers.naccs.common_items import CRLF, INPUT_ITEMS, INPUT_PLACES, OUTPUT_PLACES, InputCommonItems
from handlers.naccs.eligibility import check, check_other
from handlers.naccs.message import Damage, Family, MailHeaders, body_of, examine, family
from handlers.naccs.mime_message import examine_other
from handlers.naccs.result_codes import RESULT_CODES, result_code
from handlers.naccs.results import result_notification
from tests.handlers.naccs.damage_corpus import corpus
from tests.handlers.naccs.damage_tables import Sending, rows
from tests.handlers.naccs.sound_request import ADDRESS, KEY, RECEIVED_AT

CASES = rows("Case")
STEPS = rows("Step")
OTHER_CASES = rows("Other case")
ECHOED = ("procedure_code", "user_code", "handover", "input_information_number", "index_handover")
PAIRS = [(upper, lower) for upper, lower in combinations(STEPS, 2) if upper["Not together with"] != lower["Step"]]


def outcome(sending: Sending) -> tuple[str, InputCommonItems]:
    """The code a sending is answered with, or `ok`, and the common items of the answer."""
    headers, body = body_of(sending.content())
    assert family(headers, body) is Family.NACCS_EDI
    return outcome_of(headers, body, sending)


def outcome_of(headers: MailHeaders, body: bytes, sending: Sending) -> tuple[str, InputCommonItems]:
    found = examine(headers, body)
    if isinstance(found, Damage):
        return found.code, found.items
    code = check(
        found,
        header_from=headers.header_from,
        mail_from_key=sending.mail_from.lower(),
        address_office_code=sending.office,
        view=sending.users,
        key=KEY,
        now=RECEIVED_AT,
        default_hours=sending.hours,
        stopped=sending.stopped,
        left_to_backend=sending.left,
    )
    return code or "ok", found.items


def other_outcome(sending: Sending) -> str:
    """The same for a mail of another family."""
    content = sending.content()
    headers, body = body_of(content)
    assert family(headers, body) is not Family.NACCS_EDI
    return other_outcome_of(headers, content, body, sending)


def other_outcome_of(headers: MailHeaders, content: bytes, body: bytes, sending: Sending) -> str:
    found = examine_other(headers, content, body)
    if isinstance(found, Damage):
        assert found.items.raw == b" " * 398
        return found.code
    assert found.family is family(headers, body)
    code = check_other(
        header_from=headers.header_from,
        mail_from_key=sending.mail_from.lower(),
        now=RECEIVED_AT,
        default_hours=sending.hours,
        left_to_backend=sending.left,
    )
    return code or "ok"


def test_the_page_has_its_tables_and_every_case_has_a_name_of_its_own():
    names = [case["Case"] for case in CASES]
    assert len(names) == len(set(names)) > 90
    assert [step["Step"] for step in STEPS] == [str(number) for number in range(1, len(STEPS) + 1)]


def test_the_sound_request_passes_every_check():
    assert outcome(Sending())[0] == "ok"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["Case"])
def test_each_damage_is_answered_by_the_code_of_its_row(case: dict[str, str]):
    assert outcome(Sending().damage(case["Made by"]))[0] == case["Answer"]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["Check"])
def test_each_check_finds_the_fault_of_its_own_row(step: dict[str, str]):
    assert outcome(Sending().damage(step["Made by"]))[0] == step["Answer"]


@pytest.mark.parametrize(("upper", "lower"), PAIRS, ids=lambda step: step["Step"])
def test_of_two_faults_the_first_failing_check_decides(upper: dict[str, str], lower: dict[str, str]):
    for first, second in ((upper, lower), (lower, upper)):
        sending = Sending().damage(first["Made by"]).damage(second["Made by"])
        assert outcome(sending)[0] == upper["Answer"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["Case"])
def test_every_damage_is_answered_and_echoes_what_can_be_read(case: dict[str, str]):
    sending = Sending().damage(case["Made by"])
    code, items = outcome(sending)
    if code == "ok":
        return
    answer = result_notification(items, [result_code(code)], address=ADDRESS, received_at_jst=RECEIVED_AT)
    blank = {name.replace(" ", "_") for name in case["Spaces in the answer"].split(", ") if name}
    body = body_of(sending.content())[1]
    assert blank <= set(ECHOED)
    assert answer[400:415] == f"{code}-0000-0000".encode()
    assert len(answer) == 477
    assert answer[8:15] == b"*CCMSG "
    assert answer[398:400] == answer[475:] == CRLF
    assert answer.count(b"\r") == answer.count(b"\n") == 2
    for name in ECHOED:
        echo = answer[OUTPUT_PLACES[name]]
        assert echo == (b" " * len(echo) if name in blank else body[INPUT_PLACES[name]]), name
    assert b"PASSWD01" not in answer


@pytest.mark.parametrize("case", OTHER_CASES, ids=lambda case: case["Other case"])
def test_each_damage_of_another_family_is_answered_by_the_code_of_its_row(case: dict[str, str]):
    assert other_outcome(Sending.of(case["Of"]).damage(case["Made by"])) == case["Answer"]


def test_the_matrix_has_a_cell_for_every_item_and_damage():
    offsets = [f"{item.offset}/{item.width}" for item in INPUT_ITEMS] + ["398/2"]
    tables = [row["Common item"].partition(" ")[0] for row in rows("Common item")]
    assert tables == offsets * 3
    assert {cell for row in rows("Common item") for cell in list(row.values())[1:]} <= {"ok", "-", *RESULT_CODES}


def test_every_mail_of_the_corpus_has_the_one_code_of_its_table():
    wrong = []
    names = set()
    for name, content, expected in corpus():
        headers, body = body_of(content)
        if family(headers, body) is Family.NACCS_EDI:
            code = outcome_of(headers, body, Sending())[0]
        else:
            code = other_outcome_of(headers, content, body, Sending())
        names.add(name)
        if code != (expected or "ok"):
            wrong.append((name, expected, code))
    assert not wrong
    assert len(names) > 1000


def test_every_code_of_the_page_has_its_texts():
    assert {row["Answer"] for row in (*CASES, *STEPS, *OTHER_CASES)} - {"ok"} <= RESULT_CODES.keys()
