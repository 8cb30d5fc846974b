"""The settings: what they default to, what overrides what, and what refuses the start for which reason."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import build
from gateway.setting_sections import StoreSettings
from gateway.setting_values import hide_passwords, is_loopback, read_duration
from gateway.settings import Settings, SettingsError, load, preferred_language

BAD_SETTINGS = sorted((Path(__file__).parents[1] / "bad_settings").iterdir())


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch, tmp_path):
    """No file here and no variable, whatever the machine that runs the tests has set."""
    import os

    for name in list(os.environ):
        if name.startswith("NACCS_GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    file = Path("written.toml")
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("case", BAD_SETTINGS, ids=lambda case: case.name)
def test_bad_settings_are_refused_for_the_expected_reason(case, monkeypatch):
    environment = case / "environment"
    for line in environment.read_text().splitlines() if environment.exists() else ():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(case)

    with pytest.raises(SettingsError) as refusal:
        load(Path("gateway.toml"))

    expected = (case / "expected-error").read_text().rstrip("\n")
    if expected.endswith("*"):  # the rest is another program's wording
        assert str(refusal.value).startswith(expected[:-1])
    else:
        assert str(refusal.value) == expected


def test_without_file_and_environment_the_defaults_bind_loopback():
    settings = load()

    assert (settings.public.host, settings.public.port) == ("127.0.0.1", 8025)
    assert (settings.naccs.host, settings.naccs.port) == ("127.0.0.1", 8026)
    assert settings.store.url == "sqlite:///var/gateway.db"
    assert settings.public.trusted_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.public.max_message_bytes == 20 * 1024 * 1024
    assert settings.backend.mode == "simulator"
    assert settings.backend.networks == (ip_network("127.0.0.1/32"), ip_network("::1/128"))
    assert settings.backend.senders == (settings.backend.address,)
    assert settings.map.quarantine == 365 * 24 * 3600
    assert settings.delivery.notice_life == 5 * 24 * 3600
    assert settings.naccs.terminal_pools.of("S") == range(60000, 70000)
    assert len(settings.support.desk) == 2


def test_support_addresses_follow_the_support_domain_unless_written():
    settings = load(written('[support]\ndomain = "desk.example"\nreviewer_address = "review@other.example"\n'))

    assert settings.support.from_address == "nss@desk.example"
    assert settings.support.operator_address == "operator@desk.example"
    assert settings.support.reviewer_address == "review@other.example"


def test_portal_and_package_urls_follow_the_portal_unless_written():
    assert load(written("[portal]\nport = 9090\n")).support.portal_url == "http://127.0.0.1:9090/"
    assert load(written('[portal]\nhost = "::1"\n')).support.portal_url == "http://[::1]:8080/"
    given = load(written('[support]\nportal_url = "https://nss.example/"\n')).support
    assert given.portal_url == "https://nss.example/"
    assert given.package_url == "https://nss.example/package"


def test_the_smarthost_needs_tls_unless_it_is_on_loopback():
    assert load().smarthost.tls == "none"
    assert load(written('[smarthost]\nhost = "mail.example"\n')).smarthost.tls == "required"
    assert load(written('[smarthost]\nhost = "mail.example"\ntls = "none"\n')).smarthost.tls == "none"


def test_off_loopback_everything_dangerous_can_be_written_out():
    settings = load(
        written(
            '[public]\nhost = "0.0.0.0"\ntrusted_networks = []\n[naccs]\nhost = "10.20.0.1"\n'
            '[backend]\nmode = "simulator"\n[sandbox]\nenabled = true\n'
        )
    )

    assert settings.public.trusted_networks == ()
    assert settings.backend.networks == (), "nobody is the backend off loopback until a network is written"


def test_the_environment_overrides_the_file_key_by_key(monkeypatch):
    monkeypatch.setenv("NACCS_GATEWAY_PUBLIC__PORT", "2525")
    monkeypatch.setenv("NACCS_GATEWAY_NACCS__TERMINAL_POOLS__S", "10000-10009")
    monkeypatch.setenv("NACCS_GATEWAY_DELIVERY__TERMINAL_LIFE", "45 min")

    settings = load(written('[public]\nport = 1\nmax_connections = 7\n[naccs.terminal_pools]\nM = "20000-20009"\n'))

    assert (settings.public.port, settings.public.max_connections) == (2525, 7)
    assert settings.naccs.terminal_pools.of("S") == range(10000, 10010)
    assert settings.naccs.terminal_pools.of("M") == range(20000, 20010)
    assert settings.delivery.terminal_life == 2700


def test_lists_in_the_environment_are_json_or_separated_by_commas(monkeypatch):
    expected = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    monkeypatch.setenv("NACCS_GATEWAY_PUBLIC__TRUSTED_NETWORKS", "10.0.0.0/8, ::1")
    assert load().public.trusted_networks == expected
    monkeypatch.setenv("NACCS_GATEWAY_PUBLIC__TRUSTED_NETWORKS", '["10.0.0.0/8", "::1"]')
    assert load().public.trusted_networks == expected


def test_the_file_is_the_option_then_the_variable_then_the_one_here(monkeypatch):
    Path("gateway.toml").write_text("[public]\nport = 1\n")
    Path("named.toml").write_text("[public]\nport = 2\n")
    Path("option.toml").write_text("[public]\nport = 3\n")

    assert load().public.port == 1
    monkeypatch.setenv("NACCS_GATEWAY_SETTINGS", "named.toml")
    assert load().public.port == 2
    assert load(Path("option.toml")).public.port == 3


def test_a_named_file_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("NACCS_GATEWAY_SETTINGS", "gone.toml")
    with pytest.raises(SettingsError, match=r"gone\.toml: there is no such settings file"):
        load()


def test_a_file_that_is_not_utf8_is_refused():
    Path("latin.toml").write_bytes(b'[support]\ndomain = "\xe9"\n')
    with pytest.raises(SettingsError, match=r"^latin\.toml: "):
        load(Path("latin.toml"))


def test_settings_made_by_hand_read_no_environment(monkeypatch):
    monkeypatch.setenv("NACCS_GATEWAY_PUBLIC__PORT", "2525")
    assert Settings().public.port == 8025


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load().public.port = 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://gateway:hunter2@db/gateway", "postgresql://gateway:***@db/gateway"),
        ("postgresql+psycopg://g:p@ss/w:rd@db/x", "postgresql+psycopg://g:***@db/x"),
        ("postgresql:///gateway?host=/run&password=hunter2", "postgresql:///gateway?host=/run&password=***"),
        ("postgresql://gateway@db/gateway", "postgresql://gateway@db/gateway"),
        ("sqlite:///var/gateway.db", "sqlite:///var/gateway.db"),
    ],
)
def test_passwords_are_hidden_in_repr_and_display(url, shown):
    settings = Settings(store=StoreSettings(url=url))

    assert settings.shown()["store"]["url"] == shown
    assert "hunter2" not in repr(settings)
    assert shown in repr(settings)


def test_a_password_is_not_told_in_a_refusal():
    with pytest.raises(SettingsError) as refusal:
        load(written('[smarthost]\nhost = 5\n[store]\nurl = "mysql://gateway:hunter2@db/x"\n'))
    assert "hunter2" not in str(refusal.value)


def test_values_that_are_not_text_are_shown_as_they_are():
    assert hide_passwords(5) == 5


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90", "90"), (90, 90), ("90 s", 90), ("1.5 min", 90), ("2h", 7200), ("365 d", 31_536_000)],
)
def test_durations_are_seconds_or_carry_a_unit(given, seconds):
    assert read_duration(given) == seconds


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("gateway.example", False),
    ],
)
def test_loopback_is_told_from_the_rest(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_that_of_the_locale(variables, language, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert preferred_language() == language


def test_check_settings_shows_what_is_in_force_with_passwords_hidden():
    file = written('[store]\nurl = "postgresql://gateway:hunter2@db/gateway"\n')

    text = CliRunner().invoke(build(), ["--settings", str(file), "check-settings"])
    as_json = CliRunner().invoke(build(), ["--settings", str(file), "check-settings", "--json"])

    assert text.exit_code == as_json.exit_code == 0
    assert "public.port = 8025\n" in text.output
    assert 'store.url = "postgresql://gateway:***@db/gateway"\n' in text.output
    assert json.loads(as_json.stdout)["naccs"]["terminal_pools"]["S"] == "60000-69999"


def test_check_settings_refuses_with_status_1_and_one_line_that_names_the_key():
    refused = CliRunner().invoke(build(), ["--settings", str(written("[log]\nlevl = 1\n")), "check-settings"])

    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr == "written.toml: log.levl: unknown key (did you mean level?)\n"


def test_wrong_usage_ends_with_status_2():
    assert CliRunner().invoke(build(), ["check-settings", "--nonsense"]).exit_code == 2
    assert CliRunner().invoke(build(), ["--lang", "fr", "check-settings"]).exit_code == 2
