"""What a failure means for mail and lane."""

from __future__ import annotations

import pytest

from gateway.failures import Lost, Refused, Stage
from gateway.lanes import DeliverySettings
from gateway.verdicts import doubled, notice_verdict, terminal_verdict
from storage.states import State

SETTINGS = DeliverySettings(name="center.example")


def refused(stage: Stage, code: int) -> Refused:
    return Refused(stage, code, f"{code} words")


def lost(stage: Stage) -> Lost:
    return Lost(stage, "timed out")


BEFORE_RCPT = [
    refused(Stage.CONNECT, 554),
    lost(Stage.CONNECT),
    refused(Stage.HELO, 501),
    lost(Stage.HELO),
    lost(Stage.MAIL),
    refused(Stage.MAIL, 421),
]


@pytest.mark.parametrize("failure", [*BEFORE_RCPT, refused(Stage.MAIL, 550), refused(Stage.MAIL, 452)])
def test_failure_up_to_mail_is_the_lanes_however_often(failure):
    verdict = terminal_verdict(failure, 99, SETTINGS)
    assert verdict.of_the_lane
    assert verdict.state is State.QUEUED


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
def test_towards_a_terminal_5xx_is_undelivered_at_once(stage):
    assert terminal_verdict(refused(stage, 550), 1, SETTINGS).state is State.UNDELIVERED


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DATA, Stage.DOT])
@pytest.mark.parametrize("make", [lambda stage: refused(stage, 451), lost])
def test_towards_a_terminal_a_mail_has_three_tries_within_a_minute(stage, make):
    verdicts = [terminal_verdict(make(stage), tries, SETTINGS) for tries in (1, 2, 3)]
    assert [verdict.state for verdict in verdicts] == [State.QUEUED, State.QUEUED, State.UNDELIVERED]
    assert sum(verdict.wait for verdict in verdicts) <= 60
    assert not any(verdict.of_the_lane for verdict in verdicts)


@pytest.mark.parametrize("failure", BEFORE_RCPT)
def test_a_smarthost_that_does_not_answer_holds_its_lane(failure):
    assert notice_verdict(failure, 1, SETTINGS).of_the_lane


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
def test_a_notice_refused_for_good_failed(stage):
    assert notice_verdict(refused(stage, 550), 1, SETTINGS).state is State.FAILED


def test_a_notice_is_deferred_for_five_minutes_doubling_to_seventy():
    waits = [notice_verdict(refused(Stage.RCPT, 450), attempts, SETTINGS).wait for attempts in range(1, 8)]
    assert [wait / 60 for wait in waits] == [5, 10, 20, 40, 70, 70, 70]


def test_a_notice_in_doubt_is_deferred_too():
    verdict = notice_verdict(lost(Stage.DOT), 1, SETTINGS)
    assert (verdict.state, verdict.of_the_lane) == (State.QUEUED, False)


def test_waits_double_and_end_at_the_longest():
    assert [doubled(2, 300, failures) for failures in (1, 2, 3, 8, 9, 5000)] == [2, 4, 8, 256, 300, 300]
