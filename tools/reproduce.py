"""Run the pruning methods on the same network and data: tools/reproduce.py --help."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from reproducing.main import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
