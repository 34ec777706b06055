"""python -m plue_session.cli: the same as plue-session, also where the package is not installed."""

import sys

from plue_session.cli import main

sys.exit(main())
