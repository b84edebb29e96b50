"""The kinds: how they are found, what they accept, and the steps they plan."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import shared.kinds
from shared.contracts import Priority, Step
from shared.errors import InvalidRequest
from shared.kind import MAX_SEED, MAX_TEXT, kinds
from shared.models import ModelChoice, Registry

REGISTRY = Registry.load(Path("/nonexistent"))
IMAGE = "file_1"
MINIMAL: dict[str, dict[str, Any]] = {
    "caption": {"image": IMAGE},
    "translate": {"text": "a red circle"},
    "generate": {"prompt": "a red circle"},
    "blend": {"first": IMAGE, "second": "file_2"},
    "reimagine": {"image": IMAGE},
    "ocr": {"image": IMAGE},
    "vqa": {"image": IMAGE, "question": "what is it?"},
    "composite": {"source": IMAGE, "target": "file_2"},
    "panorama": {"left": IMAGE, "right": "file_2"},
    "panorama_training": {"dataset": "file_3"},
    "panorama_evaluation": {"dataset": "file_3"},
}
DRAWING = ["generate", "blend", "reimagine"]


def plan(
    kind: str,
    profile: str = "tiny",
    chosen: dict[str, str] | None = None,
    priority: Priority = Priority.INTERACTIVE,
    **fields: Any,
) -> list[Step]:
    choice = ModelChoice(REGISTRY, profile, chosen or {}, priority)
    request = kinds()[kind].Input(**{**MINIMAL[kind], **fields})
    return kinds()[kind].plan(request, choice)


def refused(kind: str, **fields: Any) -> list[tuple[Any, ...]]:
    """Where the kind's input is found wrong."""
    with pytest.raises(ValidationError) as caught:
        kinds()[kind].Input(**{**MINIMAL[kind], **fields})
    return [error["loc"] for error in caught.value.errors()]


# Discovery


def test_every_file_is_a_kind() -> None:
    files = {module.name for module in pkgutil.iter_modules(shared.kinds.__path__)}
    assert kinds().keys() == files == MINIMAL.keys()
    for name, kind in kinds().items():
        assert kind is importlib.import_module(f"shared.kinds.{name}").KIND
        assert kind.summary.endswith(".")


def test_a_kind_is_found_by_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recaption.py").write_text(
        "from shared.kinds.caption import Caption\n"
        "class Recaption(Caption):\n    name = 'recaption'\n"
        "KIND = Recaption()\n"
    )
    monkeypatch.setattr(shared.kinds, "__path__", [*shared.kinds.__path__, str(tmp_path)])
    kinds.cache_clear()
    try:
        assert "recaption" in kinds()
    finally:
        kinds.cache_clear()


def test_image_fields_are_known() -> None:
    assert {name: kind.image_fields() for name, kind in kinds().items()} == {
        "caption": ("image",),
        "translate": (),
        "generate": (),
        "blend": ("first", "second", "mask"),
        "reimagine": ("image",),
        "ocr": ("image",),
        "vqa": ("image",),
        "composite": ("source", "mask", "target"),
        "panorama": ("left", "right"),
        "panorama_training": (),
        "panorama_evaluation": (),
    }
    datasets = {name: kind.dataset_fields() for name, kind in kinds().items()}
    assert {name: fields for name, fields in datasets.items() if fields} == {
        "panorama_training": ("dataset",),
        "panorama_evaluation": ("dataset",),
    }


# Validation


@pytest.mark.parametrize("kind", MINIMAL)
def test_unknown_and_missing_fields_are_refused(kind: str) -> None:
    assert refused(kind, colour="red") == [("colour",)]
    with pytest.raises(ValidationError) as caught:
        kinds()[kind].Input()
    assert {error["loc"] for error in caught.value.errors()} == {(f,) for f in MINIMAL[kind]}


