from pathlib import Path

import pytest

from deploy.settings import load_stack_settings
from shared.errors import SettingsError


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("PORT", "DATA_DIR", "FAMILIES", "PROFILE"):
        monkeypatch.delenv(f"IMAGEMILL_{name}", raising=False)
    monkeypatch.setenv("IMAGEMILL_MODELS_DIR", str(tmp_path))
    return monkeypatch


def test_defaults():
    settings = load_stack_settings()
    assert settings.port == 8080
    assert settings.data_dir == Path.cwd() / ".imagemill"
    assert set(settings.chosen_families()) == {
        "captioner",
        "vqa",
        "ocr",
        "translator",
        "diffuser",
        "compositor",
        "panorama",
        "panorama_trainer",
    }


def test_families_narrow_the_profile(environment):
    environment.setenv("IMAGEMILL_FAMILIES", "translator, diffuser")
    assert load_stack_settings().chosen_families() == ("translator", "diffuser")


@pytest.mark.parametrize(
    ("name", "value"), [("FAMILIES", "nonesuch"), ("PROFILE", "nonesuch"), ("PORT", "70000")]
)
def test_a_bad_value_names_its_variable(environment, name, value):
    environment.setenv(f"IMAGEMILL_{name}", value)
    with pytest.raises(SettingsError, match=f"IMAGEMILL_{name}"):
        load_stack_settings().chosen_families()


def test_the_callers_settings_are_passed_on_without_the_stacks_own(environment):
    environment.setenv("IMAGEMILL_LEASE_S", "5")
    environment.setenv("IMAGEMILL_PORT", "0")
    passed = load_stack_settings().passed_on()
    assert passed["IMAGEMILL_LEASE_S"] == "5"
    assert "IMAGEMILL_PORT" not in passed
