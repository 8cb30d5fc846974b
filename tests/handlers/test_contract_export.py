from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select

from handlers.contract_export import exported, to_toml
from handlers.contract_faults import ContractsRefused
from handlers.contract_file import read_contracts
from handlers.contract_tables import TABLE_NAMES, read_tables, to_tables
from handlers.contracts import import_contracts
from handlers.map_changes import Change
from handlers.terminal_changes import end_address, end_terminal
from storage.models import Office, OfficeUser
from tests.handlers.allocation_cases import TODAY, issue
from tests.handlers.review_cases import DESK, OFFICES, START, WITH_SMTP_SERVER, take_contracts

SECOND = (
    OFFICES.replace("CT0001", "CT0002").replace("TST01", "TST02").replace("09143", "09144")
    .replace("127.20.13", "127.20.14").replace("25130M", "25131M").replace("27264C", "27265C")
)  # fmt: skip
ODD = (
    WITH_SMTP_SERVER.replace("port = 2525", 'port = 2525\ncodec = "cp51932"\nleft_to_backend = ["hours", "office"]')
    .replace('procedures = ["*"]', 'procedures = ["TCC", "SYG"]\nservice_hours = "08:30-19:00"\nbarred = true')
    .replace('site_option = ""', 'site_option = "棚\\"3\\"\\\\奥、#4 = [x]"')
    .replace("spare_router = false", 'spare_router = true\nshared_with = ["CT0002"]')
    .replace('billing_code = "B000001"', 'billing_code = "B000001"\nbilingual = true')
    .replace('emergency_fax = "0312345679"', 'emergency_fax = ""')
)
USER_COLUMNS = "office, code, identification_number, procedures, service_hours, barred"
PASSWORDS = {"CT0001": "one", "CT0002": "two"}


@pytest.fixture
def filled(store, now):
    take_contracts(store, now, ODD + SECOND, password_hashes=PASSWORDS)
    return store


def written(store, day: date = TODAY, office: str | None = None):
    return store.read(lambda session: exported(session, day, office))


def take(store, contracts, now):
    return store.run(lambda session: import_contracts(session, contracts, DESK, now))


def test_what_is_exported_changes_nothing_when_it_is_imported_again(filled, now):
    found = written(filled)
    for contracts in (read_contracts(to_toml(found, TODAY)), read_tables(to_tables(found))):
        report = take(filled, contracts, now + timedelta(days=3))
        assert (report.added, report.updated, report.ended, report.ended_lines) == ({}, {}, (), ())
        assert report.map_version is None


def test_both_formats_say_the_same_and_what_was_imported(filled):
    found = written(filled)
    from_toml, from_tables = read_contracts(to_toml(found, TODAY)), read_tables(to_tables(found))
    assert from_toml == from_tables
    first, second = from_toml.offices
    assert (first.bilingual, second.bilingual) == (True, False)
    assert first.lines[0].shared_with == ("CT0002",)
    assert first.lines[0].site_option == '棚"3"\\奥、#4 = [x]'
    assert first.lines[0].router_number == "09143"
    assert first.lines[0].terminals[2].left_to_backend == ("hours", "office")
    assert (first.users[0].barred, first.users[0].procedures) == (True, ("TCC", "SYG"))


def test_no_password_is_exported_and_the_stored_ones_stay(filled, now):
    text = to_toml(written(filled), TODAY) + "".join(to_tables(written(filled)).values())
    assert "assword" not in text.replace("Passwords", "").replace("password_", "")
    assert not any(secret in text for secret in ("PASSWD01", "change-me", "one\n"))
    changed = (
        to_toml(written(filled), TODAY).replace('title = "係長"', 'title = "課長"').replace("0312345678", "0312345670")
    )
    assert take(filled, read_contracts(changed), now).updated == {"offices": 2, "contacts": 2}
    hashes = filled.read(lambda s: dict(s.execute(select(Office.code, Office.contract_password_hash)).all()))
    assert hashes == PASSWORDS


def test_one_office_is_exported_alone_and_an_unknown_one_not_at_all(filled):
    assert [office["code"] for office in written(filled, office="CT0002")["office"]] == ["CT0002"]
    assert written(filled, office="CT0003") == {"office": []}


def test_what_is_not_in_force_on_the_day_is_left_out(filled, now):
    issue(filled, now)  # from START on
    filled.run(lambda s: end_terminal(s, Change(desk=DESK, actor="os:t", now=now, effective=START), "25130M"))
    filled.run(lambda s: end_address(s, Change(desk=DESK, actor="os:t", now=now), "3a0001@smtp.ct0001.center.example"))

    def terminals(day):
        lines = written(filled, day, "CT0001")["office"][0]["line"]
        return {one["name"]: one.get("mail_addresses", []) for one in lines[0]["terminal"]}

    assert terminals(TODAY) == {"25130M": [], "27264C": [], "60777S": []}
    assert terminals(START).keys() == {"27264C", "60777S", "60000S"}
    report = take(filled, read_contracts(to_toml(written(filled), TODAY)), now)
    assert (report.map_version, report.ended) == (None, ("25130M",))  # it is to end, and stays so