@pytest.mark.parametrize("kind", DRAWING)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 11),
        ("n", "2"),
        ("n", 2.0),
        ("n", True),
        ("n", None),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("seed", "7"),
        ("steps", 0),
        ("steps", 1001),
        ("guidance", -0.1),
        ("guidance", 50.1),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("guidance", "7.5"),
    ],
)
def test_numbers_out_of_range_or_of_another_type_are_refused(
    kind: str, field: str, value: object
) -> None:
    assert refused(kind, **{field: value}) == [(field,)]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("caption", "image", ""),
        ("caption", "image", None),
        ("caption", "image", b"file_1"),
        ("caption", "prompt", ""),
        ("caption", "max_tokens", 0),
        ("caption", "max_tokens", 513),
        ("caption", "translate_to", "arb_Arab"),
        ("generate", "prompt", ""),
        ("generate", "prompt", "x" * (MAX_TEXT + 1)),
        ("generate", "prompt", 7),
        ("generate", "width", 7),
        ("generate", "width", 4097),
        ("generate", "height", "64"),
        ("generate", "strength", 0.5),
        ("blend", "strength", 0),
        ("blend", "strength", 1.01),
        ("blend", "translate_to", "arb_Arab"),
        ("blend", "translate_to", None),
        ("blend", "translate_to", ["arb_Arab"] * 17),
        ("generate", "scheduler", "fastest"),
        ("generate", "loras", [{"name": "a", "scale": 5}]),
        ("generate", "loras", [{"name": "a"}] * 5),
        ("blend", "mask", ""),
        ("blend", "preset", "image-text-image"),
        ("reimagine", "read", "text"),
        ("reimagine", "edit", [{"op": "append", "text": "a"}] * 17),
        ("ocr", "languages", []),
        ("ocr", "languages", ["EN"]),
        ("vqa", "question", ""),
        ("vqa", "question", "  "),
        ("vqa", "question", "x" * 10_000),
        ("translate", "source", "en"),
        ("translate", "target", "arb_arab"),
    ],
)
def test_other_wrong_values_are_refused(kind: str, field: str, value: object) -> None:
    assert {place[0] for place in refused(kind, **{field: value})} == {field}


@pytest.mark.parametrize("text", ["", [], ["a", ""], ["a"] * 257, 7, {"a": "b"}])
def test_what_is_no_text_is_not_translated(text: object) -> None:
    assert {loc[0] for loc in refused("translate", text=text)} == {"text"}


def test_a_wrong_language_is_found_by_its_place_in_the_list() -> None:
    assert refused("blend", translate_to=["arb_Arab", "arabic"]) == [("translate_to", 1)]


def test_the_limits_themselves_are_accepted() -> None:
    for kind in DRAWING:
        kinds()[kind].Input(**MINIMAL[kind], n=10, seed=MAX_SEED, steps=1000, guidance=50)
    kinds()["generate"].Input(prompt="x" * MAX_TEXT, width=8, height=4096, guidance=0)
    kinds()["translate"].Input(text=["a"] * 256)


# Seeds


@pytest.mark.parametrize("kind", DRAWING)
def test_a_seed_is_drawn_where_none_was_given(kind: str) -> None:
    request = kinds()[kind].Input(**MINIMAL[kind])
    seeds = {kinds()[kind].completed(request).seed for _ in range(5)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert kinds()[kind].Input(**kinds()[kind].completed(request).model_dump())


def test_a_language_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ValidationError, match="arb_Arab"):
        kinds()["translate"].Input(text="a", target="ar")


@pytest.mark.parametrize("seed", [0, 7, MAX_SEED])
def test_a_given_seed_is_kept(seed: int) -> None:
    request = kinds()["generate"].Input(prompt="p", seed=seed)
    assert kinds()["generate"].completed(request) == request


def test_a_kind_without_a_seed_stays_as_it_is() -> None:
    for kind in ("caption", "translate"):
        request = kinds()[kind].Input(**MINIMAL[kind])
        assert kinds()[kind].completed(request) == request


# Plans


