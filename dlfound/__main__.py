"""Run the command line: `python -m dlfound`."""

import sys

from dlfound.cli import main

sys.exit(main())
