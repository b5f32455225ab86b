"What the browser tests share: the site built once, a server for it, and the reasons for which they are skipped."

import functools
import http.server
import os
import re
import shutil
import sys
import threading
from contextlib import contextmanager
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "/clfnb/"  # the site stands below this path, as it does on GitHub Pages
sys.path.insert(0, str(ROOT))


def chromium() -> str | None:
    "Debian's chromium, or another one that is installed; None lets Playwright look for its own."
    return (
        os.environ.get("CLFNB_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


def why_not() -> str:
    "Why there can be no browser test here; empty if there can."
    missing = [
        name
        for name in ("playwright", "sphinx", "myst_nb", "furo", "sphinx_copybutton")
        if find_spec(name) is None
    ]
    if missing:
        return f"not installed: {', '.join(missing)} (pip install -e '.[dev]')"
    return (
        "" if chromium() else "no chromium found (apt-get install chromium, or set CLFNB_CHROMIUM)"
    )


class Handler(http.server.SimpleHTTPRequestHandler):
    "Serves a folder below `PREFIX`, and 404.html for what is not there, as GitHub Pages does."

    def translate_path(self, path):
        return (
            super().translate_path("/" + path.removeprefix(PREFIX))
            if path.startswith(PREFIX)
            else os.devnull
        )

    def send_error(self, code, message=None, explain=None):
        page = Path(self.directory, "404.html")
        if code != 404 or not page.is_file():
            return super().send_error(code, message, explain)
        body = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path):
    "The address of a folder that is served while this context lasts."
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        finally:
            server.shutdown()


@contextmanager
def browser():
    "Headless Chromium."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield running
        finally:
            running.close()


class Page(HTMLParser):
    "Links, what is loaded, and anchors of an HTML file."

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.anchors, self.text = [], set(), path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links += [found[key] for key in ("href", "src") if found.get(key) and tag != "base"]


def html_files(site: Path) -> list[Path]:
    "All pages of a site."
    return sorted(site.rglob("*.html"))


def broken_links(site: Path) -> list[str]:
    "Links inside the site that lead to no file, or to no anchor in it."
    pages, broken = {path: Page(path) for path in html_files(site)}, []
    for path, page in pages.items():
        here = "/" if path.name == "404.html" else "/" + path.relative_to(site).as_posix()
        for link in page.links:
            target, anchor = urldefrag(urljoin(f"http://site{here}", link))
            if not target.startswith("http://site/"):
                continue
            file = site / unquote(
                re.sub(r"\?.*", "", target).removeprefix("http://site/") or "index.html"
            )
            known = pages[file].anchors if file in pages else None
            if (
                not file.is_file()
                or anchor
                and known is not None
                and unquote(anchor) not in known | {"top"}
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    return sorted(set(broken))
