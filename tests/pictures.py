"""Pictures for the documentation: `python -m tests.pictures [FOLDER]` (docs/pictures by default).

`run.svg` is the terminal while the demo of the README really runs, in tmux. The others are the HTML report of the
runs of `nights.py`, in Debian's Chromium. The pictures that are kept were made where the package
fonts-noto-core is installed; with other fonts the page looks a little different, as on people's machines.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.core.frozen import replace
from orchestrator.forecast import foretold, times_of
from orchestrator.providers import registry
from orchestrator.report import render
from orchestrator.report.diff import compare
from orchestrator.report.view import Report, view
from tests.browser import chromium, opened
from tests.golden.story import Told
from tests.nights import STATES, night

DOCS = Path(__file__).parent.parent / "docs" / "pictures"
HEAD = 660  # pixels, the width of a head in the picture of all states
SHOWN: dict[str, tuple[str, str, dict[str, Any]]] = {  # by name: the state, what stands behind the address, how
    "light": ("in doubt", "", {"height": 1080}),
    "dark": ("in doubt", "", {"color_scheme": "dark", "height": 1080}),
    "table": ("in doubt", "#t=travis:initech/svc-019@main", {"height": 900}),
    "phone": ("in doubt", "", {"width": 390, "height": 1600}),
    "running": ("running", "", {"height": 1000}),
}


def report(state: str) -> Report:
    """The report of a run in that state, as the program gives it to the page."""
    story = night(state)
    found = view(story.run_id, story.history, story.now)
    if state == "running":
        return replace(found, to_come=_to_come(story))
    before = night("failed", seed=8)
    earlier = replace(view("nightly-2026-01-04", before.history, before.now))
    return replace(found, since=compare(earlier, found)) if state == "in doubt" else found


def _to_come(story: Told) -> Any:
    known = ((target, story.history.of(target.id)) for target in story.history.targets)
    built = [(target, one.build) for target, one in known if one.is_done and one.build is not None]
    return foretold(story.history, {"travis": registry.declaration("travis")}, story.now, times_of(built))


def pictures(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each picture by its name, as PNG.

    Args:
        folder: for the pages.
    """
    files = {}
    for state in STATES:
        files[state] = folder / f"{state.replace(' ', '-')}.html"
        files[state].write_text(render(report(state), "html"), encoding="utf-8")
    with chromium() as browser:
        for name, (state, at, options) in SHOWN.items():
            with opened(browser, files[state], at, **options) as page:
                yield f"report-{name}.png", page.screenshot()
        page = browser.new_page(viewport={"width": 2 * HEAD, "height": 400})
        heads = (_head(browser, files[state]) for state in STATES)
        drawn = "".join(f"<img src='data:image/png;base64,{base64.b64encode(one).decode()}'>" for one in heads)
        page.set_content(f"<style>body {{ margin: 0; display: grid; grid-template-columns: 1fr 1fr }}</style>{drawn}")
        page.wait_for_function("[...document.images].every(one => one.complete)")
        yield "report-states.png", page.screenshot(full_page=True)


def _head(browser: Any, file: Path) -> bytes:
    with opened(browser, file, width=HEAD) as page:
        box = page.locator("svg.bar, footer").first.bounding_box()
        return page.screenshot(clip={"x": 0, "y": 0, "width": HEAD, "height": box["y"] + 16})


def terminal(folder: Path, seconds: float = 12.0) -> bytes:
    """What a terminal shows of the demo after some seconds, as SVG; nothing in it is remote.

    Args:
        folder: for the state and for tmux.
    """
    from rich.console import Console
    from rich.text import Text

    columns, rows = 110, 30
    here, tmux = DOCS.parent.parent, ["tmux", "-S", str(folder / "tmux")]
    program = f"{sys.executable} -m orchestrator run manifests/demo.yaml --sandbox --run-id demo"
    environ = {**os.environ, "PYTHONPATH": str(here), "TERM": "xterm-256color", "HOME": str(folder)}
    for name in ("NO_COLOR", "XDG_STATE_HOME"):
        environ.pop(name, None)
    size = ["-x", str(columns), "-y", str(rows)]
    subprocess.run([*tmux, "new-session", "-d", *size, program], check=True, cwd=here, env=environ)
    time.sleep(seconds)  # how far the run is to have come
    try:
        shown = subprocess.run([*tmux, "capture-pane", "-e", "-p"], check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    console = Console(record=True, width=columns, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        console.print(Text.from_ansi(shown.rstrip()))
    drawn = console.export_svg(title="orchestrator run manifests/demo.yaml --sandbox", unique_id="run")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).encode()


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        for name, picture in pictures(Path(folder)):
            (place / name).write_bytes(picture)
            sys.stdout.write(f"{place / name}: {len(picture) / 1000:,.0f} kB\n")
        (place / "run.svg").write_bytes(terminal(Path(folder)))


if __name__ == "__main__":
    main()