@pytest.mark.parametrize(
    ("kind", "fields", "steps"),
    [
        ("caption", {}, [("caption", "captioner")]),
        (
            "caption",
            {"translate_to": ["arb_Arab", "fra_Latn"]},
            [("caption", "captioner"), ("translate", "translator")],
        ),
        ("translate", {}, [("translate", "translator")]),
        ("generate", {}, [("diffuse", "diffuser")]),
        ("blend", {}, [("caption", "captioner"), ("diffuse", "diffuser")]),
        (
            "blend",
            {"translate_to": ["arb_Arab"]},
            [("caption", "captioner"), ("translate", "translator"), ("diffuse", "diffuser")],
        ),
        (
            "reimagine",
            {},
            [("caption", "captioner"), ("translate", "translator"), ("diffuse", "diffuser")],
        ),
        ("reimagine", {"translate_to": []}, [("caption", "captioner"), ("diffuse", "diffuser")]),
        (
            "reimagine",
            {"read": "ocr", "translate_to": []},
            [("ocr", "ocr"), ("diffuse", "diffuser")],
        ),
        (
            "reimagine",
            {"read": "both"},
            [
                ("caption", "captioner"),
                ("ocr", "ocr"),
                ("translate", "translator"),
                ("diffuse", "diffuser"),
            ],
        ),
        ("ocr", {}, [("ocr", "ocr")]),
        ("vqa", {}, [("answer", "vqa")]),
    ],
)
def test_a_kind_plans_its_chain(
    kind: str, fields: dict[str, Any], steps: list[tuple[str, str]]
) -> None:
    planned = plan(kind, **fields)
    assert [(step.name, step.family) for step in planned] == steps
    assert {step.model for step in planned if step.family != "ocr"} <= {"tiny"}
    request = kinds()[kind].Input(**{**MINIMAL[kind], **fields})
    for step in planned:
        assert kinds()[kind].stage(request, step.name).name == step.name


def test_what_a_request_leaves_open_is_the_models_own() -> None:
    [drawn] = plan("generate")
    assert drawn.params == {
        "width": 64,
        "height": 64,
        "steps": 20,
        "guidance": 7.5,
        "task": "text-to-image",
    }
    [drawn] = plan("generate", width=96, steps=4, guidance=0)
    assert (drawn.params["width"], drawn.params["height"]) == (96, 64)
    assert (drawn.params["steps"], drawn.params["guidance"]) == (4, 0)
    [caption] = plan("caption", max_tokens=9)
    assert caption.params["max_tokens"] == 9


def test_blend_redraws_the_second_picture_at_the_models_working_size() -> None:
    drawn = plan("blend", "standard")[-1]
    assert drawn.params["task"] == "image-to-image"
    assert (drawn.params["width"], drawn.params["height"]) == (768, 512)
    assert (drawn.params["strength"], drawn.params["steps"]) == (0.75, 50)
    drawn = plan("blend", "standard", width=512)[-1]
    assert (drawn.params["width"], drawn.params["height"]) == (512, 512)
    assert plan("generate", "standard")[-1].params["width"] == 512
    assert plan("blend")[-1].params["width"] == 64


def test_what_may_differ_within_a_batch_is_no_parameter() -> None:
    one = plan("blend", seed=1, n=1)
    other = plan("blend", seed=2, n=5, first="file_9", second="file_8")
    assert [step.params for step in one] == [step.params for step in other]


def test_the_batch_class_goes_by_priority() -> None:
    assert plan("generate")[0].batch_class == 1
    assert plan("generate", priority=Priority.BULK)[0].batch_class == 8


def test_a_request_may_choose_its_models() -> None:
    steps = plan("reimagine", chosen={"captioner": "blip-base", "diffuser": "sdxl"})
    assert [step.model for step in steps] == ["blip-base", "tiny", "sdxl"]
    assert steps[0].queue(Priority.BULK) == "2-bulk.captioner.blip-base"


@pytest.mark.parametrize(
    ("chosen", "pointer"),
    [({"painter": "tiny"}, "/models/painter"), ({"diffuser": "sd9"}, "/models/diffuser")],
)
def test_an_unknown_family_or_model_is_pointed_at(chosen: dict[str, str], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan("generate", chosen=chosen)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("kind", "fields", "pointer"),
    [
        ("translate", {"target": "zul_Latn"}, "/input/target"),
        ("translate", {"source": "fra_Latn"}, "/input/source"),
        ("blend", {"translate_to": ["arb_Arab", "zul_Latn"]}, "/input/translate_to/1"),
        ("caption", {"translate_to": ["zul_Latn"]}, "/input/translate_to/0"),
        ("reimagine", {"translate_to": ["zul_Latn"]}, "/input/translate_to/0"),
    ],
)
def test_a_language_that_the_model_does_not_know_is_pointed_at(
    kind: str, fields: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InvalidRequest, match="tiny does not know the language") as caught:
        plan(kind, **fields)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
    assert plan(kind, "standard", **fields)


