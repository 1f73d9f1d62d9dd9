"""Make docs/demo.svg, the picture in the README: run `kv demo` and draw what it printed.

    python docs/make_picture.py            # runs the demo
    kv demo | python docs/make_picture.py - # draws what comes on standard input

Numbers of ports differ from run to run; everything else in the picture is what the demo printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).parent / "demo.svg"
WIDTH = 108
# Rich's own template loads a font from elsewhere; a picture must not.
_FONT_FACE = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def styled(line: str) -> Text:
    """A line of the demo: step titles stand out, commands look like commands, the rest is plain."""
    text = Text(line)
    if re.match(r"\d+\. ", line):
        text.stylize("bold cyan")
    elif line.lstrip().startswith("$ "):
        text.stylize("green")
    elif "conflict" in line or "dead" in line or "cut" in line:
        text.stylize("yellow")
    return text


def draw(printed: str) -> str:
    """The demo's output as an SVG document without references to the outside."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    for line in printed.strip().splitlines():
        console.print(styled(line), overflow="fold", highlight=False)
    svg = console.export_svg(title="make demo", theme=MONOKAI, unique_id="demo")
    return _FONT_FACE.sub("", svg).replace("Fira Code", "ui-monospace")


def main() -> None:
    """Run the demo, or take what it printed from standard input."""
    if sys.argv[1:] == ["-"]:
        printed = sys.stdin.read()
    else:
        run = subprocess.run(
            [sys.executable, "-m", "kvnode", "demo", "--simulated"], check=True, text=True, stdout=subprocess.PIPE
        )
        printed = run.stdout
    PICTURE.write_text("\n".join(line.rstrip() for line in draw(printed).splitlines()) + "\n")
    print(f"wrote {PICTURE.name}, {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
