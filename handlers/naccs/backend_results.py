"""Where a mail of the backend goes: one address, the terminal it names, or the registered destinations.

Pure. The destination is taken from the message and the map, never from the request that happens to be open;
what names none, or more than one, is parked (宛先管理, NACCS EDI 5: Q and Z one recipient, C third parties).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from handlers.naccs import results
from handlers.naccs.common_items import OutputCommonItems
from handlers.naccs.message import Family, MailHeaders, body_of, family
from handlers.terminals import Binding, MapView

TO_THIRD_PARTIES = "C"  # 宛管形式 EXC
_OF_A_REQUESTER = frozenset({"Q", "Z", ""})

_CONTENT_FIELD = re.compile(
    rb"^(?:content-[a-z-]+|mime-version)[ \t]*:.*(?:\n[ \t].*)*\n?", re.MULTILINE | re.IGNORECASE
)
_LINE_END = re.compile(rb"\r*\n|\r")
_ENCODINGS = frozenset({"base64", "quoted-printable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendMail:
    """A mail of the backend, taken apart. `output` is None where it is no NACCS EDI message."""

    headers: MailHeaders
    family: Family
    output: OutputCommonItems | None
    content_fields: str | None  # MIME fields to keep towards the terminal; None: those of a NACCS EDI message

    @property
    def ends_a_request(self) -> bool:
        """Whether it is the notification that its request waits for, or the last part of the inquiry result."""
        if self.output is None or self.output.message_type not in results.ENDING_TYPES:
            return False
        return self.output.message_type == results.RESULT or self.output.is_last_part

    @property
    def answers_somebody(self) -> bool:
        """Whether it belongs to a request; an output to a third party (C) or of the archives (K) need not."""
        return self.output is not None and self.output.destination_control_type in _OF_A_REQUESTER

    @property
    def output_code(self) -> str:
        """The output information code without its filling; empty for messages that have none."""
        return "" if self.output is None else self.output.output_information_code[:7].rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a recipient of the backend's mail may name beside an address of the map; both in lower case."""

    center: str
    terminals_domain: str


def read(content: bytes) -> BackendMail | str:
    """The mail taken apart, or why it cannot be passed on."""
    headers, body = body_of(content)
    kind = family(headers, body)
    header = content[: headers.body_offset]
    if kind is not Family.NACCS_EDI:
        return BackendMail(headers=headers, family=kind, output=None, content_fields=_content_fields(header))
    output = results.read_output(body)
    if output is None:
        return "the backend's mail holds no output common items"
    # Bytes pass untouched, so an encoded body stays encoded and says so.
    fields = _content_fields(header) if headers.transfer_encoding in _ENCODINGS else None
    return BackendMail(headers=headers, family=kind, output=output, content_fields=fields)


def bound_address(rcpt_to: str, names: Names, content: bytes, view: MapView, today: date) -> Binding | None:
    """The one address row a recipient stands for on that day; None where it stands for none, or for several.

    It is an address, a terminal of the terminals' domain, or the center address, where the message names its
    requester. Of a terminal with several addresses the message's own item (51/64) says which; where it does not, none
    is guessed.
    """
    key = rcpt_to.lower()
    if key == names.center:
        found = read(content)
        return None if isinstance(found, str) else _requester(found, view, today)
    local, _, domain = key.rpartition("@")
    if domain != names.terminals_domain or view.has_address(key):
        return view.binding(key, today)
    bound = view.bindings_of_terminal(local.upper(), today)
    if len(bound) <= 1:
        return bound[0] if bound else None
    found = read(content)
    if isinstance(found, str) or found.output is None:
        return None
    named = found.output.mail_address.upper()
    return next((binding for binding in bound if binding.address.upper() == named), None)


def _requester(found: BackendMail, view: MapView, today: date) -> Binding | None:
    output = found.output
    if output is None or output.destination_control_type == TO_THIRD_PARTIES:
        return None
    return view.binding(output.mail_address.lower(), today)


def third_parties(found: BackendMail, view: MapView, today: date) -> list[Binding]:
    """The registered third parties of an output of type C, each address once; none of any other."""
    output = found.output
    if output is None or output.destination_control_type != TO_THIRD_PARTIES:
        return []
    routed = view.third_parties(found.output_code, output.user_code, today)
    return list({binding.address_id: binding for binding in routed}.values())


def _content_fields(header: bytes) -> str:
    """The MIME fields of a header block as they stand, each line with CRLF."""
    fields = [match.group().rstrip(b"\r\n") for match in _CONTENT_FIELD.finditer(header)]
    return "".join(_LINE_END.sub(b"\r\n", field).decode("latin-1") + "\r\n" for field in fields)
