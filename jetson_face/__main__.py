"""`python -m jetson_face` is the command line."""

from __future__ import annotations

import sys

from jetson_face.cli import main

sys.exit(main())
