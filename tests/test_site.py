"The site in a real browser: every page, at two widths, over http and from a file."

import os
import re
from pathlib import Path

import browser
import pytest

why_not = browser.why_not()
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not or "-")
LESSON, LIBRARY, HOME = (
    "lessons/ecg_delineation.html",
    "lib/evaluation/intervals.html",
    "index.html",
)
DIAGRAM = "guides/contributing.html"
COLD_KILOBYTES = 320
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The built site. Its notebooks are executed only if nobody has since they changed."
    from docs.site import build

    folder = tmp_path_factory.mktemp("site") / "_docs"
    build(folder, say=lambda text: None)
    return folder


@pytest.fixture(scope="module")
def address(site):
    with browser.served(site) as base:
        yield base


@pytest.fixture(scope="module")
def chromium():
    with browser.browser() as running:
        yield running


@pytest.fixture
def context(chromium):
    with_clipboard = chromium.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    with_clipboard.set_default_timeout(300_000)
    yield with_clipboard
    with_clipboard.close()


def watched(context, base):
    "A page, and the list of what it should not have done: errors on the console, requests to other hosts."
    page, offences = context.new_page(), []
    page.on(
        "console",
        lambda message: (
            offences.append(f"{page.url}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: offences.append(f"{page.url}: {error}"))
    page.on(
        "requestfailed",
        lambda request: (
            offences.append(f"{page.url}: failed: {request.url}")
            if request.failure != "net::ERR_ABORTED"  # by leaving the page while it loads a script
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            offences.append(f"{page.url}: asks for {request.url}")
            if not request.url.startswith((base, "data:"))
            else None
        ),
    )
    return page, offences


def test_every_page_loads_and_fits_a_phone(site, address, context):
    page, offences = watched(context, address)
    for path in browser.html_files(site):
        if path.name != "404.html":
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(address + path.relative_to(site).as_posix())
            wide = page.evaluate("document.documentElement.scrollWidth")
            page.set_viewport_size({"width": 390, "height": 844})
            narrow = page.evaluate("document.documentElement.scrollWidth")
            offences += [
                f"{page.url}: {found} px wide at {width}"
                for found, width in ((wide, 1280), (narrow, 390))
                if found > width
            ]
            assert page.locator("h1").count() == 1 or path.name == "search.html", page.url
    assert offences == []


def test_no_broken_link_or_anchor(site):
    assert browser.broken_links(site) == []


def test_pages_from_files_need_no_server(site, context):
    page, offences = watched(context, site.as_uri())
    page.goto((site / HOME).as_uri())
    page.get_by_role("link", name="1. ECG delineation").first.click()
    page.wait_for_url(f"**/{LESSON}")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.lesson-links')).display") == "flex"
    )
    assert offences == []


@pytest.mark.parametrize("over", ["http", "file"])
def test_search_finds_a_function_and_a_term(site, address, context, over):
    page, offences = watched(context, address if over == "http" else site.as_uri())
    for word, expected in (
        ("wilson", "lib/evaluation/intervals.html#clfnb.evaluation.intervals.wilson"),
        ("leakage", "reference/glossary.html#leakage"),
    ):
        page.goto((address if over == "http" else site.as_uri() + "/") + HOME)
        page.get_by_role("textbox", name="Search").first.fill(word)
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?*")
        page.wait_for_function(
            "/found \\d+|Search finished/.test(document.querySelector('#search-results')?.innerText ?? '')"
        )
        found = page.locator("#search-results li a").evaluate_all(
            "links => links.map(link => link.href)"
        )
        assert any(expected in link for link in found), (word, found)
    assert offences == []


QUERIES = {
    "install": "guides/installation", "sweep": "lessons/many_runs", "own data": "guides/own_data", "my data": "guides/own_data",
    "confusion matrix": "lessons/plankton_imbalance", "resume": "guides/cluster",
    "learning rate": "lib/training/trainer", "gpu": "guides/gpu", "cuda": "guides/gpu",
    "slurm": "guides/cluster", "seed": "guides/reproducibility", "smote": "lessons/plankton_imbalance",
    "class imbalance": "lessons/plankton_imbalance", "temperature scaling": "lessons/calibration",
    "reliability diagram": "lessons/calibration", "ece": "lessons/calibration",
    "early stopping": "lib/training/trainer", "focal loss": "lib/training/losses",
    "bootstrap": "lib/evaluation/intervals", "transfer learning": "lib/models/pretrained",
    "pneumonia": "lessons/chest_xray_pneumonia", "qrs": "lessons/ecg_delineation",
    "barcode": "lessons/barcode_reading", "contribute": "guides/contributing",
    "architecture": "guides/architecture", "results": "reference/results",
}  # fmt: skip


def test_search_puts_the_right_page_first(site, context):
    page, _ = watched(context, site.as_uri())
    wrong = {}
    for words, expected in QUERIES.items():
        page.goto(f"{site.as_uri()}/search.html?q={words.replace(' ', '+')}")
        page.wait_for_selector("#search-results li a")
        first = page.locator("#search-results li a").first.get_attribute("href")
        if first.partition(".html")[0].removeprefix("./") != expected:
            wrong[words] = first
    assert wrong == {}


def test_a_page_says_what_it_is_to_others(site):
    text = (site / LESSON).read_text("utf-8")
    assert re.search(r'<meta name="description" content="Where do the waves', text)
    image = re.search(r'<meta property="og:image" content="https://[^"]+/(_images/[^"]+)"', text)
    assert (site / image[1]).exists()


def test_paper_opens_every_answer(address, context):
    page, _ = watched(context, address)
    page.goto(address + LESSON)
    assert page.locator("details:not([open])").count() > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_a_copy_button_copies_the_code(address, context):
    page = context.new_page()
    page.goto(address + LESSON)
    cell = page.locator("div.cell_input", has_text="data: str =").first
    cell.hover()
    cell.locator("button.copybtn").click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text.length > 0)")
    copied = page.evaluate("navigator.clipboard.readText()").replace("\r\n", "\n")
    assert (
        copied.startswith('data: str = "simulated"')
        and copied.strip() == cell.locator("pre").inner_text().strip()
    )


def test_dark_mode_keeps_figures_on_white(address, context):
    page = context.new_page()
    page.goto(address + LESSON)
    figure = page.locator("div.cell_output img").first
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        if page.evaluate("document.body.dataset.theme") != "dark":
            page.locator("button.theme-toggle:visible").first.click()
    assert page.evaluate("document.body.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert brightness(dark) < 60 < 200 < brightness(light)
    assert (
        figure.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    )
    page.goto(address + LIBRARY)
    assert page.evaluate("document.body.dataset.theme") == "dark", (
        "the choice is kept on the next page"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_diagrams_are_drawn_and_legible_without_a_network(address, chromium, theme):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page, offences = watched(context, address)
    page.goto(address + DIAGRAM)
    box = page.locator("pre.mermaid").first
    box.scroll_into_view_if_needed()
    label = box.locator("svg .nodeLabel").first
    label.wait_for()
    assert "nbdev-export" in box.locator("svg").text_content()
    ink = brightness(label.evaluate("label => getComputedStyle(label).color"))
    paper = brightness(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert abs(ink - paper) > 120
    context.close()
    assert offences == []


def test_a_wide_figure_scrolls_on_a_phone(address, context):
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address + HOME)
    figure = page.locator("div.cell_output img.wide").first
    assert figure.evaluate("image => image.getBoundingClientRect().width") > 500
    box = page.locator("div.cell_output:has(img.wide)").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth && box.tabIndex === 0")


CARDS = ["data_qtdb", "data_chest_xray", "data_zxing", "model_ecg", "model_barcode_lines"]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_fits_a_phone(address, context, name):
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}reference/{name}.html")
    card = page.locator(".table-wrapper").first
    assert card.locator("thead").evaluate("head => getComputedStyle(head).display") == "none"
    assert card.evaluate("box => [box.scrollWidth - box.clientWidth, box.parentElement.scrollWidth - box.parentElement.clientWidth]") == [0, 0]  # fmt: skip
    assert card.evaluate("box => box.getBoundingClientRect().right") <= 390


def test_a_wide_table_scrolls_on_a_phone_beside_its_first_column(address, context):
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}reference/model_ecg.html")
    table = page.locator(".table-wrapper").nth(1)
    left = table.locator("td").first.bounding_box()["x"]
    assert table.evaluate("box => { box.scrollLeft = 200; return box.scrollLeft; }") == 200
    assert abs(table.locator("td").first.bounding_box()["x"] - left) < 8


def test_the_contents_of_a_page_are_seen_at_1280_pixels(address, context):
    page = context.new_page()
    page.goto(address + LIBRARY)
    contents = page.locator(".toc-drawer").bounding_box()
    article = page.locator("article").bounding_box()
    assert contents["x"] >= article["x"] + article["width"]
    assert contents["x"] + contents["width"] <= 1280 and article["width"] > 560


def brightness(colour):
    "Mean of the three channels of a CSS colour."
    return sum(float(value) for value in re.findall(r"[\d.]+", colour)[:3]) / 3


def violations(page, axe) -> list[str]:
    "What axe-core finds against the rules of WCAG 2.1 AA, a line each."
    options = {
        "runOnly": {"type": "tag", "values": AXE_RULES},
        "resultTypes": ["violations"],
    }
    return [
        f"{v['id']}: {len(v['nodes'])} × {v['nodes'][0]['html'][:120]} {v['nodes'][0]['failureSummary'][:200]}"
        for v in axe.Axe().run(page, options=options).response["violations"]
    ]


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python, which brings axe-core, is not installed",
    )


