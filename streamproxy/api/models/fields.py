"""What the fields of bodies and answers may be, and what is common to all."""

from datetime import datetime
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from streamproxy.events import EVENTS
from streamproxy.formats import urls
from streamproxy.webhooks import normalised

_UNWANTED = ("<script", "javascript:", "vbscript:")
_SWITCHES = ("0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes")


class Model(BaseModel):
    """What every body, query and answer is: fields that are not known are ignored."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="ignore")

    left_out_if_none: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that are left out of an answer where they are None."""

    @property
    def left_out(self) -> set[str]:
        """Names of fields that are left out of this answer."""
        return {name for name in self.left_out_if_none if getattr(self, name) is None}


def _http_address(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("URL cannot be empty")
    parts = urlsplit(value)
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError("URL must use HTTP or HTTPS protocol")
    if not urls.is_http(value):
        raise ValueError("URL must have a valid domain")
    if any(unwanted in value.lower() for unwanted in _UNWANTED):
        raise ValueError("URL contains potentially malicious content")
    return value


def _hook_address(value: str) -> str:
    """Write an address as it is compared with others."""
    return normalised(_http_address(value))


def _texts(value: Any) -> Any:
    """Take what m3u-proxy takes for metadata: texts, numbers and truth values, each as Python writes it."""
    if not isinstance(value, dict):
        return value
    for key, each in value.items():
        if not isinstance(each, str | int | float | bool):
            raise ValueError(f"Metadata value for key '{key}' must be a string, number, or boolean")  # noqa: TRY004
    return {str(key): str(each) for key, each in value.items()}


def _event_name(value: str) -> str:
    if value not in EVENTS:
        raise ValueError(f"there is no such event; there are {', '.join(EVENTS)}")
    return value


def _header_name(value: str) -> str:
    if not urls.is_header(value, "x"):
        raise ValueError("is no name of a request header that may be set")
    return value


def _header_value(value: str) -> str:
    if not urls.is_header("X-Any", value):
        raise ValueError("is no value of a request header")
    return value


Address = Annotated[
    str,
    StringConstraints(max_length=8192),
    AfterValidator(_http_address),
    Field(json_schema_extra={"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://[0-9A-Za-z]"}),
]
HookAddress = Annotated[
    str,
    StringConstraints(max_length=8192),
    AfterValidator(_hook_address),
    Field(json_schema_extra={"format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://[0-9A-Za-z]"}),
]
EventName = Annotated[str, AfterValidator(_event_name), Field(json_schema_extra={"enum": list(EVENTS)})]
Time = Annotated[
    datetime,
    PlainSerializer(lambda value: value.isoformat(timespec="microseconds"), return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
Metadata = Annotated[
    dict[str, str],
    BeforeValidator(_texts),
    Field(max_length=100),
    WithJsonSchema(
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, "maxProperties": 100},
        mode="validation",
    ),
]
_VALUE_OF_A_HEADER: dict[str, Any] = {
    "minLength": 1,
    "maxLength": 8000,
    "pattern": "^[^\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f\\u2028\\u2029]+$",
}
HeaderValue = Annotated[str, AfterValidator(_header_value), Field(json_schema_extra=_VALUE_OF_A_HEADER)]
Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header_name)], HeaderValue],
    Field(max_length=100),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"},
            "additionalProperties": {"type": "string", **_VALUE_OF_A_HEADER},
            "maxProperties": 100,
        },
        mode="validation",
    ),
]
Switch = Annotated[
    bool,
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": [0, 1, *_SWITCHES]}]}, mode="validation"),
]
"""On or off; also as numbers and texts that say so, which is what is left of it in some databases."""
