"""`python -m bench.bulk.worker`: a worker whose model notes when it is at work."""

import argparse
import sys

from shared.settings import load_settings
from workers.app import run_worker

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.bulk.worker")
    parser.add_argument("--family", required=True)
    parser.add_argument("--device", required=True)
    asked = parser.parse_args()
    sys.exit(
        run_worker(
            asked.family, asked.device, [], load_settings(), predictor="bench.bulk.devices:Timed"
        )
    )
