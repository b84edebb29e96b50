"""The settings of `make up`, on top of those of its parts."""

import os
from pathlib import Path

from pydantic import Field, field_validator

from shared.errors import SettingsError
from shared.models import Registry
from shared.settings import PREFIX, Settings, Words, load

OWN = ("PORT", "DATA_DIR", "FAMILIES")


class StackSettings(Settings):
    port: int = Field(default=8080, ge=0, le=65535)  # 0 = any free one
    data_dir: Path = Path(".imagemill")
    families: Words = ()  # empty = all of the profile

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
    """Read the environment. Raises SettingsError."""
    return load(StackSettings)
