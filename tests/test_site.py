"""The documentation site: built strictly, whole, and asking nothing of the net (slow)."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
CHROMIUM = "/usr/bin/chromium"
LOADED = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src", "use": "href"}
"""Elements whose address a browser fetches by itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for name in ("material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: the extra 'docs', which make docs and make test-all install")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return folder


class Addresses(HTMLParser):
    """Collects what a page loads, and the text of its formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        address = found.get(LOADED.get(tag, ""))
        if address and not (tag == "link" and found.get("rel") in ("canonical", "next", "prev")):
            self.loaded.append(address)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        parser = Addresses()
        parser.feed(text)
        outside = [address for address in parser.loaded if re.match(r"(https?:)?//", address)]
        assert not outside, f"{page.name}: {outside}"
        assert "unpkg.com" not in text and "cdn." not in text, page.name
        assert 'class="arithmatex"' not in text, f"{page.name}: a formula is not MathML"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_site_opens_from_disk_in_chromium(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (Debian's package chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((site / "index.html").as_uri())
        tab.click("text=Tutorial: your language in fifteen minutes")
        tab.wait_for_url("**/tutorial.html")
        tab.goto((site / "methods" / "seq_bn.html").as_uri())
        boxes = [formula.bounding_box() for formula in tab.query_selector_all("math")]
        assert len(boxes) == 3
        assert all(box["width"] > 100 and box["height"] > 15 for box in boxes), "the formulas are drawn"
        tab.fill("input.md-search__input", "sparsemax")
        tab.wait_for_selector(".md-search-result__link[href*='focus']", state="attached", timeout=60_000)
        browser.close()
    assert asked and all(url.startswith(("file:", "blob:", "data:")) for url in asked), asked
    assert not complaints
