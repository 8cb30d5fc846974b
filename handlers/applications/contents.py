"""A checked application as one value: what stands in the register, in JSON and in every mail about it.

Keys are English and part of the contract with the store: an application of last year is still read by
`ApplicationContents.from_json`. Values are what the applicant wrote, unfolded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import cache

from pydantic import BaseModel, ConfigDict

from handlers.applications.form_layout import read_data
from handlers.applications.items import Item, all_items


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApplicationClass(StrEnum):
    """申込分類, as the form writes it."""

    NEW = "新規申込"
    CHANGE = "変更申込"

    @property
    def short(self) -> str:
        """As the case view shows it: 新規 or 変更."""
        return self.value.removesuffix("申込")


class LineAction(StrEnum):
    """申込内容 of a line."""

    ADD = "追加"
    CHANGE = "変更"
    CANCEL = "廃止"


class Person(_Model):
    """Somebody to reach. 姓 and 名 are kept apart; `name` joins them as mails write it."""

    family_name: str
    given_name: str
    family_kana: str
    given_kana: str
    department: str | None = None
    phone: str
    fax: str | None = None

    @property
    def name(self) -> str:
        return f"{self.family_name}　{self.given_name}"

    @property
    def kana(self) -> str:
        return f"{self.family_kana}　{self.given_kana}"


class Applicant(Person):
    """申込担当者. `email` is the notice address of this application, not a registered contact."""

    title: str | None = None
    email: str


class Attendant(_Model):
    """工事立会者: the work contact, or somebody else."""

    same_as_contact: bool
    person: Person | None = None


LINE_COLUMNS = (
    "line_class", "connection", "edifact", "line_type", "access_speed", "wiring", "maintenance_hours", "site_option",
    "shared_with_other_offices",
)  # fmt: skip
_NEEDED = "要"
_YES = "あり"


class ItemChange(_Model):
    """An item without a screen of its own (変更前, 変更後), by its code."""

    code: str
    before: str
    after: str


class LineChange(_Model):
    """What is asked of one line (one 【回線・論理端末】). Counts are numbers to add; None: not given.

    A line that is added has no router number yet. Its columns, 区分 to 他事業所と共用, are what is new of it: all of
    them for a line that is added, those that change for one that exists; the words are those of the form.
    `construction_date_given` keeps what the form said where `construction_date` was replaced.
    `addresses_of_new_servers` has one number for each new SMTP server, extras on the first.
    """

    router_number: str
    action: LineAction
    construction_date: date
    construction_date_given: date
    line_class: str | None = None
    connection: str | None = None
    edifact: str | None = None
    line_type: str | None = None
    access_speed: str | None = None
    wiring: str | None = None
    maintenance_hours: str | None = None
    site_option: str | None = None
    shared_with_other_offices: str | None = None
    interactive_terminals: int | None = None
    gateway_servers: int | None = None
    smtp_servers: int | None = None
    mail_addresses: int | None = None
    addresses_of_new_servers: tuple[int, ...] = ()
    target_terminal: str | None = None
    terminals_to_delete: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, str]:
        """The columns that were given, by their key."""
        return {key: value for key in LINE_COLUMNS if (value := getattr(self, key)) is not None}

    @property
    def has_line_work(self) -> bool:
        """Whether more than terminals changes: the date of work is then a wish of its own."""
        return self.action is not LineAction.CHANGE or bool(self.columns)

    @property
    def needs_edifact(self) -> bool | None:
        """EDIFACTの要否; None when it was not given."""
        return None if self.edifact is None else self.edifact == _NEEDED

    @property
    def is_shared(self) -> bool | None:
        """他事業所と共用; None when it was not given."""
        return None if self.shared_with_other_offices is None else self.shared_with_other_offices == _YES

    @property
    def adds_terminals(self) -> bool:
        """Whether terminals are new on it."""
        return any((self.interactive_terminals, self.gateway_servers, self.smtp_servers))

    @property
    def addresses_for_target(self) -> int:
        """How many addresses `target_terminal`, which exists, gets: all of them when no server is new."""
        return 0 if self.smtp_servers else self.mail_addresses or 0


class ApplicationFile(_Model):
    """A file that belongs to the application; its bytes stay with the mail."""

    name: str
    size: int


class ApplicationWarning(_Model):
    """Something the applicant and the reviewer should see about an application that was accepted."""

    code: str
    text_ja: str
    text_en: str


class ApplicationContents(_Model):
    """The whole application. `items` are item codes (data/items.toml)."""

    application_class: ApplicationClass
    office_code: str
    items: tuple[str, ...]
    other_items: tuple[str, ...] = ()
    item_changes: tuple[ItemChange, ...] = ()
    desired_start_date: date
    reason: str
    applicant: Applicant
    lines: tuple[LineChange, ...] = ()
    diagram: ApplicationFile | None = None
    work_contact: Person | None = None
    attendant: Attendant | None = None
    work_remarks: str | None = None
    remarks: str | None = None
    files: tuple[ApplicationFile, ...] = ()
    warnings: tuple[ApplicationWarning, ...] = ()

    @property
    def chosen_items(self) -> tuple[Item, ...]:
        """The items in the order written, ordinary ones first."""
        return tuple(all_items()[code] for code in (*self.items, *self.other_items))

    @property
    def needs_system_settings(self) -> bool:
        """Whether an application for system settings has to follow, with its deadline."""
        return any(item.settings for item in self.chosen_items)

    @property
    def adds_terminals(self) -> bool:
        """Whether terminals are new, which get passwords and access keys."""
        return any(line.adds_terminals for line in self.lines)

    @property
    def needs_inquiry(self) -> bool:
        """Whether the center wants to be asked before: every other item but 契約解除・事業所廃止."""
        return any(item.inquiry for item in self.chosen_items)

    def to_json(self) -> str:
        """The application as JSON with keys in the order of the model; equal applications give equal text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> ApplicationContents:
        """The application that `to_json` wrote; ValueError (pydantic's) when it is none."""
        return cls.model_validate_json(text)


def warning(code: str, **names: str) -> ApplicationWarning:
    """The warning `code` of data/warnings.toml with its blanks filled."""
    words = _warning_words()[code]
    return ApplicationWarning(code=code, text_ja=words["ja"].format_map(names), text_en=words["en"].format_map(names))


@cache
def _warning_words() -> Mapping[str, Mapping[str, str]]:
    return read_data("warnings.toml")
