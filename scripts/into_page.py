#!/usr/bin/env python3
"""Puts a measurement into a page: `into_page.py PAGE NAME`, the measurement on standard input.

It takes the place of what lies between `<!-- NAME: … -->` and `<!-- end of NAME -->`.
"""

import re
import sys
from pathlib import Path

page, name = Path(sys.argv[1]), re.escape(sys.argv[2])
between = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
measured = sys.stdin.read().strip()
text, found = between.subn(
    lambda marks: f"{marks[1]}\n{measured}\n\n{marks[2]}", page.read_text(encoding="utf-8")
)
if found != 1:
    sys.exit(f"{page}: {found} places for {sys.argv[2]}, and not one")
if not measured:
    sys.exit("nothing was measured")
page.write_text(text, encoding="utf-8")
