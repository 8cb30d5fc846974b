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
    for field in fields(DeliverySettings):
        if field.name not in set_here:
            assert getattr(told, field.name) == getattr(defaults, field.name), field.name
