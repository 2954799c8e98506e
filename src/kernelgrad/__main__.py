"""`python -m kernelgrad` is the command `kernelgrad`."""

import sys

from kernelgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
