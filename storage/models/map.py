"""The map: offices, lines, logical terminals and mail addresses, effective-dated in JST days.

A row applies on a day d when effective_from <= d and (effective_until is null or d < effective_until).
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.columns import Base, Instant, Key, KeyType, UtcTimestamp


class Office(Base):
    """A contracting office (事業所) with its system administrator (システム管理責任者)."""

    __tablename__ = "offices"

    id: Mapped[Key]
    code: Mapped[str] = mapped_column(String(8), unique=True)  # 事業所コード
    company_name: Mapped[str] = mapped_column(String(200))
    company_abbreviation: Mapped[str] = mapped_column(String(40), default="")
    name: Mapped[str] = mapped_column(String(200))
    system_class: Mapped[str] = mapped_column(String(20), default="")
    customs_office: Mapped[str] = mapped_column(String(40), default="")
    billing_code: Mapped[str] = mapped_column(String(20), default="")
    contract_password_hash: Mapped[str] = mapped_column(String(200), default="")
    administrator_name: Mapped[str] = mapped_column(String(80), default="")
    administrator_kana: Mapped[str] = mapped_column(String(80), default="")
    administrator_department: Mapped[str] = mapped_column(String(80), default="")
    administrator_title: Mapped[str] = mapped_column(String(80), default="")
    administrator_phone: Mapped[str] = mapped_column(String(20), default="")
    administrator_fax: Mapped[str] = mapped_column(String(20), default="")
    administrator_email: Mapped[str] = mapped_column(String(320), default="")
    bilingual: Mapped[bool] = mapped_column(default=False, server_default=false())  # its mails in English too

    contacts: Mapped[list[Contact]] = relationship(back_populates="office")
    lines: Mapped[list[Line]] = relationship(back_populates="office")


class Contact(Base):
    """A person who may send application mails for an office (申込担当者 on the register)."""

    __tablename__ = "contacts"
    __table_args__ = (UniqueConstraint("office_id", "email"),)

    id: Mapped[Key]
    office_id: Mapped[int] = mapped_column(KeyType, ForeignKey("offices.id"))
    name: Mapped[str] = mapped_column(String(80))
    kana: Mapped[str] = mapped_column(String(80), default="")
    department: Mapped[str] = mapped_column(String(80), default="")
    title: Mapped[str] = mapped_column(String(80), default="")
    phone: Mapped[str] = mapped_column(String(20), default="")
    email: Mapped[str] = mapped_column(String(320))

    office: Mapped[Office] = relationship(back_populates="contacts")


class Line(Base):
    """A leased line (回線) behind one router; its LAN subnet is where terminals get their IP addresses."""

    __tablename__ = "lines"

    id: Mapped[Key]
    office_id: Mapped[int] = mapped_column(KeyType, ForeignKey("offices.id"))
    router_number: Mapped[str] = mapped_column(String(10), unique=True)  # text: a leading zero counts
    line_class: Mapped[str] = mapped_column(String(20), default="")
    connection: Mapped[str] = mapped_column(String(20), default="")
    edifact: Mapped[bool] = mapped_column(default=False)
    line_type: Mapped[str] = mapped_column(String(20), default="")
    access_speed: Mapped[str] = mapped_column(String(20), default="")
    wiring: Mapped[str] = mapped_column(String(20), default="")
    maintenance_hours: Mapped[str] = mapped_column(String(20), default="")
    site_option: Mapped[str] = mapped_column(String(200), default="")
    shared_with_other_offices: Mapped[bool] = mapped_column(default=False)
    lan_subnet: Mapped[str] = mapped_column(String(64))
    spare_router: Mapped[bool] = mapped_column(default=False)
    shared_with: Mapped[str] = mapped_column(Text, default="", server_default="")  # office codes, by a space
    effective_from: Mapped[date | None] = mapped_column()  # null: since ever
    effective_until: Mapped[date | None] = mapped_column()
    application_id: Mapped[int | None] = mapped_column(KeyType)  # the application that added it

    office: Mapped[Office] = relationship(back_populates="lines")
    terminals: Mapped[list[LogicalTerminal]] = relationship(back_populates="line")


class LogicalTerminal(Base):
    """A logical terminal (論理端末): the name NACCS knows a user's machine by. A name is never reissued."""

    __tablename__ = "logical_terminals"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(6), unique=True)
    line_id: Mapped[int] = mapped_column(KeyType, ForeignKey("lines.id"), index=True)
    terminal_class: Mapped[str] = mapped_column(String(20), default="")
    equipment: Mapped[str] = mapped_column(String(20))  # 利用機器区分
    package: Mapped[str] = mapped_column(String(20), default="")  # パッケージソフト区分
    ip_address: Mapped[str | None] = mapped_column(String(64))  # LAN側IPアドレス
    port: Mapped[int | None] = mapped_column()  # null: naccs.terminal_port
    codec: Mapped[str] = mapped_column(String(20), default="euc_jp")
    # Eligibility checks that the gateway does not make, separated by a space.
    left_to_backend: Mapped[str] = mapped_column(Text, default="", server_default="")
    effective_from: Mapped[date] = mapped_column()
    effective_until: Mapped[date | None] = mapped_column()
    application_id: Mapped[int | None] = mapped_column(KeyType)  # the application that issued it
    ended_by: Mapped[int | None] = mapped_column(KeyType)  # the application that ended it
    checked_at: Mapped[datetime | None] = mapped_column(UtcTimestamp)  # its first normal TCC

    line: Mapped[Line] = relationship(back_populates="terminals")
    mail_addresses: Mapped[list[MailAddress]] = relationship(back_populates="terminal")