@pytest.mark.parametrize("name, theme", [
    (HOME, "light"), (HOME, "dark"), (LESSON, "light"), (LESSON, "dark"), (LIBRARY, "light"), (LIBRARY, "dark"), (DIAGRAM, "light"), (DIAGRAM, "dark"),
    ("reference/model_ecg.html", "light"), ("reference/bibliography.html", "dark"),
    ("reference/results.html", "light"), ("library/index.html", "light"), ("search.html", "light"), ("404.html", "dark"),
    ("lib/commands/gc.html", "light"), ("lessons/many_runs.html", "dark"), ("lessons/chest_xray_pneumonia.html", "light"),
])  # fmt: skip
def test_accessible(address, chromium, axe, name, theme):
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address + name)
    found = violations(page, axe)
    context.close()
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_every_page_is_accessible(site, address, chromium, axe, theme, width):
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    context.set_default_timeout(300_000)  # a loaded machine is no fault of a page
    page, found = context.new_page(), {}
    for path in browser.html_files(site):
        name = path.relative_to(site).as_posix()
        page.goto(address + name)
        if offences := violations(page, axe):
            found[name] = offences
    context.close()
    assert found == {}


def test_keyboard(address, context):
    page = context.new_page()
    page.goto(address + LIBRARY)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#furo-main-content")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.tagName + '.' + document.activeElement.className.split(' ')[0]"
            )
        )
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY", reached
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize(
    "name", [HOME, LESSON, LIBRARY, "lib/training/trainer.html", "search.html"]
)
def test_a_cold_page_is_light(address, context, name):
    page, sizes = context.new_page(), {}
    page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    page.goto(address + name, wait_until="networkidle")
    index = (
        sum(size for url, size in sizes.items() if "searchindex.js" in url) / 1000
    )  # grows with every page, and only the search page asks for it
    drawn = any("mermaid.tiny.js" in url for url in sizes)
    assert not drawn or page.locator("pre.mermaid").count(), "asked for on pages with diagrams only"
    apart = r"/_?images/|mermaid\.tiny\.js"
    weight = sum(size for url, size in sizes.items() if not re.search(apart, url)) / 1000 - index
    print(f"{name}: {weight:.0f} kB" + (f", and {index:.0f} kB of search index" if index else ""))
    assert 20 < weight <= COLD_KILOBYTES, sizes


