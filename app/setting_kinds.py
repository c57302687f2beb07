"""Types for settings. Each type validates a setting's value."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from app import origins
from app.secret_checks import PADDED, hs256_secret, pasted

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
AUDIT_LOG_WORDS = frozenset({"on", "off"})
_WITH_UNIT = re.compile(r"[0-9_.]+ *[A-Za-z]+")


def revealed(value: SecretStr | None) -> str | None:
    """Return a secret's text, or ``None`` if the secret is not set."""
    return None if value is None else value.get_secret_value()


def header_secret(text: str) -> str | None:
    """Return what is wrong with a secret that is sent in a header, or ``None``."""
    return pasted(text) if text.isascii() and text.isprintable() else "must be printable ASCII"


def _header(value: SecretStr | None) -> SecretStr | None:
    if value is not None and (wrong := header_secret(value.get_secret_value())) is not None:
        raise ValueError(wrong)
    return value


def _unpadded(value: SecretStr | None) -> SecretStr | None:
    """Refuse surrounding whitespace, such as the line end that ``echo`` adds."""
    if value is not None and value.get_secret_value() != value.get_secret_value().strip():
        raise ValueError(PADDED)
    return value


def _as_pasted(value: SecretStr | None) -> SecretStr | None:
    if value is not None and (wrong := pasted(value.get_secret_value())) is not None:
        raise ValueError(wrong)
    return value


def _hs256(value: SecretStr | None) -> SecretStr | None:
    if value is not None and (wrong := hs256_secret(value.get_secret_value())) is not None:
        raise ValueError(wrong)
    return value


def _origins(value: str | None) -> str | None:
    origins.parse(value)
    return value


def _number(value: Any) -> Any:
    """Refuse a number with a unit, such as ``10s``."""
    if isinstance(value, str) and _WITH_UNIT.fullmatch(value):
        raise ValueError("must be a plain number, without a unit")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _log_level(value: str) -> str:
    if value not in _LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(_LOG_LEVELS)}")
    return value


def _audit_log(value: str) -> str:
    if value.lower() in AUDIT_LOG_WORDS:
        return value.lower()
    if not Path(value).is_absolute():
        raise ValueError("must be on, off, or the absolute path of a file")
    return value


class OnOff(StrEnum):
    """A switch."""

    ON = "on"
    OFF = "off"


HeaderSecret = Annotated[SecretStr | None, AfterValidator(_header)]
Hs256Secret = Annotated[SecretStr | None, AfterValidator(_hs256)]
Secret = Annotated[SecretStr | None, AfterValidator(_as_pasted)]
Password = Annotated[SecretStr | None, AfterValidator(_unpadded)]
Number = BeforeValidator(_number)
Seconds = Annotated[float, Number, Field(gt=0, le=10_000_000)]
Port = Annotated[int, Number, Field(ge=0, le=65535)]
Count = Annotated[int, Number, Field(gt=0)]
LimitPerMinute = Annotated[int, Number, Field(ge=0, le=1_000_000_000)]
Origins = Annotated[str | None, AfterValidator(_origins)]
Lowered = BeforeValidator(_lower)
LogLevel = Annotated[str, BeforeValidator(_upper), AfterValidator(_log_level)]
AuditLog = Annotated[str, AfterValidator(_audit_log)]
