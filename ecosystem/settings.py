"""Settings: the mappings of a scenario or a model card, as frozen dataclasses.

A policy's settings object is its factory: its fields are the YAML keys, its methods do the work. The classes
stand beside the code they set (``web/choice.py`` has the choice rules, ``humans/`` the human sources); they are
checked once, where YAML enters (``scenarios.py``, ``models/cards.py``), and no dict travels further.

A field whose YAML key is a Python keyword carries a trailing underscore: ``class_`` is the key ``class``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import annotated_types as at
from pydantic import BeforeValidator, Field


def yaml_key(field: str) -> str:
    """The YAML key of a dataclass field."""
    return field.rstrip("_")


class Settings:
    """Base of all settings: unknown keys are refused, and types are not guessed."""

    __pydantic_config__: ClassVar[Any] = {
        "extra": "forbid",
        "strict": True,
        "alias_generator": yaml_key,
        "allow_inf_nan": False,
    }


Count = Annotated[int, at.Ge(0), at.Le(10**9)]
Positive = Annotated[int, at.Ge(1), at.Le(10**9)]
Share = Annotated[float, at.Ge(0.0), at.Le(1.0)]
PositiveFloat = Annotated[float, at.Gt(0.0)]
NonNegative = Annotated[float, at.Ge(0.0)]
Name = Annotated[str, at.MinLen(1), at.MaxLen(60)]

# A policy is one of several settings classes, told apart by its key ``kind``.
KIND = Field(discriminator="kind")


def unless_told(kind: str) -> BeforeValidator:
    """Beside KIND: the ``kind`` of a mapping that names none, where one kind was there before the others."""
    return BeforeValidator(lambda value: {"kind": kind, **value} if isinstance(value, dict) else value)
