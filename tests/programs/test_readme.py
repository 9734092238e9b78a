"""The example of the README runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from helpers import RunScript

README = Path(__file__).parents[2] / "README.md"


def example() -> str:
    (text,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return str(text)


def test_on_three_hosts(run_script: RunScript) -> None:
    result = run_script(example(), local=3, env={"DSMPROC_PLACE": "spread"}).check()
    assert (result.lines(), result.err) == (["3000"], "")


def test_without_a_cluster(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(example())
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("3000\n", "")
