"""One rank under torchrun: ``rank.py TELL RANK PHASE STEP WHAT train ...`` writes its process id into TELL-RANK and
lets the rank of this number go wrong.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llmtrain.cli.main import main
from torture.hooks import fault_at

if __name__ == "__main__":
    tell, rank, phase, step, what, *arguments = sys.argv[1:]
    Path(f"{tell}-{os.environ['RANK']}").write_text(str(os.getpid()), encoding="utf-8")
    if os.environ["RANK"] == rank:
        fault_at(phase, int(step), what)
    sys.exit(main(arguments, program=True))
