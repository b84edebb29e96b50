"""Settings: every field by the environment, and bad values named."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import PREFIX, Settings, load_settings

OVERRIDES: dict[str, tuple[str, object]] = {
    "ledger_url": ("redis://ledger:1/2", "redis://ledger:1/2"),
    "broker_url": ("redis://broker:1/2", "redis://broker:1/2"),
    "s3_endpoint": ("http://s3:1", "http://s3:1"),
    "s3_public_endpoint": ("https://cdn", "https://cdn"),
    "s3_input_prefixes": ("s3://a/b, s3://c/ ,", ("s3://a/b", "s3://c/")),
    "s3_output_prefixes": ("s3://a/o", ("s3://a/o",)),
    "s3_bucket": ("b", "b"),
    "s3_access_key": ("k", "k"),
    "s3_secret_key": ("s", "s"),
    "s3_region": ("eu-1", "eu-1"),
    "models_dir": ("/models", Path("/models")),
    "profile": ("standard", "standard"),
    "memory_gb": ("12.5", 12.5),
    "safety": ("block", "block"),
    "safety_threshold": ("0.5", 0.5),
    "auth": ("off", "off"),
    "max_upload_mb": ("1", 1),
    "max_batch_mb": ("3", 3),
    "max_pixels": ("2", 2),
    "dataset_gb": ("0.5", 0.5),
    "url_inputs": ("off", "off"),
    "retention_days": ("0.5", 0.5),
    "lease_s": ("0.5", 0.5),
    "max_attempts": ("4", 4),
    "step_timeout_s": ("5.5", 5.5),
    "savepoint_s": ("10", 10.0),
    "model_wait_s": ("6", 6.0),
    "admit_per_queue": ("7", 7),
    "shutdown_grace_s": ("0", 0.0),
    "watchdog_s": ("8", 8.0),
    "orphan_s": ("9", 9.0),
    "log_level": ("debug", "debug"),
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_every_setting_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OVERRIDES.keys() == Settings.model_fields.keys()
    for name, (text, value) in OVERRIDES.items():
        with monkeypatch.context() as environment:
            environment.setenv(PREFIX + name.upper(), text)
            assert getattr(load_settings(), name) == value


def test_the_defaults_fit_one_machine() -> None:
    settings = load_settings()
    assert (settings.profile, settings.auth, settings.url_inputs) == ("tiny", "off", "off")
    assert (settings.lease_s, settings.max_attempts, settings.retention_days) == (60, 3, 7)
    assert "127.0.0.1" in settings.ledger_url
    assert settings.ledger_url != settings.broker_url
    assert settings.models_dir.is_absolute()


def test_unknown_variables_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "8080")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_S", "soon"),
        ("LEASE_S", "0.4"),
        ("LEASE_S", "nan"),
        ("MAX_ATTEMPTS", "0"),
        ("MEMORY_GB", "-1"),
        ("SAFETY", "on"),
        ("SAFETY_THRESHOLD", "1.1"),
        ("MAX_ATTEMPTS", "2.5"),
        ("RETENTION_DAYS", "0"),
        ("MAX_UPLOAD_MB", "-1"),
        ("MAX_PIXELS", ""),
        ("ADMIT_PER_QUEUE", "0"),
        ("STEP_TIMEOUT_S", "0"),
        ("SHUTDOWN_GRACE_S", "-1"),
        ("AUTH", "required"),
        ("URL_INPUTS", "on"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name}: ") as caught:
        load_settings()
    assert "\n" not in caught.value.message


def test_a_bad_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}LEASE_S", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in caught.value.message


def test_clients_are_sent_to_the_public_endpoint_where_there_is_one() -> None:
    assert Settings(s3_endpoint="http://s3").public_endpoint == "http://s3"
    both = Settings(s3_endpoint="http://s3", s3_public_endpoint="https://cdn")
    assert both.public_endpoint == "https://cdn"


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert Settings(models_dir=Path("~/models")).models_dir == Path("/home/someone/models")
