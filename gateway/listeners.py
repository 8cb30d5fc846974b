"""What each listener lets in: the two policies behind the SMTP server.

They decide on peer, sender and recipient before DATA, and answer 250 at the dot only after the mail is committed. No
meaning is decided here: that is the worker's, once the client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import maillog, smtp_replies
from gateway.current_map import CurrentMap
from gateway.health import Health
from gateway.peer_networks import Networks, in_networks
from gateway.sender_gate import SenderGate
from gateway.smtp_paths import Path
from gateway.smtp_replies import Reply
from gateway.smtp_server import ContentReport, Envelope, Session
from handlers.calendar import jst_date
from handlers.naccs.backend_results import Names, bound_address
from handlers.naccs.masking import split_password
from handlers.terminals import Binding, MapView
from storage.clock import Clock
from storage.columns import to_micros
from storage.database import Database
from storage.effects import UNCLEAN_END, Applied, Change, Unit
from storage.failures import StoreFull, StoreTrouble
from storage.mail_queue import Origin, Secret, arrival

__all__ = ["NaccsPolicy", "NaccsRules", "Networks", "PublicPolicy", "in_networks", "message_id"]

log = logging.getLogger(__name__)

_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t]*(<[!-;=?-~]{1,900}>)", re.MULTILINE | re.IGNORECASE)
_LONGEST_HEADER = 64 * 1024
_DAMAGE_FLAGS = ("bare_cr", "bare_lf", "nul", "too_long")


def message_id(content: bytes) -> str:
    """The Message-ID of a mail, for people who look for it; "" where it has none in one line."""
    end = content.find(b"\r\n\r\n")
    found = _MESSAGE_ID.search(content, 0, _LONGEST_HEADER if end < 0 else min(end, _LONGEST_HEADER))
    return "" if found is None else found[1].decode("ascii")


class _Acceptance:
    """Committing an accepted mail, the same for both listeners."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def accept(
        self,
        session: Session,
        origin: Origin,
        recipients: list[tuple[str, str]],
        content: bytes,
        secret: Secret | None = None,
        address_ids: Sequence[int | None] = (),
    ) -> Reply:
        now, make = self._clock.now(), self._database.new_key
        mail_id, unit = arrival(make, origin, recipients, content, now, secret, address_ids=address_ids)
        try:
            outcome = await self._database.apply(unit)
        except StoreFull:
            return smtp_replies.NO_ROOM
        except StoreTrouble as trouble:
            log.warning("a mail was not taken: %s", trouble)
            return smtp_replies.UNAVAILABLE
        if not isinstance(outcome, Applied):
            return smtp_replies.UNAVAILABLE
        session.last_mail_id = mail_id
        maillog.received(
            mail_id,
            origin.listener,
            origin.peer,
            origin.mail_from,
            (rcpt_to for rcpt_to, _ in recipients),
            len(content),
        )
        return smtp_replies.queued(mail_id)


@dataclass(frozen=True, slots=True)
class _Terminal:
    """The envelope's context: a terminal's own address, as the map had it at MAIL."""

    binding: Binding
    map_version: int


@dataclass(frozen=True, slots=True)
class _Backend:
    """The envelope's context: a mail from the business backend."""


_BACKEND = _Backend()


@dataclass(frozen=True, slots=True, kw_only=True)
class NaccsRules:
    """What the NACCS listener is told of the settings."""

    center_key: str
    terminals_domain: str
    peer_check: str  # terminal | line | networks
    peer_networks: Networks
    backend_networks: Networks
    backend_senders: frozenset[str]


