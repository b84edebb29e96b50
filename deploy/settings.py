"""The settings of `make up`, on top of those of its parts."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import NoDecode

from shared.errors import SettingsError
from shared.models import Registry
from shared.settings import PREFIX, Settings

OWN = ("PORT", "DATA_DIR", "FAMILIES")


class StackSettings(Settings):
    port: int = Field(default=8080, ge=0, le=65535)  # 0 = any free one
    data_dir: Path = Path(".imagemill")
    families: Annotated[tuple[str, ...], NoDecode] = ()  # empty = all of the profile

    @field_validator("families", mode="before")
    @classmethod
    def _split_families(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("data_dir", mode="after")
    @classmethod
    def _resolve(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    def chosen_families(self) -> tuple[str, ...]:
        """The families to start a worker for. Raises SettingsError."""
        registry = Registry.load(self.models_dir)
        profile = registry.profile(self.profile)
        for family in self.families:
            if family not in registry.families:
                raise SettingsError(f"{PREFIX}FAMILIES: no such family: {family}")
        return self.families or tuple(profile)

    def passed_on(self) -> dict[str, str]:
        """The caller's settings that a process joining the stack should have as well."""
        own = {PREFIX + name for name in OWN}
        return {
            name: value
            for name, value in os.environ.items()
            if name.startswith(PREFIX) and name not in own
        }


def load_stack_settings() -> StackSettings:
    """Read the environment; a bad value raises SettingsError with the variable's name."""
    try:
        return StackSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None
