"""Which keys may stand where, read from the schema's types: for the environment's names and for suggestions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from streamproxy.config.node import KeyPath
from streamproxy.config.schema import Config


@dataclass(frozen=True, slots=True)
class Kind:
    """What the schema wants at one place.

    Attributes:
        annotation: A section's class, `tuple[X, ...]`, `dict[str, X]`, or the type of a single value.
        secret: What stands there must never be shown.
    """

    annotation: Any
    secret: bool = False

    @property
    def fields(self) -> Mapping[str, FieldInfo]:
        """The keys of a section; empty for anything else."""
        model = self.annotation
        return model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}

    @property
    def short_form(self) -> str | None:
        """The key that a single value in place of this section stands for; None where there is no such thing."""
        return self.annotation.short_form if self.fields else None

    @property
    def is_list(self) -> bool:
        """Whether there are indexes below."""
        return get_origin(self.annotation) is tuple

    @property
    def is_map(self) -> bool:
        """Whether any key may stand below."""
        return get_origin(self.annotation) is dict

    @property
    def is_single(self) -> bool:
        """Whether a single value stands here, and nothing below."""
        return not (self.fields or self.is_list or self.is_map)

    def child(self, part: str | int) -> "Kind | None":
        """Return what is wanted one step below; None where nothing may stand."""
        if isinstance(part, int):
            return Kind(get_args(self.annotation)[0], self.secret) if self.is_list else None
        if self.is_map:
            return Kind(get_args(self.annotation)[1], self.secret)
        field = self.fields.get(part)
        return None if field is None else Kind(field.annotation, self.secret or not field.repr)


ROOT = Kind(Config)


def kind_at(path: KeyPath) -> Kind | None:
    """Return what the schema wants at a path; None where nothing may stand."""
    kind: Kind | None = ROOT
    for part in path:
        kind = kind.child(part) if kind else None
    return kind
