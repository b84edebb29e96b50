"""`imagemill panorama`: one wide picture of two; and models for that, trained and evaluated.

The functions are as those in `kinds.py`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from typer.core import TyperGroup

from imagemill.cli.kinds import Image
from imagemill.cli.run import Inputs, job_command

Dataset = Annotated[
    str, typer.Argument(help="A zip, tar or tar.gz of pictures, or file_…, s3://bucket/prefix/.")
]
Pairing = Annotated[str | None, typer.Option(help="Of different pictures: lpips or random.")]
Seed = Annotated[int | None, typer.Option(help="Of all that is left to chance.")]


def blend(
    left: Image,
    right: Image,
    both_orders: Annotated[
        bool | None, typer.Option(help="Draw what lies between right and left too.")
    ] = None,
    full_height: Annotated[
        bool | None, typer.Option(help="Put the whole pictures beside the middle, at their size.")
    ] = None,
) -> Inputs:
    """Make one wide picture of two, with a generated middle; the word blend may be left out."""
    return [locals()]


def train(
    dataset: Dataset,
    stage: Annotated[str | None, typer.Option(help="reconstruction, then finetune.")] = None,
    start_from: Annotated[str | None, typer.Option(metavar="NAME", help="A model.")] = None,
    name: Annotated[str | None, typer.Option(help="What the new model is called.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Times that each picture is seen.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples of a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the generator.")] = None,
    discriminator_share: Annotated[
        float | None, typer.Option(help="Of that, for the discriminator.")
    ] = None,
    pairing: Pairing = None,
    held_out: Annotated[
        int | None, typer.Option(help="Pictures to measure and show, not to train on.")
    ] = None,
    recompute: Annotated[bool | None, typer.Option(help="Trade time for less memory.")] = None,
    seed: Seed = None,
) -> Inputs:
    """Train a model for panoramas on your pictures."""
    return [locals()]


def evaluate(
    dataset: Dataset,
    both_orders: Annotated[
        bool | None, typer.Option(help="Draw what lies between right and left too.")
    ] = None,
    pairing: Pairing = None,
    seed: Seed = None,
) -> Inputs:
    """Measure a model (--model panorama=NAME) on pictures that it was not trained on."""
    return [locals()]


COMMANDS: Mapping[str, Callable[..., Inputs]] = {  # by the kind of job
    "panorama": blend,
    "panorama_training": train,
    "panorama_evaluation": evaluate,
}


class BlendUnlessNamed(TyperGroup):
    """`blend` is what is meant where no command is named."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not args or args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = [blend.__name__, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=BlendUnlessNamed, help="Make panoramas, and models for them.")
for kind, make_inputs in COMMANDS.items():
    app.command(make_inputs.__name__)(job_command(kind, make_inputs))
