"""The settings of hosted models: the environment, prefix `IMAGEMILL_GEMINI_`."""

from typing import Literal

from pydantic import AnyHttpUrl, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import SettingsError

PREFIX = "IMAGEMILL_GEMINI_"
API_KEY = f"{PREFIX}API_KEY"


class HostedSettings(BaseSettings):
    """The key, and the address of the Gemini API (empty: the SDK's own)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    api_key: SecretStr = SecretStr("")
    url: AnyHttpUrl | Literal[""] = ""

    @field_validator("api_key", mode="after")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("a key has no spaces and no special characters")
        return SecretStr(key)


def load_hosted_settings() -> HostedSettings:
    """Read the environment. Raises SettingsError with the variable's name, not its value."""
    try:
        return HostedSettings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from None
