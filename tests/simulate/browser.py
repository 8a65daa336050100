"""A headless Chromium, where there is one, that tells how a page came out.

It needs no driver: a script is added to a copy of the page, and the browser prints what the page
has become.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

PROBE = """
<script id="probe">
window.addEventListener("load", () => {
  const root = document.documentElement;
  const box = (e) => (({left, top, right, bottom}) => [left, top, right, bottom])(
    e.getBoundingClientRect());
  const over = (e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1;
  const told = (e) => ({text: e.textContent, box: box(e)});
  const out = {
    width: root.clientWidth,
    scroll: root.scrollWidth,
    sections: [...document.querySelectorAll("section")].map((e) => [e.id, ...box(e)]),
    drawings: [...document.querySelectorAll("section > .wide > svg")].map((svg) => ({
      box: box(svg), texts: [...svg.querySelectorAll("text")].map(told),
    })),
    lanes: [...document.querySelectorAll("text.lane")].map(told),
    clipped: [...document.querySelectorAll("td, th, p, .numbers div, .legend li, .bars span")]
      .filter(over).map((e) => e.textContent),
    wide: [...document.querySelectorAll(".wide")].filter(over).length,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  const pre = document.createElement("pre");
  pre.id = "told";
  pre.textContent = JSON.stringify(out);
  document.body.append(pre);
});
</script>
"""


def browser() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def look(page: str, folder: Path, *, width: int = 1280, dark: bool = False) -> dict[str, Any]:
    """Return what a page looks like in a window of a width, and what the console said."""
    path = browser()
    assert path is not None
    file = folder / "page.html"
    file.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    theme = ("--blink-settings=preferredColorScheme=0",) if dark else ()
    ended = subprocess.run(
        [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", *theme,
            f"--window-size={width},900", "--dump-dom", file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    told = re.search(r'<pre id="told">(.*?)</pre>', ended.stdout, re.DOTALL)
    assert told, ended.stderr
    found: dict[str, Any] = json.loads(unescape(told[1]))
    found["console"] = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    return found
