"""`python -m imagemill`: the command line."""

import sys

from imagemill.cli import main

if __name__ == "__main__":
    sys.exit(main())