class MailAddress(Base):
    """An SMTP mail address (SMTPメールアドレス) of a logical terminal. Reissued, it is another row."""

    __tablename__ = "mail_addresses"
    __table_args__ = (Index("ix_mail_addresses_address_key", "address_key"),)

    id: Mapped[Key]
    address: Mapped[str] = mapped_column(String(320))  # as registered, upper-case
    address_key: Mapped[str] = mapped_column(String(320))  # lower-case: what look-ups compare
    terminal_id: Mapped[int] = mapped_column(KeyType, ForeignKey("logical_terminals.id"), index=True)
    effective_from: Mapped[date] = mapped_column()
    effective_until: Mapped[date | None] = mapped_column()
    application_id: Mapped[int | None] = mapped_column(KeyType)  # the application that issued it
    ended_by: Mapped[int | None] = mapped_column(KeyType)  # the application that ended it

    terminal: Mapped[LogicalTerminal] = relationship(back_populates="mail_addresses")


class Reservation(Base):
    """An IP or mail address that is taken, or rests after use until `rests_until`; one row a value."""

    __tablename__ = "reservations"

    kind: Mapped[str] = mapped_column(String(12), primary_key=True)  # ip | mail_address
    value: Mapped[str] = mapped_column(String(320), primary_key=True)
    holder_id: Mapped[int] = mapped_column(KeyType)  # the terminal or mail-address row
    rests_until: Mapped[date | None] = mapped_column()


class OfficeUser(Base):
    """A user code (利用者コード) with its identification number (識別番号), as EDI messages name them."""

    __tablename__ = "office_users"
    __table_args__ = (UniqueConstraint("code", "identification_number"),)

    id: Mapped[Key]
    office_id: Mapped[int] = mapped_column(KeyType, ForeignKey("offices.id"), index=True)
    code: Mapped[str] = mapped_column(String(5))
    identification_number: Mapped[str] = mapped_column(String(3))
    password_mac: Mapped[bytes] = mapped_column(LargeBinary(32))  # HMAC-SHA-256 under a key outside the store
    procedures: Mapped[str] = mapped_column(Text, default="*")  # codes separated by a space; * = all
    # "08:30-19:00" JST; "" = the centre's.
    service_hours: Mapped[str] = mapped_column(String(11), default="", server_default="")
    barred: Mapped[bool] = mapped_column(default=False, server_default=false())


class OutputDestination(Base):
    """A third party's mail address that gets each output of one code (宛先管理, EXC), in JST days.

    With a user code, only outputs of that user's requests.
    """

    __tablename__ = "output_destinations"
    __table_args__ = (Index("ix_output_destinations_address_id", "address_id"),)

    id: Mapped[Key]
    output_code: Mapped[str] = mapped_column(String(7))  # output information code, without its filling
    user_code: Mapped[str] = mapped_column(String(5), default="")  # "" = every user's
    address_id: Mapped[int] = mapped_column(KeyType, ForeignKey("mail_addresses.id"))
    effective_from: Mapped[date] = mapped_column()
    effective_until: Mapped[date | None] = mapped_column()


class MapVersion(Base):
    """The one row every map change updates first, and every decision made on the map is checked against."""

    __tablename__ = "map_version"

    id: Mapped[Key]  # always 1
    version: Mapped[int] = mapped_column(KeyType, default=0)
    changed_at: Mapped[Instant]