def test_lost_pages_find_home(address, context):
    page = context.new_page()
    page.goto(address + "lib/nothing/here.html")
    assert page.locator("h1").inner_text().startswith("Page not found")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.sidebar-drawer')).display")
        != "none"
    )
    assert page.evaluate("[...document.styleSheets].every(sheet => sheet.cssRules.length > 0)")
    page.get_by_role("link", name="front page").click()
    page.wait_for_url(address + HOME)


def test_previous_and_next_follow_the_table_of_contents(site):
    from docs.contents import read_contents

    def neighbour(name, which):
        link = re.search(
            rf'<a class="{which}-page" href="([^"]+)"', (site / name).read_text("utf-8")
        )
        return link and Path(os.path.normpath(Path(name).parent / link[1])).as_posix()

    expected, seen = (
        {f"{page.name}.html" for page in read_contents(browser.ROOT / "_quarto.yml").pages()},
        [HOME],
    )
    while (following := neighbour(seen[-1], "next")) and following not in seen:
        assert neighbour(following, "prev") == seen[-1]
        seen.append(following)
    assert expected <= set(seen) and following is None


def test_a_lesson_can_be_taken_along(site, address, context):
    page = context.new_page()
    page.goto(address + LESSON)
    links = {
        link.inner_text(): link.get_attribute("href")
        for link in page.locator(".lesson-links a").all()
    }
    assert (
        links["Open in Colab"]
        == "https://colab.research.google.com/github/clfnb/clfnb/blob/colab/lessons/01_ecg_delineation.ipynb"
    )
    assert (
        links["Edit"]
        == "https://github.com/clfnb/clfnb/edit/main/nbs/lessons/01_ecg_delineation.ipynb"
    )
    with page.expect_download() as download:
        page.get_by_role("link", name="Download notebook").click()
    assert (
        download.value.path().read_bytes()
        == (browser.ROOT / "nbs" / "lessons" / "01_ecg_delineation.ipynb").read_bytes()
    )


