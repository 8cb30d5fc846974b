from __future__ import annotations

import pytest

from handlers import case_tokens

KEY = b"k" * 32
EMAIL = "tsukan-hanako@applicant.example"


def test_a_case_address_says_its_receipt_number_and_whom_it_was_given_to():
    local_part = case_tokens.case_local_part(KEY, "260001A", EMAIL)
    case = case_tokens.read_case(local_part)
    assert case is not None
    assert case.receipt_number == "260001A"
    assert case_tokens.is_of(case, KEY, EMAIL)
    assert not case_tokens.is_of(case, KEY, "kanri@applicant.example")
    assert not case_tokens.is_of(case, b"another key", EMAIL)


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_a_case_address_survives_a_change_of_case(change):
    case = case_tokens.read_case(change(case_tokens.case_local_part(KEY, "260001A", EMAIL)))
    assert case is not None
    assert case_tokens.is_of(case, KEY, EMAIL.upper())


def test_another_case_has_another_token():
    assert case_tokens.case_token(KEY, "260001A", EMAIL) != case_tokens.case_token(KEY, "260002A", EMAIL)
    assert case_tokens.case_token(KEY, "260001A", "") != case_tokens.case_token(KEY, "260001A", EMAIL)


@pytest.mark.parametrize(
    "local_part",
    [
        "case",
        "case+",
        "case+260001A",
        "case+260001A.short",
        "case+26000A.aaaaaaaaaaaaaaaa",
        "apply",
        "x-case+260001A.a",
    ],
)
def test_another_shape_is_no_case_address(local_part):
    assert case_tokens.read_case(local_part) is None


def test_local_parts_fit_into_the_64_octets_of_smtp():
    assert len(case_tokens.case_local_part(KEY, "26123456789A", EMAIL)) <= 64
    assert len(case_tokens.bounce_local_part(KEY, 2**63 - 1)) <= 64


def test_a_bounce_address_says_the_mail_it_was_made_for():
    local_part = case_tokens.bounce_local_part(KEY, 382872872311328768)
    assert case_tokens.read_bounce(KEY, local_part) == 382872872311328768
    assert case_tokens.read_bounce(KEY, local_part.upper()) == 382872872311328768


@pytest.mark.parametrize("local_part", ["bounce+1.aaaaaaaaaaaaaaaa", "bounce+1", "bounce+", "bounce", "bounce+x.y"])
def test_a_guessed_bounce_address_is_nobodys(local_part):
    assert case_tokens.read_bounce(KEY, local_part) is None


def test_a_bounce_token_is_of_one_mail_and_one_key():
    token = case_tokens.bounce_local_part(KEY, 1).partition(".")[2]
    assert case_tokens.read_bounce(KEY, f"bounce+2.{token}") is None
    assert case_tokens.read_bounce(b"another key", f"bounce+1.{token}") is None


def test_a_masked_address_keeps_no_token():
    case = f"{case_tokens.case_local_part(KEY, '260001A', EMAIL)}@nss.center.example"
    bounce = f"{case_tokens.bounce_local_part(KEY, 7)}@nss.center.example"
    assert case_tokens.masked(case) == "case+260001A.…@nss.center.example"
    assert case_tokens.masked(bounce.upper()) == "BOUNCE+7.…@NSS.CENTER.EXAMPLE"
    assert case_tokens.masked("apply@nss.center.example") == "apply@nss.center.example"


def test_tokens_in_a_text_are_masked_and_the_text_stays():
    case = f"{case_tokens.case_local_part(KEY, '260001A', EMAIL)}@nss.center.example"
    text = f"宛先は {case.upper()} です。\ncase+ と書いて. x@y.example\n"
    masked = "宛先は CASE+260001A.…@NSS.CENTER.EXAMPLE です。\ncase+ と書いて. x@y.example\n"
    assert case_tokens.masked_text(text) == masked