@pytest.mark.parametrize("languages", [["xx"], ["en", "xx"]])
def test_a_language_that_the_ocr_lacks_is_pointed_at(languages: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="rapidocr does not know the language xx") as caught:
        plan("ocr", languages=languages)
    assert caught.value.errors[0]["pointer"] == f"/input/languages/{len(languages) - 1}"


# Presets


def completed(kind: str, **fields: Any) -> tuple[Any, list[Step]]:
    """A request with its preset applied, and its plan with the preset's models."""
    request = kinds()[kind].completed(kinds()[kind].Input(**{**MINIMAL[kind], **fields}))
    models = dict(kinds()[kind].preset(request).models)
    choice = ModelChoice(REGISTRY, "tiny", models, Priority.INTERACTIVE)
    return request, kinds()[kind].plan(request, choice)


def test_a_preset_sets_models_options_and_what_the_request_leaves_open() -> None:
    request, [caption, drawn] = completed("reimagine", preset="image-text-image", seed=3)
    assert (request.steps, request.guidance, request.translate_to, request.seed) == (20, 7.0, [], 3)
    assert (caption.model, drawn.model) == ("blip-base", "sd21")
    assert caption.params["repetition_penalty"] == 1.5
    assert caption.params["bad_words"] == ["black and white"]
    assert (drawn.params["width"], drawn.params["height"]) == (512, 512)


def test_a_request_overrides_its_preset() -> None:
    request, steps = completed(
        "reimagine", preset="image-text-image", steps=5, translate_to=["fra_Latn"]
    )
    assert (request.steps, request.guidance) == (5, 7.0)
    assert [step.name for step in steps] == ["caption", "translate", "diffuse"]


@pytest.mark.parametrize("kind", ["blend", "reimagine"])
def test_every_preset_plans(kind: str) -> None:
    for name, preset in kinds()[kind].presets.items():
        _, steps = completed(kind, preset=name)
        assert preset.models.items() <= {step.family: step.model for step in steps}.items()


# Drawing


def test_a_mask_makes_it_inpainting() -> None:
    drawn = plan("blend", mask="file_3")[-1]
    assert drawn.params["task"] == "inpainting"


def test_scheduler_and_loras_are_parameters_of_the_batch(tmp_path: Path) -> None:
    [drawn] = plan("generate", "standard", scheduler="ddim", loras=[{"name": "lcm-sd15"}])
    assert drawn.params["scheduler"] == "ddim"
    assert drawn.params["loras"] == [{"name": "lcm-sd15", "scale": 1.0}]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nobody", "no such LoRA"), ("pixel-art-xl", "made for sdxl, and sd15 is not")],
)
def test_a_lora_that_does_not_fit_is_pointed_at(name: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        plan("generate", "standard", loras=[{"name": "lcm-sd15"}, {"name": name}])
    assert caught.value.errors[0]["pointer"] == "/input/loras/1/name"


def test_a_hosted_model_is_named_as_a_diffuser_and_run_by_its_own_family() -> None:
    hosted = {"diffuser": "gemini-3.1-flash-image"}
    [drawn] = plan("generate", chosen=hosted, width=512)
    assert (drawn.family, drawn.model) == ("hosted", "gemini-3.1-flash-image")
    assert drawn.params == {"task": "text-to-image", "width": 512}
    with pytest.raises(InvalidRequest, match="takes no scheduler") as caught:
        plan("generate", chosen=hosted, scheduler="ddim")
    assert caught.value.errors[0]["pointer"] == "/input/scheduler"


def test_few_step_models_have_their_own_steps_and_guidance() -> None:
    [drawn] = plan("generate", chosen={"diffuser": "sdxl-turbo"})
    assert (drawn.params["steps"], drawn.params["guidance"]) == (4, 0.0)
    assert plan("blend")[-1].params["steps"] == 50
