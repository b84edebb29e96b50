"""`imagemill models list` and `imagemill workers`."""

import typer

from imagemill import Client
from imagemill.cli.run import Json
from imagemill.cli.show import print_json, print_rows

models = typer.Typer(help="The models that a job may name.")


@models.callback()
def models_group() -> None:
    """Keeps `list` a command of its own."""


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that a job may name."""
    with Client() as client:
        found = client.models()
    if as_json:
        print_json({"data": [model.raw for model in found]})
        return
    print_rows(
        ("FAMILY", "NAME", "STATE", "DEFAULT", "AVAILABLE", "LICENCE"),
        (
            (m.family, m.name, m.state, yes_or_no(m.default), yes_or_no(m.available), m.licence)
            for m in found
        ),
    )


def workers(as_json: Json = False) -> None:
    """List the live workers."""
    with Client() as client:
        found = client.workers()
    if as_json:
        print_json({"data": [worker.raw for worker in found]})
        return
    print_rows(
        ("WORKER", "FAMILY", "DEVICE", "MODELS", "BUSY", "SLOTS"),
        ((w.name, w.family, w.device, ",".join(w.models or ()), w.busy, w.slots) for w in found),
    )


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
