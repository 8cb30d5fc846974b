"""Which of the backend's two addresses is in use, how each of them does, and what may be begun on the one in use.

Nothing here waits, reads the store or opens a connection: it is told what happened and when, and says what follows. An
endpoint that failed is not tried by requests; once a probe of it succeeds, one request tries it, and its
success opens it for all. What failed behind the greeting is only mended by such a success.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.backend_parts import BackendLaneSettings
from gateway.failures import Failure, Stage
from gateway.smtp_out import Target

PRIMARY, BACKUP = "primary", "backup"


class Openness(StrEnum):
    """What may be begun on an endpoint."""

    OPEN = "open"
    TRIAL = "trial"  # one at a time
    SHUT = "shut"


@dataclass(slots=True, eq=False)
class Endpoint:
    """One address of the backend. Instants are of the loop's clock."""

    name: str
    target: Target
    openness: Openness = Openness.OPEN
    failing_since: float | None = None
    answering_since: float | None = None  # its probes
    behind_greeting: bool = False  # what failed lies where no probe comes
    confirmed: bool = False  # the failure was seen more than once
    failures: int = 0
    words: str = ""
    probed: bool = False
    probe_at: float = 0.0

    def failed(self, failure: Failure, now: float, probe_every: float) -> None:
        """A hand-over failed for a reason that is the endpoint's."""
        behind = failure.stage not in (Stage.CONNECT, Stage.HELO)
        self._fails(failure, now)
        self.behind_greeting = self.behind_greeting or behind
        # The first failure is looked into at once, later ones at the pace of the probes.
        at_once = self.failures == 1 and not behind
        self.probe_at = now if at_once else now + probe_every

    def _fails(self, failure: Failure, now: float) -> None:
        self.failures += 1
        self.confirmed = self.confirmed or self.failures > 1
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.openness = Openness.SHUT
        self.words = f"{failure.stage}: {failure.reply}"

    def succeeded(self) -> None:
        """A hand-over got as far as the endpoint has a say."""
        self.openness = Openness.OPEN
        self._mended()

    def _mended(self) -> None:
        self.failing_since = None
        self.behind_greeting = self.confirmed = False
        self.failures = 0

    def probe_ended(self, failure: Failure | None, now: float, probe_every: float) -> None:
        """A probe came back; None: all was well."""
        self.probed = True
        self.probe_at = now + probe_every
        if failure is not None:
            self.answering_since = None
            self._fails(failure, now)
            return
        self.answering_since = now if self.answering_since is None else self.answering_since
        if self.openness is Openness.SHUT:
            self.openness = Openness.TRIAL
        if not self.behind_greeting:
            self._mended()

    def is_said_to_fail(self, now: float) -> None:
        """Another process left it failing: a probe comes before the first request."""
        self.openness = Openness.SHUT
        self.failing_since, self.confirmed, self.probe_at = now, True, now

    def begin_anew(self) -> None:
        """It comes into use: what is known of it from before counts for nothing."""
        self.openness = Openness.OPEN
        self._mended()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an operator wants: an endpoint by name or "" for automatic, until when; None: until told otherwise."""

    endpoint: str = ""
    until: datetime | None = None

    def holds(self, wall: datetime) -> bool:
        """Whether it is still to be followed."""
        return bool(self.endpoint) and (self.until is None or wall < self.until)


class Endpoints:
    """The primary, the backup where there is one, and which of them is `active`."""

    def __init__(self, settings: BackendLaneSettings) -> None:
        if settings.primary is None:
            raise ValueError("a backend that speaks SMTP needs a primary address")
        self._settings = settings
        self.primary = Endpoint(PRIMARY, settings.primary)
        self.backup = None if settings.backup is None else Endpoint(BACKUP, settings.backup)
        self.active = self.primary
        self.since: datetime | None = None  # when the active one came into use; None: always

    @property
    def all(self) -> list[Endpoint]:
        """Both, or the only one."""
        return [self.primary] if self.backup is None else [self.primary, self.backup]

    @property
    def other(self) -> Endpoint | None:
        """The one not in use."""
        return self.backup if self.active is self.primary else self.primary

    def named(self, name: str) -> Endpoint | None:
        """The endpoint of that name, where there is one."""
        return next((endpoint for endpoint in self.all if endpoint.name == name), None)

    def of(self, target: Target) -> Endpoint:
        """The endpoint a connection leads to."""
        return next((endpoint for endpoint in self.all if endpoint.target == target), self.active)

    def room(self, under_way: int) -> bool:
        """Whether one more hand-over may begin beside those under way."""
        match self.active.openness:
            case Openness.OPEN:
                return under_way < self._settings.connections
            case Openness.TRIAL:
                return under_way < 1
            case _:
                return False

    def due_for_probe(self, now: float, *, idle: bool = False) -> list[Endpoint]:
        """Those to probe now: the one not in use always, the active one while it fails or is `idle`."""
        return [
            endpoint
            for endpoint in self.all
            if now >= endpoint.probe_at
            and (idle or endpoint is not self.active or endpoint.openness is not Openness.OPEN)
        ]

    def wanted(self, wish: Wish, now: float, wall: datetime) -> tuple[Endpoint, str]:
        """The endpoint to be in use now, and why where that is another than now."""
        active, other, settings = self.active, self.other, self._settings
        if other is None:
            return active, ""
        if wish.holds(wall):
            return self.named(wish.endpoint) or active, "as the operator wants it"
        if other.answering_since is None:
            return active, ""
        failing = None if active.failing_since is None else now - active.failing_since
        if settings.switch_after and failing is not None and failing >= settings.switch_after:
            return other, f"{active.name} has failed for {failing:.0f} s: {active.words}"
        if active is self.primary:
            return active, ""
        if self._is_left_of_drill(wish):
            return other, "the drill is over"
        answering = now - other.answering_since
        if settings.switch_back_after and answering >= settings.switch_back_after:
            return other, f"{other.name} has answered for {answering:.0f} s"
        return active, ""

    def _is_left_of_drill(self, wish: Wish) -> bool:
        """Whether a drill that is over brought the backup into use, and nothing since."""
        if wish.endpoint != self.active.name or wish.until is None:
            return False
        return self.since is not None and self.since <= wish.until

    def taken_over(self, name: str, since: datetime | None) -> None:
        """The lane was taken with that endpoint in use; one that is not there any more means the primary."""
        named = self.named(name) or self.primary
        if named is not self.active:
            named.begin_anew()
        self.active, self.since = named, since

    def switched(self, to: Endpoint, wall: datetime) -> None:
        """From now on the other one is in use."""
        self.active.answering_since = None  # it has to earn its return from here on
        to.begin_anew()
        self.active, self.since = to, wall

    def is_down(self, wish: Wish, wall: datetime) -> bool:
        """Whether requests have nowhere to go, and no switch-over is going to change that."""
        active, other = self.active, self.other
        if active.failing_since is None or not active.confirmed:
            return False
        if other is None or not self._settings.switch_after or wish.holds(wall):
            return True
        return other.probed and other.answering_since is None