def test_names_terms_and_formulas(address, context):
    page = context.new_page()
    page.goto(address + LESSON)
    terms = page.locator("a.term").evaluate_all(
        "links => links.map(link => [link.getAttribute('href'), link.title])"
    )
    assert (
        len(terms) > 5
        and len({href for href, _ in terms}) == len(terms)
        and all(title for _, title in terms)
    )
    assert (
        page.locator("p a[href*='clfnb.tracks.ecg.delineator']").count()
        or page.locator("p a[href*='lib/']").count()
    )
    page.goto(address + LIBRARY)
    assert page.locator("math").count() > 3
    assert page.locator("dl.py table").first.locator("tr").count() >= 4
    source = page.locator("dl.py a", has_text="source").first.get_attribute("href")
    assert re.fullmatch(
        r"https://github.com/clfnb/clfnb/blob/main/clfnb/evaluation/intervals.py#L\d+-L\d+", source
    )


def test_files_for_machines(site):
    addresses = re.findall(
        r"<loc>https://clfnb.github.io/clfnb/(.+?)</loc>", (site / "sitemap.xml").read_text("utf-8")
    )
    pages = {path.relative_to(site).as_posix() for path in browser.html_files(site)}
    assert (
        pages - set(addresses) <= {"404.html", "search.html", "genindex.html", "py-modindex.html"}
        and set(addresses) <= pages
    )
    texts = re.findall(
        r"\(https://clfnb.github.io/clfnb/(.+?)\)", (site / "llms.txt").read_text("utf-8")
    )
    assert len(texts) > 30 and all(
        (site / name).read_text("utf-8").startswith("# ") for name in texts
    )
