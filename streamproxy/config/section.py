"""What sections of the configuration are made of.

Sections are frozen. A key without a value (null) stands for the default everywhere, so an empty section is a section of
defaults. Values that hold credentials (addresses and headers) are left out of every repr.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, model_validator

from streamproxy.config import values


def _distinct(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise values.mistake("must not name a header twice in different case")
    return headers


Line = Annotated[str, AfterValidator(values.one_line)]
Switch = Annotated[bool, BeforeValidator(values.truth)]
ServiceAddress = Annotated[str, AfterValidator(values.service_address)]
UserAgent = Annotated[str, AfterValidator(values.header_value)]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(values.header_name)], Annotated[str, AfterValidator(values.header_value)]],
    AfterValidator(_distinct),
]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(values.network)]


class Section(BaseModel):
    """What every section is."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    short_form: ClassVar[str | None] = None
    """The key that a bare text in place of the whole section stands for; None where there is no such thing."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form_and_nulls(cls, data: Any) -> Any:
        if data is None:
            return {}
        if isinstance(data, str) and cls.short_form is not None:
            return {cls.short_form: data}
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}
        return data


def folder_of(info: ValidationInfo) -> Path:
    """Return the folder at which relative paths start."""
    return info.context if isinstance(info.context, Path) else Path()
