from __future__ import annotations

from datetime import date, timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from handlers.contracts import (
    ContractsRefused,
    hash_contract_passwords,
    known_password_hashes,
    read_contracts,
)
from handlers.naccs.eligibility import password_mac
from handlers.terminals import load
from storage.models import (
    Contact,
    Line,
    LogicalTerminal,
    MailAddress,
    MapVersion,
    Office,
    OfficeUser,
    Reservation,
)
from tests.handlers.review_cases import (
    DESK,
    OFFICES,
    WITH_SMTP_SERVER,
    audited,
    take_contracts,
)

OTHER_OFFICE = OFFICES.replace("CT0001", "CT0002").replace("TST01", "TST02")


def faults_of(text: str) -> set[tuple[str, str, str]]:
    with pytest.raises(ContractsRefused) as refused:
        read_contracts(text)
    return {(fault.place, fault.rule, fault.value) for fault in refused.value.faults}


def all_of(store, model):
    return store.read(lambda session: session.scalars(select(model)).all())


def map_version(store):
    return store.read(lambda session: session.scalar(select(MapVersion.version)))


def test_a_terminal_that_moves_and_gets_another_ip_address_is_one_change(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    terminal = '[[office.line.terminal]]\nname = "60777S"'
    second = WITH_SMTP_SERVER[WITH_SMTP_SERVER.index("[[office.line]]") :].partition("[[office.line.terminal]]")[0]
    second = second.replace("09143", "09144").replace("127.20.13", "127.20.14")
    moved = WITH_SMTP_SERVER.replace(terminal, second + terminal).replace("127.20.13.13", "127.20.14.13")
    report = take_contracts(store, now, moved)
    assert (report.added, report.updated) == ({"lines": 1}, {"logical_terminals": 1})
    (change, _) = report.changes
    assert (change.name, [(one.column, one.before, one.after) for one in change.columns]) == (
        "60777S",
        [("line", "09143", "09144"), ("ip_address", "127.20.13.13", "127.20.14.13")],
    )


def test_a_change_is_told_as_the_file_says_it(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    report = take_contracts(
        store, now, WITH_SMTP_SERVER.replace("spare_router = false", "spare_router = true").replace("2525", "2526")
    )
    assert [(row.name, *((one.column, one.before, one.after) for one in row.columns)) for row in report.changes] == [
        ("09143", ("spare_router", "false", "true")),
        ("60777S", ("port", "2525", "2526")),
    ]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_the_sample_file_is_read_whole():
    (office,) = read_contracts(OFFICES).offices
    assert office.code == "CT0001"
    assert office.administrator.email == "kanri@applicant.example"
    assert [contact.email for contact in office.contacts] == ["tsukan-hanako@applicant.example"]
    (line,) = office.lines
    assert (line.router_number, line.line_class, line.lan_subnet) == ("09143", "共用", "127.20.13.0/24")
    assert [(terminal.name, terminal.ip_address) for terminal in line.terminals] == [
        ("25130M", "127.20.13.11"),
        ("27264C", "127.20.13.12"),
    ]
    assert office.users[0].procedures == ("*",)


def test_passwords_are_not_in_what_a_log_would_show():
    shown = repr(read_contracts(OFFICES))
    assert "PASSWD01" not in shown
    assert "change-me" not in shown


@pytest.mark.parametrize(
    ("old", "new", "place", "rule", "value"),
    [
        ('code = "CT0001" ', 'code = "ct-1" ', "office ct-1, code", "office_code", "ct-1"),
        ('name = "第一営業部"', 'name = ""', "office CT0001, name", "one_line", ""),
        ('name = "第一営業部"', 'name = "a\\nb"', "office CT0001, name", "one_line", "a\nb"),
        ('name = "第一営業部"', "colour = 1", "office CT0001, name", "missing", ""),
        ("[[office.user]]", "colour = 1\n[[office.user]]", "office CT0001, line 09143, terminal 60777S, colour",
         "unknown_key", ""),
        ('router_number = "09143"', "router_number = 9143", "office CT0001, line #1, router_number", "text", "9143"),
        ('"127.20.13.0/24"', '"127.20.13.1/24"', "office CT0001, line 09143, lan_subnet", "lan_subnet",
         "127.20.13.1/24"),
        ('"127.20.13.0/24"', '"127.20.13.12/31"', "office CT0001, line 09143, lan_subnet", "lan_subnet",
         "127.20.13.12/31"),
        ("spare_router = false", 'spare_router = "no"', "office CT0001, line 09143, spare_router", "true_or_false",
         "no"),
        ('"127.20.13.11"', '"127.20.13.300"', "office CT0001, line 09143, terminal 25130M, ip_address",
         "ip_address", "127.20.13.300"),
        ('"127.20.13.11"', '"127.20.14.11"', "office CT0001, line 09143, terminal 25130M, ip_address",
         "outside_lan", "127.20.13.0/24"),
        ('"127.20.13.11"', '"127.20.13.255"', "office CT0001, line 09143, terminal 25130M, ip_address",
         "outside_lan", "127.20.13.0/24"),
        ('name = "25130M"', 'name = "25130"', "office CT0001, line 09143, terminal 25130, name", "terminal_name",
         "25130"),
        ('phone = "0120794550"', 'phone = "0120-794-550"',
         "office CT0001, contact tsukan-hanako@applicant.example, phone", "phone", "0120-794-550"),
        ('email = "kanri@applicant.example"', 'email = "kanri"', "office CT0001, administrator, email",
         "mail_address", "kanri"),
        ('code = "TST01"', 'code = "TST0"', "office CT0001, user TST0, code", "user_code", "TST0"),
        ('"001"', '"01"', "office CT0001, user TST01, identification_number", "identification_number", "01"),
        ('"PASSWD01"', '"PASSWD0123"', "office CT0001, user TST01, password", "password", ""),
        ('"PASSWD01"', "12345678", "office CT0001, user TST01, password", "text", ""),
        ('"change-me-at-first-login"', '"short"', "office CT0001, contract_password", "contract_password", ""),
        ('procedures = ["*"]', 'procedures = ["tcc"]', "office CT0001, user TST01, procedures #1", "procedure",
         "tcc"),
        ('procedures = ["*"]', "procedures = []", "office CT0001, user TST01, procedures", "missing", ""),
        ('procedures = ["*"]', 'procedures = "*"', "office CT0001, user TST01, procedures", "list", "*"),
        ("port = 2525", "port = 0", "office CT0001, line 09143, terminal 60777S, port", "port", "0"),
        ("port = 2525", 'port = "25"', "office CT0001, line 09143, terminal 60777S, port", "port", "25"),
        ("port = 2525", 'codec = "sjis"', "office CT0001, line 09143, terminal 60777S, codec", "codec", "sjis"),
        ("port = 2525", 'left_to_backend = ["none"]', "office CT0001, line 09143, terminal 60777S, left_to_backend #1",
         "check", "none"),
        ("port = 2525", 'left_to_backend = "hours"', "office CT0001, line 09143, terminal 60777S, left_to_backend",
         "list", "hours"),
        ('procedures = ["*"]', 'procedures = ["*"]\nservice_hours = "8:30-19:00"',
         "office CT0001, user TST01, service_hours", "service_hours", "8:30-19:00"),
        ('procedures = ["*"]', 'procedures = ["*"]\nservice_hours = "25:00-26:00"',
         "office CT0001, user TST01, service_hours", "service_hours", "25:00-26:00"),
        ('procedures = ["*"]', 'procedures = ["*"]\nbarred = "no"', "office CT0001, user TST01, barred",
         "true_or_false", "no"),
        ("3A0001@smtp", f"{'a' * 60}@smtp", "office CT0001, line 09143, terminal 60777S, mail_addresses #1",
         "terminal_address", f"{'a' * 60}@smtp.ct0001.center.example"),
        ("[office.administrator]", "[office.manager]", "office CT0001, administrator", "missing", ""),
        ("[[office.contact]]", "[office.contact]", "office CT0001, contact", "list", ""),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_its_place_and_rule(old, new, place, rule, value):
    assert old in WITH_SMTP_SERVER
    found = faults_of(WITH_SMTP_SERVER.replace(old, new, 1))
    assert (place, rule, value) in found


def test_everything_that_is_wrong_is_named_at_once():
    text = OFFICES.replace('name = "25130M"', 'name = "x"').replace('"001"', '"1"').replace('"127.20.13.12"', '"::1"')
    assert {fault[1] for fault in faults_of(text)} == {"terminal_name", "identification_number", "outside_lan"}


@pytest.mark.parametrize(
    ("text", "place", "value"),
    [
        (OFFICES + OFFICES, "office #2, code", "office #1, code"),
        (OFFICES.replace("27264C", "25130M"), "office #1, line #1, terminal #2, name",
         "office #1, line #1, terminal #1, name"),
        (OFFICES.replace("127.20.13.12", "127.20.13.11"), "office #1, line #1, terminal #2, ip_address",
         "office #1, line #1, terminal #1, ip_address"),
        (WITH_SMTP_SERVER.replace("center.example\"]", "center.example\", \"3a0001@SMTP.CT0001.CENTER.EXAMPLE\"]"),
         "office #1, line #1, terminal #3, mail_addresses #2", "office #1, line #1, terminal #3, mail_addresses #1"),
        (OFFICES + OFFICES[OFFICES.index("[[office.user]]"):], "office #1, user #2, code", "office #1, user #1, code"),
    ],
)  # fmt: skip
def test_what_may_stand_once_is_named_where_it_stands_again(text, place, value):
    assert (place, "repeated", value) in faults_of(text)


@pytest.mark.parametrize(
    "text", ["office = 1", "office = [1]", "office = [[]]", "[office]", "[[office]]\nline = [1]\nuser = 2"]
)
def test_a_file_of_another_shape_is_refused_and_not_stumbled_over(text):
    assert faults_of(text)


def test_an_empty_file_and_one_without_offices_are_told_what_is_missing():
    assert faults_of("") == {("office", "missing", "")}
    assert faults_of("office = []") == {("office", "missing", "")}


def test_a_file_that_is_no_toml_is_told_where_it_breaks():
    ((place, rule, value),) = faults_of("[[office]\n")
    assert (place, rule) == ("", "toml")
    assert "line 1" in value


# --- importing -------------------------------------------------------------------------------------------------------


def test_an_import_writes_the_whole_contract(store, now):
    report = take_contracts(store, now, WITH_SMTP_SERVER)
    assert report.added == {
        "offices": 1,
        "contacts": 1,
        "lines": 1,
        "logical_terminals": 3,
        "mail_addresses": 1,
        "office_users": 1,
    }
    assert report.map_version == map_version(store) == 1
    (office,) = all_of(store, Office)
    assert (office.administrator_fax, office.billing_code) == ("0312345679", "B000001")
    (line,) = all_of(store, Line)
    assert (line.line_class, line.spare_router) == ("共用", False)
    terminals = {row.name: row for row in all_of(store, LogicalTerminal)}
    assert (terminals["25130M"].terminal_class, terminals["25130M"].package) == ("共用", "メール")
    assert (terminals["60777S"].terminal_class, terminals["60777S"].port) == ("港湾", 2525)
    assert {(row.kind, row.value) for row in all_of(store, Reservation)} == {
        ("ip", "127.20.13.11"),
        ("ip", "127.20.13.12"),
        ("ip", "127.20.13.13"),
        ("mail_address", "3a0001@smtp.ct0001.center.example"),
    }
    assert audited(store, "office:CT0001") == [("office_imported", "gateway", "")]
    assert audited(store, "terminal:60777S") == [("terminal_added", "gateway", "")]


def test_codec_checks_and_hours_are_imported_and_follow_the_file(store, now):
    first = WITH_SMTP_SERVER.replace("port = 2525", 'codec = "eucjp_ms"\nleft_to_backend = ["office", "password"]')
    first = first.replace('procedures = ["*"]', 'procedures = ["*"]\nservice_hours = "22:00-06:00"\nbarred = true')
    take_contracts(store, now, first)
    terminals = {row.name: row for row in all_of(store, LogicalTerminal)}
    assert (terminals["60777S"].codec, terminals["60777S"].left_to_backend) == ("eucjp_ms", "office password")
    assert (terminals["25130M"].codec, terminals["25130M"].left_to_backend) == ("euc_jp", "")
    (user,) = all_of(store, OfficeUser)
    assert (user.service_hours, user.barred) == ("22:00-06:00", True)
    assert take_contracts(store, now, first).map_version is None
    report = take_contracts(store, now, WITH_SMTP_SERVER)
    assert report.updated == {"logical_terminals": 1, "office_users": 1}
    (user,) = all_of(store, OfficeUser)
    assert (user.service_hours, user.barred) == ("", False)


def test_an_imported_terminal_takes_effect_on_the_japanese_day_of_the_import(store, now):
    late = now.replace(hour=15)  # midnight in Japan
    take_contracts(store, late, WITH_SMTP_SERVER)
    assert {row.effective_from for row in all_of(store, LogicalTerminal)} == {date(2026, 11, 25)}
    view = store.read(load)
    key = "3a0001@smtp.ct0001.center.example"
    assert view.binding(key, date(2026, 11, 24)) is None
    bound = view.binding(key, date(2026, 11, 25))
    assert (bound.address, bound.ip, bound.port) == ("3A0001@SMTP.CT0001.CENTER.EXAMPLE", "127.20.13.13", 2525)


def test_a_terminal_without_a_class_has_its_lines(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER.replace('class = "港湾"\n', ""))
    terminals = {row.name: row.terminal_class for row in all_of(store, LogicalTerminal)}
    assert terminals["60777S"] == "共用"


def test_importing_a_file_again_changes_nothing_and_leaves_the_map_version_alone(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    report = take_contracts(store, now + timedelta(days=3), WITH_SMTP_SERVER)
    assert (report.added, report.updated, report.ended, report.map_version) == ({}, {}, (), None)
    assert map_version(store) == 1
    assert len(audited(store, "office:CT0001")) == 1


def test_what_changed_in_the_file_is_updated_in_place(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    changed = (
        WITH_SMTP_SERVER.replace('access_speed = "128kbps"', 'access_speed = "1Mbps"')
        .replace('title = "係長"', 'title = "課長"')
        .replace('email = "tsukan-hanako@', 'email = "Tsukan-Hanako@')
        .replace('procedures = ["*"]', 'procedures = ["TCC", "SYG"]')
        .replace("127.20.13.13", "127.20.13.14")
    )
    report = take_contracts(store, now, changed, actor="os:tester")
    assert report.added == {}
    assert report.updated == {"lines": 1, "contacts": 1, "office_users": 1, "logical_terminals": 1}
    assert report.map_version == 2
    (contact,) = all_of(store, Contact)
    assert (contact.title, contact.email) == ("課長", "Tsukan-Hanako@applicant.example")
    (user,) = all_of(store, OfficeUser)
    assert user.procedures == "TCC SYG"
    rests = {row.value: row.rests_until for row in all_of(store, Reservation) if row.kind == "ip"}
    assert rests["127.20.13.13"] == date(2027, 11, 24)
    assert rests["127.20.13.14"] is None
    assert audited(store, "office:CT0001")[-1] == ("office_imported", "os:tester", "")


def test_what_the_file_no_longer_names_stays(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    report = take_contracts(store, now, OFFICES)
    assert report.map_version is None
    assert len(all_of(store, LogicalTerminal)) == 3


def test_a_terminal_that_was_deleted_stays_so_and_is_reported(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)

    def end(session):
        row = session.scalars(select(LogicalTerminal).where(LogicalTerminal.name == "60777S")).one()
        row.effective_until = date(2026, 11, 30)

    store.run(end)
    report = take_contracts(store, now, WITH_SMTP_SERVER.replace("2525", "26"))
    assert report.ended == ("60777S",)
    assert report.map_version is None


def test_an_address_is_added_to_a_terminal_that_exists(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    more = WITH_SMTP_SERVER.replace('center.example"]', 'center.example", "3A0002@SMTP.CT0001.CENTER.EXAMPLE"]')
    assert take_contracts(store, now, more).added == {"mail_addresses": 1}
    assert {row.address for row in all_of(store, MailAddress)} == {
        "3A0001@SMTP.CT0001.CENTER.EXAMPLE",
        "3A0002@SMTP.CT0001.CENTER.EXAMPLE",
    }


def test_what_is_another_offices_is_refused_all_at_once_and_nothing_is_written(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    foreign = (
        OTHER_OFFICE.replace("TST02", "TST01")
        + '\n[[office.line]]\nrouter_number = "09144"\nclass = "共用"\nconnection = "一般"\nedifact = false\n'
        'line_type = "専用線"\naccess_speed = "128kbps"\nwiring = "自社手配"\nmaintenance_hours = "平日"\n'
        'shared_with_other_offices = false\nlan_subnet = "127.20.13.0/24"\nspare_router = false\n'
        '[[office.line.terminal]]\nname = "60777S"\nequipment = "SMTP"\n'
        '[[office.line.terminal]]\nname = "60778S"\nequipment = "SMTP"\nip_address = "127.20.13.13"\n'
        'mail_addresses = ["3A0001@SMTP.CT0001.CENTER.EXAMPLE"]\n'
    )
    with pytest.raises(ContractsRefused) as refused:
        take_contracts(store, now, foreign, password_hashes={"CT0002": "x"})
    assert {(fault.place, fault.rule, fault.value) for fault in refused.value.faults} == {
        ("office CT0002, line 09143", "other_office", "CT0001"),
        ("office CT0002, line 09144, terminal 60777S", "other_office", "CT0001"),
        ("office CT0002, line 09144, lan_subnet", "lan_taken", "127.20.13.0/24 (09143)"),
        ("office CT0002, line 09144, terminal 60778S, ip_address", "taken", "60777S"),
        ("office CT0002, line 09144, terminal 60778S, mail_addresses", "taken", "60777S"),
        ("office CT0002, user TST01", "other_office", "CT0001"),
    }
    assert len(all_of(store, Office)) == 1
    assert map_version(store) == 1


def test_an_ip_address_that_rests_is_refused_until_its_rest_has_ended(store, now):
    take_contracts(store, now)
    rest_ends = date(2026, 12, 1)

    def reserve(session):
        session.add(Reservation(kind="ip", value="127.20.13.13", holder_id=1, rests_until=rest_ends))

    store.run(reserve)
    with pytest.raises(ContractsRefused) as refused:
        take_contracts(store, now, WITH_SMTP_SERVER)
    assert [(fault.rule, fault.value) for fault in refused.value.faults] == [("taken", "127.20.13.13")]
    assert take_contracts(store, now + timedelta(days=7), WITH_SMTP_SERVER).map_version == 2


def test_passwords_are_stored_as_hashes_only(store, now):
    take_contracts(store, now, password_hashes=None)
    (office,) = all_of(store, Office)
    assert office.contract_password_hash.startswith("$argon2id$")
    assert PasswordHasher().verify(office.contract_password_hash, "change-me-at-first-login")
    (user,) = all_of(store, OfficeUser)
    assert bytes(user.password_mac) == password_mac(DESK.password_key, "CT0001", "TST01", "001", b"PASSWD01")


def test_a_contract_password_is_hashed_again_only_when_it_changed(store, now):
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("change-me-at-first-login")
    contracts = read_contracts(OFFICES)
    first = hash_contract_passwords(contracts, {"CT0001": weak})
    assert first["CT0001"] != weak  # too weak by now
    assert hash_contract_passwords(contracts, first) == first
    other = read_contracts(OFFICES.replace("change-me-at-first-login", "changed-since-then"))
    assert hash_contract_passwords(other, first) != first
    take_contracts(store, now, password_hashes=first)
    assert store.read(lambda session: known_password_hashes(session, contracts)) == first
