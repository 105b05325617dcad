"""The Python of README and of the pages that Sphinx does not run. Each page runs in its own process and folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): "\n".join(blocks)
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if (blocks := re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path):
    script = tmp_path / "page.py"
    script.write_text(PAGES[page], encoding="utf-8")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
