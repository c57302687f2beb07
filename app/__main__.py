"""``python -m app`` is ``agentgraph``."""

import sys

from app.cli import main

sys.exit(main())
