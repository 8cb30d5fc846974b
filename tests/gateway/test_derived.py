"""What handlers and policies are told of the settings."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from gateway import derived
from gateway.key_file import Keys
from gateway.lanes import DeliverySettings
from gateway.settings import Settings
from gateway.smtp_out import Protocol, Target, TimeLimits, Tls
from handlers.naccs.exchange import ExchangeSettings
from handlers.naccs.procedures.syg import SygSettings

KEYS = Keys(edi_passwords=b"e" * 32, tokens=b"t" * 32)


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def test_each_key_goes_where_it_is_used_and_nowhere_else():
    desk = derived.desk_settings(settings(), KEYS)
    exchange = derived.exchange_settings(settings(), KEYS)
    assert (desk.token_key, desk.password_key) == (KEYS.tokens, KEYS.edi_passwords)
    assert exchange.password_key == KEYS.edi_passwords


def test_the_desk_is_told_its_addresses_desks_and_pools():
    made = settings(
        support={
            "domain": "Nss.Example",
            "operator_address": "ops@nss.example",
            "desk": [{"name": "窓口", "phone": "044", "hours": "終日"}],
        },
        naccs={"terminal_pools": {"S": "61000-61999"}, "addresses_per_new_server": 3},
        map={"quarantine": "10 d"},
        smarthost={"lanes": 2},
        portal={"port": 8081},
    )
    desk = derived.desk_settings(made, KEYS)
    assert desk.support_domain.lower() == "nss.example"
    assert desk.apply_address.lower() == "apply@nss.example"
    assert desk.operator_address == "ops@nss.example"
    assert [(each.name, each.phone, each.hours) for each in desk.desks] == [("窓口", "044", "終日")]
    assert desk.portal_url == "http://127.0.0.1:8081/"
    assert desk.package_url == "http://127.0.0.1:8081/package"
    # First and last number of each pool.
    assert desk.terminal_pools == {"S": (61000, 61999), "M": (25000, 25999), "C": (27000, 27999)}
    assert desk.addresses_per_new_server == 3
    assert desk.quarantine == timedelta(days=10)
    assert desk.smarthost_lanes == 2
    assert desk.address_pattern == made.naccs.address_pattern


@pytest.mark.parametrize(
    ("sandbox", "asked", "marked"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_mails_of_the_sandbox_are_marked_as_tests(sandbox, asked, marked):
    made = settings(sandbox={"enabled": sandbox})
    assert derived.desk_settings(made, KEYS, test_marks=asked).test_marks is marked


def test_the_exchange_is_told_who_it_is_and_how_long_a_repeat_may_take():
    made = settings(
        center={"address": "N@C.EXAMPLE", "host_name": "Gate.Center.Example"},
        backend={"address": "B@C.EXAMPLE"},
        naccs={"repeat_window": "12 s"},
    )
    exchange = derived.exchange_settings(made, KEYS)
    assert (exchange.center_address, exchange.backend_address) == ("N@C.EXAMPLE", "B@C.EXAMPLE")
    assert exchange.message_id_domain == "gate.center.example"
    assert exchange.repeat_window == 12


def test_the_exchange_is_told_what_a_request_may_do_and_how_its_answers_look():
    exchange = derived.exchange_settings(settings(), KEYS)
    defaults = ExchangeSettings(
        center_address=exchange.center_address,
        backend_address=exchange.backend_address,
        message_id_domain=exchange.message_id_domain,
        password_key=KEYS.edi_passwords,
        repeat_window=30,
        terminals_domain="terminals.center.example",
    )
    assert exchange == defaults  # the settings and the exchange agree on what is usual
    made = settings(
        naccs={
            "terminals_domain": "T.Example",
            "second_request": "refuse",
            "before_tcc": "refuse",
            "service_hours": "08:30-19:00",
            "stopped_procedures": ["OTA", "IDA"],
            "result_content_type": "Text/xml",
            "fill_terminal_name": True,
            "syg_list_code": "LIST001",
            "syg_fetch_notice": "always",
        },
        backend={"request_life": "90 s"},
        delivery={"undelivered_retention": "7 d"},
    )
    told = derived.exchange_settings(made, KEYS)
    assert (told.refuse_second, told.refuse_before_tcc, told.request_life) == (True, True, timedelta(seconds=90))
    assert told.terminals_domain.lower() == "t.example"
    assert (told.service_hours, told.stopped_procedures) == ("08:30-19:00", frozenset({"OTA", "IDA"}))
    assert (told.content_type, told.fill_terminal_name) == ("Text/xml", True)
    assert told.syg == SygSettings(
        list_code="LIST001", fetch_notice="always", retention=timedelta(days=7), fill_terminal_name=True
    )


def test_the_naccs_listener_compares_in_lower_case_and_plain_text():
    made = settings(
        center={"address": "NACCS@SMTP.CENTER.EXAMPLE"},
        naccs={"terminals_domain": "Terminals.Example", "peer_check": "networks", "peer_networks": ["10.1.0.0/16"]},
        backend={"senders": ["One@C.EXAMPLE", "two@c.example"], "networks": ["10.2.0.1/32"]},
    )
    rules = derived.naccs_rules(made)
    assert rules.center_key == "naccs@smtp.center.example"
    assert rules.terminals_domain == "terminals.example"
    assert rules.peer_check == "networks"
    assert tuple(rules.peer_networks) == (ip_network("10.1.0.0/16"),)
    assert tuple(rules.backend_networks) == (ip_network("10.2.0.1/32"),)
    assert rules.backend_senders == {"one@c.example", "two@c.example"}


def test_the_backend_is_this_host_alone_unless_networks_are_written_out():
    rules = derived.naccs_rules(settings())
    assert tuple(rules.backend_networks) == (ip_network("127.0.0.1/32"), ip_network("::1/128"))
    assert rules.backend_senders == {"backend@smtp.center.example"}
    assert rules.peer_check == "terminal"


def test_delivery_is_told_its_lives_waits_and_time_limits():
    made = settings(
        center={"host_name": "gate.example"},
        delivery={
            "terminal_life": "10 min",
            "notice_life": "2 d",
            "retry_first": 1,
            "retry_max": 9,
            "idle_close": 7,
            "connect_timeout": 3,
            "reply_timeout": 4,
        },
    )
    told = derived.delivery_settings(made)
    assert (told.name, told.terminal_life, told.notice_life) == ("gate.example", 600, 172_800)
    assert (told.retry_first, told.retry_max, told.idle_close) == (1, 9, 7)
    limits = told.terminal_limits
    assert (limits.connect, limits.command, limits.block, limits.dot) == (3, 4, 4, 4)
    # The settings have no key for the others: what delivery promises of itself holds.
    defaults = DeliverySettings(name="gate.example")
    set_here = {"name", "terminal_life", "notice_life", "retry_first", "retry_max", "idle_close", "terminal_limits"}
    assert (told.mail_tries, told.mail_tries_within, dict(told.destinations)) == (3, 60, {})
    for field in fields(DeliverySettings):
        if field.name not in set_here:
            assert getattr(told, field.name) == getattr(defaults, field.name), field.name


def test_what_is_given_for_one_terminal_holds_for_its_lane_alone():
    made = settings(
        delivery={
            "retry_first": 1,
            "mail_tries": 5,
            "mail_tries_within": 90,
            "connect_timeout": 3,
            "destinations": {
                "60777s": {"terminal_life": "1 h", "reply_timeout": 120, "retry_max": 30, "idle_close": 5},
                "60778S": {"connect_timeout": 1, "mail_tries": 1, "mail_tries_within": 10, "retry_first": 4},
            },
        },
    )
    told = derived.delivery_settings(made)
    one, two, other = (told.of(f"terminal:{name}") for name in ("60777S", "60778S", "60779S"))
    assert other == told == told.of("smarthost:0") == told.of("backend")
    assert (told.mail_tries, told.mail_tries_within) == (5, 90)
    assert (one.terminal_life, one.retry_max, one.idle_close) == (3600, 30, 5)
    assert one.terminal_limits == TimeLimits(connect=3, command=120, block=120, dot=120)
    assert (one.retry_first, one.mail_tries, one.name) == (1, 5, told.name)
    assert (two.mail_tries, two.mail_tries_within, two.retry_first) == (1, 10, 4)
    assert two.terminal_limits == TimeLimits(connect=1, command=60, block=60, dot=60)
    assert (two.terminal_life, two.idle_close) == (told.terminal_life, told.idle_close)


def test_the_simulator_has_no_address_and_discards_repeats():
    told = derived.backend_settings(settings())
    assert (told.primary, told.backup, told.discards_repeats) == (None, None, True)
    assert told.request_life == 120


def test_a_backend_by_smtp_has_its_addresses_limits_and_times():
    section = {
        "mode": "smtp",
        "host": "b1.center.example",
        "port": 2525,
        "backup_host": "b2.center.example",
        "tls": "required",
        "connections": 4,
        "request_life": "60 s",
        "probe_every": 2,
        "switch_after": 0,
        "switch_back_after": 9,
        "connect_timeout": 3,
        "reply_timeout": 7,
        "networks": ["10.2.0.1/32"],
    }
    told = derived.backend_settings(settings(backend=section, delivery={"idle_close": 8}))
    assert told.primary == Target(host="b1.center.example", port=2525, protocol=Protocol.ESMTP, tls=Tls.REQUIRED)
    assert told.backup == Target(host="b2.center.example", port=2525, protocol=Protocol.ESMTP, tls=Tls.REQUIRED)
    assert (told.connections, told.request_life, told.discards_repeats) == (4, 60, False)
    assert (told.probe_every, told.switch_after, told.switch_back_after) == (2, 0, 9)
    assert (told.limits, told.idle_close) == (TimeLimits(connect=3, command=7, block=7, dot=7), 8)
    plain = derived.backend_settings(settings(backend={**section, "tls": "none", "backup_host": "", "backup_port": 26}))
    assert plain.primary == Target(host="b1.center.example", port=2525, protocol=Protocol.HELO, tls=Tls.NONE)
    assert plain.backup is None
