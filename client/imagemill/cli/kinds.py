"""One command per kind of job, as a function from its arguments to the inputs of jobs.

Where one call is one job, the parameters have the names of the input's fields and are returned
as they stand. What is not given is not sent, so that the service's default holds.
"""

import sys
from typing import Annotated

import typer

from imagemill.cli.edits import parse_edit, parse_lora
from imagemill.cli.run import Inputs, job_command
from imagemill.errors import InvalidInput

TEXTS_PER_JOB = 256

Image = Annotated[str, typer.Argument(help="A file, or a reference: file_…, s3://….")]
Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files or references.")]
Languages = Annotated[
    list[str] | None, typer.Option(metavar="LANG", help="Like arb_Arab; repeatable.")
]
OcrLanguages = Annotated[
    list[str] | None,
    typer.Option("--language", metavar="CODE", help="Of the text in it, like en; repeatable."),
]
Negative = Annotated[str | None, typer.Option("--negative", help="What shall not be seen.")]
Count = Annotated[int | None, typer.Option("-n", metavar="N", help="How many pictures.")]
Seed = Annotated[int | None, typer.Option(help="Of the first picture; the next have one more.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float | None, typer.Option(help="How closely the text is followed.")]
Scheduler = Annotated[str | None, typer.Option(metavar="NAME", help="Like euler or ddim.")]
Loras = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="NAME[=SCALE]", help="An adapter to apply; repeatable."),
]
Strength = Annotated[
    float | None, typer.Option(help="How much of the second picture is drawn anew, up to 1.")
]
Side = Annotated[int | None, typer.Option(metavar="PIXELS")]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="Settings under your own.")]


def blend(
    first: Image,
    second: Image,
    mask: Annotated[
        str | None, typer.Option(help="White where the second picture is to be drawn anew.")
    ] = None,
    translate_to: Languages = None,
    negative_prompt: Negative = None,
    n: Count = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    strength: Strength = None,
    width: Side = None,
    height: Side = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
    preset: Preset = None,
) -> Inputs:
    """Caption the first picture and redraw the second one from that caption."""
    return [{**locals(), "loras": [parse_lora(each) for each in loras or ()]}]


def generate(
    prompt: Annotated[str, typer.Argument()],
    negative_prompt: Negative = None,
    n: Count = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    width: Side = None,
    height: Side = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
) -> Inputs:
    """Draw pictures from a prompt."""
    return [{**locals(), "loras": [parse_lora(each) for each in loras or ()]}]


def composite(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE [MASK] TARGET",
            help="Files or references. The mask is white over what is pasted; without one, the "
            "source's own transparency says so.",
        ),
    ],
    x: Annotated[int | None, typer.Option(metavar="ROW", help="Its centre in the target.")] = None,
    y: Annotated[int | None, typer.Option(metavar="COLUMN", help="The same.")] = None,
    source_size: Side = None,
    target_size: Side = None,
    variant: Annotated[
        str | None, typer.Option(help="mended, paper or seed; poisson or alpha.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Loss evaluations of each pass.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, tf32 or bf16.")] = None,
    video: Annotated[bool | None, typer.Option(help="Make a video of both passes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise that it begins with.")] = None,
) -> Inputs:
    """Blend an object seamlessly into a picture."""
    fields = dict(locals())
    match fields.pop("pictures"):
        case [source, target]:
            mask = None
        case [source, mask, target]:
            pass
        case given:
            raise InvalidInput(f"expected SOURCE [MASK] TARGET: {len(given)} given")
    return [{"source": source, "mask": mask, "target": target, **fields}]


def caption(
    images: Images,
    prompt: Annotated[str | None, typer.Option(help="Words that the caption begins with.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="How long it may become.")] = None,
    translate_to: Languages = None,
) -> Inputs:
    """Say in words what pictures show."""
    fields = {"prompt": prompt, "max_tokens": max_tokens, "translate_to": translate_to}
    return [{"image": image, **fields} for image in images]


def vqa(
    image: Image,
    question: Annotated[str, typer.Argument(help="Like: what colour is the car?")],
) -> Inputs:
    """Answer a question about a picture."""
    return [locals()]


def ocr(images: Images, languages: OcrLanguages = None) -> Inputs:
    """Read the text in pictures."""
    return [{"image": image, "languages": languages} for image in images]


def translate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Texts; - is the lines of stdin.")
    ],
    source: Annotated[str | None, typer.Option(metavar="LANG", help="Like eng_Latn.")] = None,
    target: Annotated[str | None, typer.Option(metavar="LANG", help="Like arb_Arab.")] = None,
) -> Inputs:
    """Translate texts, one line each."""
    lines = [line for text in texts for line in (sys.stdin if text == "-" else [text])]
    wanted = [line.strip() for line in lines if line.strip()]
    if not wanted:
        raise InvalidInput("there is no text to translate")
    if len(wanted) == 1:
        return [{"text": wanted[0], "source": source, "target": target}]
    return [
        {"text": wanted[start : start + TEXTS_PER_JOB], "source": source, "target": target}
        for start in range(0, len(wanted), TEXTS_PER_JOB)
    ]


def reimagine(
    image: Image,
    read: Annotated[
        str | None, typer.Option(metavar="WHAT", help="caption, ocr (its text), or both.")
    ] = None,
    languages: OcrLanguages = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OP=TEXT",
            help="append=…, prepend=…, template=… with {caption}, {ocr} or {text}, "
            "replace=OLD=>NEW or regex=PATTERN=>NEW; repeatable, in order.",
        ),
    ] = None,
    translate_to: Languages = None,
    negative_prompt: Negative = None,
    n: Count = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    width: Side = None,
    height: Side = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
    preset: Preset = None,
) -> Inputs:
    """Read a picture, edit and translate the text and draw new pictures from it."""
    return [
        {
            **locals(),
            "edit": [parse_edit(each) for each in edit or ()],
            "loras": [parse_lora(each) for each in loras or ()],
        }
    ]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    for make_inputs in (
        blend,
        composite,
        generate,
        caption,
        vqa,
        ocr,
        translate,
        reimagine,
    ):
        name = make_inputs.__name__
        app.command(name.replace("_", "-"))(job_command(name, make_inputs))
