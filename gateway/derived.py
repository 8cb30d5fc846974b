"""What handlers and policies are told of the settings, made from the one tree."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.key_file import Keys, read_keys
from gateway.lanes import DeliverySettings
from gateway.listeners import NaccsRules
from gateway.settings import Settings
from gateway.smtp_out import TimeLimits
from handlers.desk import DeskSettings, SupportDesk
from handlers.naccs.exchange import ExchangeSettings
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
    )


def exchange_settings(settings: Settings, keys: Keys) -> ExchangeSettings:
    """The message exchange's part."""
    return ExchangeSettings(
        center_address=settings.center.address,
        backend_address=settings.backend.address,
        message_id_domain=settings.center.host_name.lower(),
        password_key=keys.edi_passwords,
        repeat_window=settings.naccs.repeat_window,
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
    return DeliverySettings(
        name=settings.center.host_name,
        terminal_life=section.terminal_life,
        notice_life=section.notice_life,
        retry_first=section.retry_first,
        retry_max=section.retry_max,
        idle_close=section.idle_close,
        terminal_limits=TimeLimits(
            connect=section.connect_timeout,
            command=section.reply_timeout,
            block=section.reply_timeout,
            dot=section.reply_timeout,
        ),
    )
