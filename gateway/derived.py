"""What handlers and policies are told of the settings, made from the one tree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.backend_parts import BackendLaneSettings
from gateway.key_file import Keys, read_keys
from gateway.lanes import DeliverySettings
from gateway.listeners import NaccsRules
from gateway.password_keys import PasswordKeys
from gateway.setting_destinations import BackendMode, BackendSettings, DestinationSettings, Encryption
from gateway.setting_sections import BeforeTcc, SecondRequest
from gateway.settings import Settings
from gateway.smtp_out import Protocol, Target, TimeLimits, Tls
from handlers.desk import DeskSettings, SupportDesk
from handlers.naccs.exchange import ExchangeSettings
from handlers.naccs.procedures.syg import SygSettings
from storage.models import OfficeUser
from storage.store import Store


def keys_of(settings: Settings, store: Store) -> Keys:
    """The service's keys; the file may be made as long as no password was stored under another."""

    def has_passwords(session: Session) -> bool:
        return session.scalar(select(OfficeUser.id).limit(1)) is not None

    return read_keys(settings.secrets.key_file, may_make=not store.read(has_passwords))


def desk_settings(settings: Settings, keys: Keys, *, test_marks: bool | None = None) -> DeskSettings:
    """The application desk's part; sandbox mails are marked as tests unless `test_marks` says otherwise."""
    support, naccs = settings.support, settings.naccs
    pools = {kind: naccs.terminal_pools.of(kind) for kind in ("S", "M", "C")}
    return DeskSettings(
        support_domain=support.domain,
        from_address=support.from_address,
        reviewer_address=support.reviewer_address,
        operator_address=support.operator_address,
        portal_url=support.portal_url,
        package_url=support.package_url,
        desks=tuple(SupportDesk(name=d.name, phone=d.phone, hours=d.hours) for d in support.desk),
        token_key=keys.tokens,
        password_key=keys.edi_passwords,
        test_marks=settings.sandbox.enabled if test_marks is None else test_marks,
        addresses_per_new_server=naccs.addresses_per_new_server,
        address_pattern=naccs.address_pattern,
        terminal_pools={kind: (pool.start, pool.stop - 1) for kind, pool in pools.items()},
        quarantine=timedelta(seconds=settings.map.quarantine),
        smarthost_lanes=settings.smarthost.lanes,
        greatest_count=settings.desk.greatest_count,
        two_person=settings.desk.two_person,
        held_for=timedelta(seconds=settings.desk.held_for),
        most_held_bytes=settings.desk.most_held_bytes,
        remind_after=settings.desk.remind_after,
        data_keys=PasswordKeys(settings.secrets.password_keys),
    )


def exchange_settings(settings: Settings, keys: Keys) -> ExchangeSettings:
    """The message exchange's part."""
    naccs = settings.naccs
    return ExchangeSettings(
        center_address=settings.center.address,
        backend_address=settings.backend.address,
        message_id_domain=settings.center.host_name.lower(),
        password_key=keys.edi_passwords,
        repeat_window=naccs.repeat_window,
        terminals_domain=naccs.terminals_domain,
        request_life=timedelta(seconds=settings.backend.request_life),
        refuse_second=naccs.second_request is SecondRequest.REFUSE,
        refuse_before_tcc=naccs.before_tcc is BeforeTcc.REFUSE,
        service_hours=naccs.service_hours,
        stopped_procedures=frozenset(naccs.stopped_procedures),
        content_type=naccs.result_content_type,
        fill_terminal_name=naccs.fill_terminal_name,
        syg=SygSettings(
            list_code=naccs.syg_list_code,
            fetch_notice=naccs.syg_fetch_notice.value,
            retention=timedelta(seconds=settings.delivery.undelivered_retention),
            fill_terminal_name=naccs.fill_terminal_name,
        ),
    )


def naccs_rules(settings: Settings) -> NaccsRules:
    """Who may talk to whom on the NACCS listener."""
    return NaccsRules(
        center_key=settings.center.address.lower(),
        terminals_domain=settings.naccs.terminals_domain.lower(),
        peer_check=str(settings.naccs.peer_check),
        peer_networks=settings.naccs.peer_networks,
        backend_networks=settings.backend.networks,
        backend_senders=frozenset(sender.lower() for sender in settings.backend.senders),
    )


def delivery_settings(settings: Settings) -> DeliverySettings:
    """How delivery behaves; the time limits of the settings are those towards terminals."""
    section = settings.delivery
    own = DeliverySettings(
        name=settings.center.host_name,
        terminal_life=section.terminal_life,
        notice_life=section.notice_life,
        retry_first=section.retry_first,
        retry_max=section.retry_max,
        mail_tries=section.mail_tries,
        mail_tries_within=section.mail_tries_within,
        idle_close=section.idle_close,
        terminal_limits=_limits(section.connect_timeout, section.reply_timeout),
    )
    return replace(own, destinations={name: _of_one(own, given) for name, given in section.destinations.items()})


def _of_one(own: DeliverySettings, given: DestinationSettings) -> DeliverySettings:
    """What is given for one terminal's server over what holds for all."""
    over = given.model_dump(exclude_none=True)
    connect, reply = over.pop("connect_timeout", None), over.pop("reply_timeout", None)
    limits = own.terminal_limits
    if connect is not None:
        limits = replace(limits, connect=connect)
    if reply is not None:
        limits = replace(limits, command=reply, block=reply, dot=reply)
    return replace(own, terminal_limits=limits, **over)


def _limits(connect: float, reply: float) -> TimeLimits:
    return TimeLimits(connect=connect, command=reply, block=reply, dot=reply)


def backend_settings(settings: Settings) -> BackendLaneSettings:
    """How requests are handed over; without a primary where the simulator stands in its place."""
    section = settings.backend
    by_smtp = section.mode is BackendMode.SMTP
    return BackendLaneSettings(
        request_life=section.request_life,
        discards_repeats=section.discards_repeats,
        primary=_backend_target(section, section.host, section.port) if by_smtp else None,
        backup=_backend_target(section, section.backup_host, section.backup_port) if by_smtp else None,
        connections=section.connections,
        limits=_limits(section.connect_timeout, section.reply_timeout),
        idle_close=settings.delivery.idle_close,
        probe_every=section.probe_every,
        switch_after=section.switch_after,
        switch_back_after=section.switch_back_after,
    )


def _backend_target(section: BackendSettings, host: str, port: int) -> Target | None:
    if not host:
        return None
    protocol = Protocol.HELO if section.tls is Encryption.NONE else Protocol.ESMTP
    return Target(host=host, port=port, protocol=protocol, tls=Tls(str(section.tls)))
