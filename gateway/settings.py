"""One frozen tree of settings: `gateway.toml`, over it the environment, under both the defaults.

An unknown key, a wrong value or a dangerous combination refuses the start with one line that names the key
(`SettingsError`). Durations are in seconds, written as a number or as text with a unit (`"30 min"`).
Passwords are hidden in `repr` and `Settings.shown`. Nothing outside this module reads the environment.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.setting_desk import DeskSection, DkimSection, DocumentsSection
from gateway.setting_destinations import BackendMode, BackendSettings, DeliverySettings, SmarthostSettings
from gateway.setting_sections import (
    CenterSettings,
    LogSettings,
    MapSettings,
    NaccsSettings,
    PortalSettings,
    PublicSettings,
    SandboxSettings,
    SecretsSettings,
    StoreSettings,
    SupportSettings,
)
from gateway.setting_values import hide_passwords, is_loopback

ENVIRONMENT_PREFIX = "NACCS_GATEWAY_"
FILE_VARIABLE = "NACCS_GATEWAY_SETTINGS"
DEFAULT_FILE = Path("gateway.toml")

THIS_HOST = (ip_network("127.0.0.1/32"), ip_network("::1/128"))


class SettingsError(ValueError):
    """The settings cannot be used; the text is one line and names every key that is at fault."""


class Settings(BaseSettings):
    """The whole tree. Made by hand it reads neither file nor environment; `load` does."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # lists are read by `read_list`, which names the key when it fails
    )

    store: StoreSettings = StoreSettings()
    public: PublicSettings = PublicSettings()
    naccs: NaccsSettings = NaccsSettings()
    portal: PortalSettings = PortalSettings()
    center: CenterSettings = Field(default_factory=CenterSettings)
    support: SupportSettings = Field(default_factory=SupportSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)
    smarthost: SmarthostSettings = Field(default_factory=SmarthostSettings)
    delivery: DeliverySettings = DeliverySettings()
    desk: DeskSection = DeskSection()
    dkim: DkimSection = DkimSection()
    documents: DocumentsSection = DocumentsSection()
    map: MapSettings = MapSettings()
    secrets: SecretsSettings = SecretsSettings()
    sandbox: SandboxSettings = SandboxSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="after")
    def _nothing_opens_off_loopback_by_omission(self) -> Self:
        # A forgotten key must not answer `00000-0000-0000` to real declarations.
        if is_loopback(self.naccs.host):
            return self
        if "mode" not in self.backend.model_fields_set:
            raise ValueError("backend.mode must be written out when naccs.host is not loopback")
        if self.backend.mode is BackendMode.SIMULATOR and not self.sandbox.enabled:
            raise ValueError("backend.mode: simulator needs sandbox.enabled = true when naccs.host is not loopback")
        return self

    @model_validator(mode="after")
    def _fill_what_another_section_decides(self) -> Self:
        portal_url = self.support.portal_url or self.portal.url
        package_url = self.support.package_url or f"{portal_url.rstrip('/')}/package"
        support = self.support.model_copy(update={"portal_url": portal_url, "package_url": package_url})
        object.__setattr__(self, "support", support)  # frozen for everybody else
        if is_loopback(self.naccs.host) and "networks" not in self.backend.model_fields_set:
            object.__setattr__(self, "backend", self.backend.model_copy(update={"networks": THIS_HOST}))
        return self

    @model_validator(mode="after")
    def _a_signature_outlives_the_notice(self) -> Self:
        if self.dkim.life <= self.delivery.notice_life:
            raise ValueError("dkim.life must be longer than delivery.notice_life, or a last attempt is signed in vain")
        return self

    def shown(self) -> dict[str, Any]:
        """The effective settings as JSON values, passwords hidden."""
        return {
            section: {key: hide_passwords(value) for key, value in keys.items()}
            for section, keys in self.model_dump(mode="json").items()
        }


def load(path: Path | None = None) -> Settings:
    """The settings of a file, with the environment over it.

    The file is `path`, else the one NACCS_GATEWAY_SETTINGS names, else `gateway.toml` if there is one here.
    """
    file = _settings_file(path)
    written: dict[str, Any] = _read_file(file) if file is not None else {}
    _refuse_unknown_variables()
    environment = EnvSettingsSource(Settings)()
    try:
        return Settings(**_merged(written, environment))
    except ValidationError as error:
        raise SettingsError(_describe(error, environment, file)) from None


def preferred_language() -> Literal["ja", "en"]:
    """The language of the locale: Japanese where it says so, else English."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "ja" if locale.startswith("ja") else "en"


def _settings_file(path: Path | None) -> Path | None:
    if path is None and os.environ.get(FILE_VARIABLE):
        path = Path(os.environ[FILE_VARIABLE])
    if path is not None:
        return path
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SettingsError(f"{file}: there is no such settings file")
    try:
        return TomlConfigSettingsSource(Settings, toml_file=file)()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from error


def _refuse_unknown_variables() -> None:
    for name in sorted(os.environ):
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or name.upper() == FILE_VARIABLE:
            continue
        section = name[len(ENVIRONMENT_PREFIX) :].lower().partition("__")[0]
        if section not in Settings.model_fields:
            raise SettingsError(f"{name}: unknown key{_suggestion(section, Settings.model_fields)}")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(under, value)
        else:
            merged[key] = value
    return merged


def _describe(error: ValidationError, environment: Mapping[str, Any], file: Path | None) -> str:
    found = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
    return "; ".join(_origin(fault["loc"], environment, file) + _sentence(fault) for fault in found)


def _origin(location: tuple[int | str, ...], environment: Any, file: Path | None) -> str:
    """The variable that holds the faulty value, else the file."""
    for part in location:
        environment = environment.get(part) if isinstance(environment, Mapping) else None
    if location and environment is not None and not isinstance(environment, Mapping):
        return f"{ENVIRONMENT_PREFIX}{'__'.join(str(part).upper() for part in location)}: "
    return f"{file}: " if file is not None else ""


def _sentence(fault: ErrorDetails) -> str:
    location, kind = fault["loc"], fault["type"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if kind == "value_error":
        reason = str(fault["ctx"]["error"])
        return f"{key}: {reason}" if len(location) > 1 else reason  # a rule over several keys names them itself
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(str(location[-1]), _keys_beside(location))}"
    if kind == "missing":
        return f"{key}: must be given"
    if kind in {"model_type", "dict_type"}:
        return f"{key}: must be a table"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, not {hide_passwords(fault['input'])!r}"


def _keys_beside(location: tuple[int | str, ...]) -> Iterable[str]:
    model: Any = Settings
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    return getattr(model, "model_fields", {})


def _suggestion(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