class NaccsPolicy:
    """A terminal's peer, from its own address, to the center; the backend's peers, to addresses of the map."""

    name = "naccs"
    tolerant_paths = True
    refuse_bare_line_ends = False

    def __init__(
        self,
        database: Database,
        current_map: CurrentMap,
        health: Health,
        clock: Clock,
        rules: NaccsRules,
        max_message_bytes: int,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._database = database
        self._map = current_map
        self._health = health
        self._clock = clock
        self._rules = rules
        self._acceptance = _Acceptance(database, clock)
        self._background: set[asyncio.Task[None]] = set()

    def connected(self, session: Session) -> Reply | None:
        """Our own trouble is told here, where the client looks."""
        return self._health.at_connect()

    async def mail_from(self, session: Session, path: Path) -> Reply | None:
        """550 5.1.1 for an address the map does not know, 5.7.1 for one that is not this peer's today."""
        trouble = self._health.at_mail()
        if trouble is not None:
            return trouble
        if self._from_backend(session.peer_ip, path.key):
            return None
        if self._sender(self._map.view, session.peer_ip, path.key) is not None:
            return None
        # Our own staleness must never be a permanent error.
        view = await self._map.refresh()
        if self._sender(view, session.peer_ip, path.key) is not None:
            return None
        known = view.has_address(path.key) or self._is_own(path.key)
        return smtp_replies.NOT_PERMITTED if known else smtp_replies.UNKNOWN_ADDRESS

    async def rcpt_to(self, session: Session, envelope: Envelope, path: Path) -> Reply | None:
        """From a terminal the center address, once; from the backend whatever it names."""
        sender = envelope.mail_from
        if sender is None:
            return smtp_replies.NEED_MAIL
        if self._from_backend(session.peer_ip, sender.key):
            envelope.context = _BACKEND
            return None
        view = self._map.view
        if path.key == self._rules.center_key:
            binding = self._sender(view, session.peer_ip, sender.key)
            if binding is None:
                return smtp_replies.UNAVAILABLE  # the map changed since MAIL; the next MAIL tells how
            if envelope.recipients:
                return smtp_replies.NOT_PERMITTED
            envelope.context = _Terminal(binding, view.version)
            return None
        view = await self._map.refresh()
        known = view.has_address(path.key) or self._is_own(path.key) or self._terminal_named(view, path)
        return smtp_replies.NOT_PERMITTED if known else smtp_replies.UNKNOWN_ADDRESS

    async def data(self, session: Session, envelope: Envelope, content: bytes, report: ContentReport) -> Reply:
        """Commit the mail, then 250. Nothing else is refused here: the client does not read this reply."""
        sender = "" if envelope.mail_from is None else envelope.mail_from.address
        damage = ",".join(flag for flag in _DAMAGE_FLAGS if getattr(report, flag))
        if isinstance(envelope.context, _Terminal):
            bound = envelope.context
            origin = Origin(
                listener="naccs",
                peer=session.peer_ip,
                helo_name=session.helo,
                mail_from=bound.binding.address,
                map_version=bound.map_version,
                address_id=bound.binding.address_id,
                message_id=message_id(content),
                damage=damage,
            )
            recipients = [(envelope.recipients[0].address, bound.binding.address.lower())]
            parts = split_password(content)
            secret = None if parts is None else Secret(content=parts[0], offset=parts[1], original=parts[2])
            return await self._acceptance.accept(session, origin, recipients, content, secret)
        origin = Origin(
            listener="backend",
            peer=session.peer_ip,
            helo_name=session.helo,
            mail_from=sender,
            message_id=message_id(content),
            damage=damage,
            map_version=self._map.view.version,
        )
        rows = [(path, self._row(path, content)) for path in envelope.recipients]
        recipients = [(path.address, path.key if row is None else row.address.lower()) for path, row in rows]
        address_ids = [None if row is None else row.address_id for _, row in rows]
        return await self._acceptance.accept(session, origin, recipients, content, address_ids=address_ids)

    def _row(self, path: Path, content: bytes) -> Binding | None:
        """The address row a result is bound to; what has none now is decided, or parked, by the worker."""
        today = jst_date(self._clock.now())
        names = Names(center=self._rules.center_key, terminals_domain=self._rules.terminals_domain)
        return bound_address(path.key, names, content, self._map.view, today)

    def ended(self, session: Session, unclean: bool) -> None:
        """An end right after our 250: write it on the mail, so that a repeat can be told."""
        if not unclean or session.last_mail_id is None:
            return
        change = Change(UNCLEAN_END, (session.last_mail_id, to_micros(self._clock.now())), must=False)
        task = asyncio.get_running_loop().create_task(self._record(Unit(changes=(change,))))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _record(self, unit: Unit) -> None:
        try:
            await self._database.apply(unit)
        except Exception:
            log.exception("the unclean end of a session was not recorded; a repeat would be handled again")

    def _from_backend(self, peer_ip: str, sender_key: str) -> bool:
        senders = self._rules.backend_senders
        return (sender_key in senders or sender_key == "") and in_networks(peer_ip, self._rules.backend_networks)

    def _sender(self, view: MapView, peer_ip: str, sender_key: str) -> Binding | None:
        binding = view.binding(sender_key, jst_date(self._clock.now()))
        return binding if binding is not None and self._is_peer(binding, peer_ip) else None

    def _is_peer(self, binding: Binding, peer_ip: str) -> bool:
        if self._rules.peer_check == "networks":
            return in_networks(peer_ip, self._rules.peer_networks)
        if self._rules.peer_check == "line":
            return binding.lan is not None and in_networks(peer_ip, (binding.lan,))
        return binding.ip == peer_ip

    def _is_own(self, key: str) -> bool:
        """The center's, the backend's or the null address: known here, though not a terminal's to use."""
        return key in ("", self._rules.center_key) or key in self._rules.backend_senders

    def _terminal_named(self, view: MapView, path: Path) -> bool:
        return path.domain == self._rules.terminals_domain and path.local.upper() in view.by_terminal


class PublicPolicy:
    """Any peer and sender, to the addresses of the application desk; `gate` decides at the dot what the author may."""

    name = "public"
    tolerant_paths = False
    refuse_bare_line_ends = True

    def __init__(
        self,
        database: Database,
        health: Health,
        clock: Clock,
        knows: Callable[[str], bool],
        support_domain: str,
        max_message_bytes: int,
        gate: SenderGate | None = None,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._gate = SenderGate(database) if gate is None else gate
        self._health = health
        self._knows = knows
        self._domain = support_domain.lower()
        self._acceptance = _Acceptance(database, clock)

    def connected(self, session: Session) -> Reply | None:
        """Our own trouble, told before anything else."""
        return self._health.at_connect()

    async def mail_from(self, session: Session, path: Path) -> Reply | None:
        """Anybody may write; who is believed is decided from the mail."""
        return self._health.at_mail()

    async def rcpt_to(self, session: Session, envelope: Envelope, path: Path) -> Reply | None:
        """550 5.1.1 for everything but the desk's own addresses."""
        # RFC 5321 §4.5.1: the bare postmaster is this listener's own.
        if path.domain in (self._domain, "") and self._knows(path.local):
            return None
        return smtp_replies.UNKNOWN_ADDRESS

    async def data(self, session: Session, envelope: Envelope, content: bytes, report: ContentReport) -> Reply:
        """Commit the mail, then 250; before that, what its author may not cause is refused."""
        admission = await self._gate.admit(session, envelope, content)
        if isinstance(admission, Reply):
            return admission
        sender = envelope.mail_from
        origin = Origin(
            listener="public",
            peer=session.peer_ip,
            helo_name=session.helo,
            mail_from="" if sender is None else sender.address,
            message_id=message_id(content),
            signed_by=admission.signed_by,
        )
        order_key = "" if sender is None else sender.key
        recipients = [(path.address, f"public:{order_key}") for path in envelope.recipients]
        reply = await self._acceptance.accept(session, origin, recipients, content)
        if admission.why and reply.accepts:
            log.info("mail %s by DKIM: %s", session.last_mail_id, admission.why)
        return reply

    def ended(self, session: Session, unclean: bool) -> None:
        """Repeats are recognised by Message-ID here, however a session ended."""
