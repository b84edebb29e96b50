"""`python -m workers`: run a worker, or fetch models, or take in a file of one.

python -m workers --family diffuser --device cuda:0 --models sd15,sdxl
python -m workers --family panorama_trainer --device cuda:1,cuda:2
python -m workers models pull sd15
python -m workers models pull --profile standard
python -m workers models import vgg16-397923af.pth --as vgg16
"""

import argparse
import re
import sys
from pathlib import Path

from shared.errors import ImagemillError
from shared.settings import Settings, load_settings


def device(text: str) -> str:
    if not re.fullmatch(r"cpu(,cpu)*|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda, cuda:N or cuda:N,cuda:M")
    gpus = [each for each in text.split(",") if each != "cpu"]
    if len(set(gpus)) < len(gpus):
        raise argparse.ArgumentTypeError(f"{text!r} names a device twice")
    return text


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m workers", description="Run one worker.")
    top.add_argument("--family", help="the model family that it hosts")
    top.add_argument(
        "--device",
        type=device,
        default="cpu",
        help="cpu, cuda, cuda:N; of a trainer also several: cuda:0,cuda:1",
    )
    top.add_argument(
        "--models", type=names, default=[], help="names or checkpoint folders (default: profile)"
    )
    commands = top.add_subparsers(dest="command")
    models = commands.add_parser("models", help="the models on this machine")
    actions = models.add_subparsers(dest="action", required=True)
    pull = actions.add_parser("pull", help="fetch models into MODELS_DIR and lock their commits")
    pull.add_argument("names", nargs="*", metavar="NAME")
    pull.add_argument("--profile", help="every model of this profile")
    pull.add_argument(
        "--languages", type=names, default=["en"], help="of an OCR that has weights for each: en,ar"
    )
    pull.add_argument("--update", action="store_true", help="resolve the newest commit again")
    bring = actions.add_parser("import", help="take a file of weights into MODELS_DIR")
    bring.add_argument("file", type=Path, metavar="FILE", help="safetensors, .pth, .pt or .h5")
    bring.add_argument("--as", dest="name", required=True, help="the model's name")
    bring.add_argument("--family", dest="of", help="where several families have the name")
    return top


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.command == "models" and arguments.action == "import":
        from workers.model_import import import_file

        import_file(arguments.file, arguments.name, arguments.of, settings.models_dir)
        return 0
    if arguments.command == "models":
        from workers.pull import pull

        pull(
            arguments.names,
            arguments.profile,
            settings.models_dir,
            update=arguments.update,
            languages=arguments.languages,
        )
        return 0
    from workers.app import run_worker

    return run_worker(arguments.family, arguments.device, arguments.models, settings)


def main() -> int:
    top = parser()
    arguments = top.parse_args()
    if arguments.command is None and not arguments.family:
        top.error("--family is required")
    try:
        return run(arguments, load_settings())
    except ImagemillError as error:
        print(f"{top.prog}: {error.message}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
