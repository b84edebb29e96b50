"""`python -m tests.faults.worker`: a real worker whose model process hosts a scripted family."""

import argparse
import sys

from shared.errors import ImagemillError
from shared.settings import load_settings
from workers.app import run_worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.worker")
    parser.add_argument("--family", required=True)
    parser.add_argument("--predictor", default="tests.faults.scripted:Scripted")
    arguments = parser.parse_args()
    try:
        return run_worker(
            arguments.family, "cpu", [], load_settings(), predictor=arguments.predictor
        )
    except ImagemillError as error:
        print(error.message, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
