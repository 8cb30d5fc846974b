"""What a failure means for the mail and for its lane."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.failures import Failure, FailureClass, Refused, Stage
from gateway.lanes import DeliverySettings
from storage.states import State


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a mail after a failure: its state and, while queued, the wait before its next try.

    `of_the_lane`: the destination is at fault; the lane backs off and the mail is not blamed.
    """

    state: State
    wait: float = 0.0
    of_the_lane: bool = False


_THE_LANES = Verdict(State.QUEUED, of_the_lane=True)


def terminal_verdict(failure: Failure, tries: int, settings: DeliverySettings) -> Verdict:
    """Towards an in-house server: a 5xx is final at once, anything else after three tries within a minute."""
    if failure.stage.is_the_destinations:
        return _THE_LANES
    if failure.failure_class is FailureClass.PERMANENT or tries >= settings.mail_tries:
        return Verdict(State.UNDELIVERED)
    return Verdict(State.QUEUED, settings.mail_tries_within / settings.mail_tries)


def notice_verdict(failure: Failure, attempts: int, settings: DeliverySettings) -> Verdict:
    """Towards the smarthost: a 5xx is final, a 4xx defers that notice alone.

    The sender of each notice is its own, so a refusal at MAIL is the notice's; 421 is the server's,
    wherever it comes before the mail is named.
    """
    of_notice = isinstance(failure, Refused) and failure.stage is Stage.MAIL and failure.code != 421
    if failure.stage.is_the_destinations and not of_notice:
        return _THE_LANES
    if failure.failure_class is FailureClass.PERMANENT:
        return Verdict(State.FAILED)
    return Verdict(State.QUEUED, doubled(settings.notice_retry_first, settings.notice_retry_max, attempts))


def doubled(first: float, most: float, failures: int) -> float:
    """The wait after so many failures: `first`, doubling, never more than `most`."""
    return min(most, first * 2.0 ** min(failures - 1, 30))
