"""The registry of models and the names of languages."""

import re
from pathlib import Path

import pytest

from shared.contracts import Priority
from shared.errors import InvalidRequest, SettingsError
from shared.languages import FLORES_200, names
from shared.models import TRAINED, ModelChoice, Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.load(tmp_path)


def choice(registry: Registry, profile: str = "tiny", **chosen: str) -> ModelChoice:
    return ModelChoice(registry, profile, chosen, Priority.INTERACTIVE)


def test_every_profile_names_models_that_there_are(registry: Registry) -> None:
    for profile, models in registry.profiles.items():
        for family, name in models.items():
            assert registry.get(family, name), f"{profile}: {family} {name}"


def test_every_model_says_where_it_is_and_what_it_may_be_used_for(registry: Registry) -> None:
    for model in registry.models.values():
        if model.name == TRAINED:  # it stands for others
            continue
        sources = [model.repo, model.file, model.path, model.package, model.made_of or None]
        assert sources.count(None) == 4
        assert model.licence != "unknown"
        assert model.memory_gb > 0 or model.family in ("lora", "hosted")
        fetched = [each.repo or each.weights for each in (model, *model.made_of)]
        assert (model.download_gb > 0) == any(fetched)
        if model.family == "translator":
            assert set(model.sources + model.targets) <= set(FLORES_200)


def test_flores_200_stands_for_all_its_languages(registry: Registry) -> None:
    model = registry.models["translator", "nllb-200-distilled-600m"]
    assert len(model.targets) == len(set(model.targets)) == 202
    assert registry.models["translator", "tiny"].targets == ("arb_Arab", "fra_Latn")


def test_languages_are_checked_against_the_model(registry: Registry) -> None:
    choice(registry, "standard").check_target("translator", "zul_Latn", "/input/target")
    with pytest.raises(InvalidRequest, match="tiny does not know the language zul_Latn"):
        choice(registry).check_target("translator", "zul_Latn", "/input/target")


def test_defaults_stand_under_what_is_asked(registry: Registry) -> None:
    step = choice(registry, "standard").step(
        "diffuse", "diffuser", kind="blend", steps=7, width=None
    )
    assert step.params == {"width": 768, "height": 512, "steps": 7}
    step = choice(registry, captioner="git-large-coco").step("caption", "captioner", max_tokens=5)
    assert step.params == {"max_length": 50, "num_beams": 4, "max_tokens": 5}


def test_a_registry_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        """
[diffuser.mine]
path = "/models/mine"
[captioner.tiny]
repo = "me/other"
revision = "v2"
"""
    )
    registry = Registry.load(tmp_path)
    assert registry.models["diffuser", "mine"].path == "/models/mine"
    assert registry.models["captioner", "tiny"].revision == "v2"
    assert registry.models["diffuser", "tiny"].path == "tiny/diffuser"


@pytest.mark.parametrize("text", ["[diffuser.x]\nsize = 3", "[diffuser", "diffuser = 3"])
def test_a_bad_registry_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"models\.toml"):
        Registry.load(tmp_path)


def test_the_codes_are_languages_and_scripts() -> None:
    assert len(set(FLORES_200)) == 202
    assert all(re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", code) for code in FLORES_200)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("arb_Arab", ("arb_Arab", "arb", "ara", "ar")),
        ("fra_Latn", ("fra_Latn", "fra", "fr")),
        ("nob_Latn", ("nob_Latn", "nob", "nb", "nor", "no")),
        ("kab_Latn", ("kab_Latn", "kab")),
        ("zho_Hans", ("zho_Hans", "cmn_Hans", "zh_CN", "zho", "zh")),
        ("swh_Latn", ("swh_Latn", "swh", "swa", "sw")),
    ],
)
def test_names_of_a_language(code: str, expected: tuple[str, ...]) -> None:
    assert names(code) == expected


def test_a_model_is_put_together_from_networks_that_there_are(tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text(
        """
[compositor.mine]
networks = ["vgg16", "mine"]
optional = ["vgg19"]
[network.mine]
path = "/networks/mine"
base = "resnet50"
[network.vgg16]
path = "/networks/vgg16"
"""
    )
    registry = Registry.load(tmp_path)
    for name, path in (("mine", "/networks/mine"), ("imagenet", None)):
        vgg16, resnet50 = registry.models["compositor", name].made_of
        assert (vgg16.path, resnet50.path) == ("/networks/vgg16", path)
    assert [each.name for each in registry.models["compositor", "mine"].may_use] == ["vgg19"]
    assert "compositor" in registry.families
    assert "network" not in registry.families
    for field in ("networks", "optional"):
        own.write_text(f'[compositor.mine]\n{field} = ["nowhere"]\n')
        with pytest.raises(SettingsError, match="mine: no network is called nowhere"):
            Registry.load(tmp_path)
