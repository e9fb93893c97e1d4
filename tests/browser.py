"""Debian's Chromium, headless, as people's browsers see a page: for tests, pictures and benchmarks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's; `.ci/packages` names the package that has the program."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, file: Path, at: str = "", *, width: int = 1280, height: int = 900, **options: Any
) -> Iterator[Any]:
    """A page in a context of its own; it may say no error, and load nothing else.

    Args:
        at: what stands behind the file's name in the address.
        options: of the context: `color_scheme`, `java_script_enabled`, ...
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(10_000)
    page, odd = context.new_page(), []
    page.on("console", lambda message: odd.append(message.text))
    page.on("pageerror", lambda error: odd.append(str(error)))
    page.on("dialog", lambda dialog: odd.append(dialog.message) or dialog.dismiss())
    page.on("request", lambda request: request.url.partition("#")[0] == file.as_uri() or odd.append(request.url))
    try:
        page.goto(file.as_uri() + at)
        yield page
        assert odd == [], odd
    finally:
        context.close()