def test_without_passwords_neither_an_office_nor_a_user_can_be_new(store, now):
    text = OFFICES.replace('contract_password = "change-me-at-first-login"', "").replace('password = "PASSWD01"', "")
    with pytest.raises(ContractsRefused) as refused:
        take(store, read_contracts(text), now)
    assert [(fault.place, fault.rule) for fault in refused.value.faults] == [
        ("office CT0001, contract_password", "missing"),
        ("office CT0001, user TST01, password", "missing"),
    ]
    assert store.read(lambda session: session.scalars(select(OfficeUser)).all()) == []


def test_an_office_that_shares_a_line_must_be_known(store, now):
    with pytest.raises(ContractsRefused) as refused:
        take_contracts(store, now, ODD)
    (fault,) = refused.value.faults
    assert (fault.place, fault.rule, fault.value) == ("office CT0001, line 09143, shared_with", "no_office", "CT0002")


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(filled, **changes: tuple[str, str]) -> dict[str, str]:
    found = to_tables(written(filled))
    for name, (old, new) in changes.items():
        assert old in found[name]
        found[name] = found[name].replace(old, new, 1)
    return found


def faults_of(texts: dict[str, str]) -> list[tuple[str, str, str]]:
    with pytest.raises(ContractsRefused) as refused:
        read_tables(texts)
    return [(fault.place, fault.rule, fault.value) for fault in refused.value.faults]


def test_there_is_one_table_for_each_kind_of_row(filled):
    found = to_tables(written(filled))
    assert tuple(found) == TABLE_NAMES == ("offices", "contacts", "lines", "terminals", "users")
    assert found["terminals"].splitlines()[0] == (
        "line,name,class,equipment,package,ip_address,port,codec,left_to_backend,mail_addresses"
    )
    assert found["terminals"].splitlines()[3] == (
        "09143,60777S,港湾,SMTP,,127.20.13.13,2525,cp51932,hours office,3A0001@SMTP.CT0001.CENTER.EXAMPLE"
    )


def test_passwords_may_stand_in_the_tables_that_are_imported(filled, now):
    changes = {"users": ("procedures,", "password,procedures,")}
    texts = tables(filled, **changes)
    texts["users"] = texts["users"].replace("TCC SYG", "NEWPASS1,TCC SYG").replace(",*,", ",NEWPASS2,*,")
    assert take(filled, read_tables(texts), now).updated == {"office_users": 2}


def test_a_row_may_be_blank_and_a_table_missing(filled):
    texts = tables(filled)
    del texts["users"]
    texts["contacts"] += ",,,,,,\r\n"
    first, _ = read_tables(texts).offices
    assert (first.users, len(first.contacts)) == ((), 1)


@pytest.mark.parametrize(
    ("table", "old", "new", "expected"),
    [
        ("contacts", "CT0001", "CT0009", ("contacts.csv line 2, office", "no_office", "CT0009")),
        ("terminals", "09143,27264C", "9143,27264C", ("terminals.csv line 3, line", "no_line", "9143")),
        ("lines", "office,", "office,colour,", ("lines.csv, colour", "unknown_key", "")),
        ("lines", "09144", "09143", ("office #2, line #1, router_number", "repeated",
                                     "office #1, line #1, router_number")),
        ("offices", "\r\nCT0002", "\r\nCT0001", ("office #2, code", "repeated", "office #1, code")),
        ("offices", "\r\nCT0001", "\r\n", ("office #1, code", "office_code", "")),
        ("lines", "128kbps,自社手配,平日,,false", "128kbps,自社手配,平日,,no",
         ("office CT0002, line 09144, shared_with_other_offices", "true_or_false", "no")),
        ("lines", "128kbps,自社手配,平日,,false", "128kbps,自社手配,平日,,",
         ("office CT0002, line 09144, shared_with_other_offices", "missing", "")),
        ("terminals", "2525", "x", ("office CT0001, line 09143, terminal 60777S, port", "port", "x")),
        ("terminals", "127.20.13.11", "127.20.15.11",
         ("office CT0001, line 09143, terminal 25130M, ip_address", "outside_lan", "127.20.13.0/24")),
        ("users", "TCC SYG", "", ("office CT0001, user TST01, procedures", "missing", "")),
        ("users", ",TCC SYG", ",TCC SYG,,,,,,", ("users.csv line 2", "csv", USER_COLUMNS)),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_named(filled, table, old, new, expected):
    assert expected in faults_of(tables(filled, **{table: (old, new)}))


def test_a_table_that_is_no_csv_is_named(filled):
    texts = tables(filled)
    texts["contacts"] = texts["contacts"].replace("通関　花子", '"通関　花子', 1)
    assert "csv" in [rule for _, rule, _ in faults_of(texts)]
