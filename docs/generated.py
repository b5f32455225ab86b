"""What is written from the notebooks' own words: the lessons on the front page, the overview of the library, and files for machines.

In a notebook, `<!-- lessons -->` … `<!-- /lessons -->` in a Markdown cell marks a place that is filled in; what stands between the two is replaced.
"""

import base64
import io
import os
import re
from html import escape
from pathlib import Path

import yaml
from PIL import Image

from docs.contents import Page, Section, Site, page_name
from docs.execute import all_imports, module_imports
from docs.notebooks import LESSON_KEYS, Notebook

CARD_KEYS = ("level", "time")
TAKEN_ALONG = ("lessons/", "exercises/", "solutions/")  # pages with links to open and to download
COLAB = "colab"  # branch, and folder of the site, of the copies that Colab opens
INSTALL = """# On Colab: the release of clfnb that this notebook belongs to, in a minute or two
%pip install -q "clfnb[sweep]=={version}\"
"""
PLACE = r"<!-- {name}\b.*?-->\n(?:.*?)<!-- /{name} -->"


def fill_place(text: str, name: str, write) -> str:
    "Markdown with the place `name`, marks and all, replaced by what `write()` says."
    return re.sub(PLACE.format(name=name), lambda _: write(), text, flags=re.S)


def start_buttons(text: str) -> str:
    "The links between `<!-- start -->` and `<!-- /start -->` as buttons."
    pattern = r"<!-- start\b.*?-->\n(.*?)<!-- /start -->"
    box = ":::{{container}} start\n{}\n:::"
    return re.sub(
        pattern, lambda match: box.format(match[1].replace(" · ", " ").strip()), text, flags=re.S
    )


def lesson_number(notebook: Notebook) -> str:
    "`lessons/01_first.ipynb` → `1`."
    return re.sub(r".*/0*(\d+).*", r"\1", notebook.name)


def _alt(text: str) -> str:
    return re.sub(r"[\[\]\n]", " ", text)


def facts(notebook: Notebook, keys: tuple = LESSON_KEYS) -> str:
    "A lesson's front matter as a list; nothing if it has none."
    return "\n".join(
        f":{key.capitalize()}: {notebook.front[key]}" for key in keys if key in notebook.front
    )


def reduced(png: bytes, width: int = 720) -> bytes:
    "An image not wider than a card needs it."
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def first_figure(notebook: Notebook) -> tuple[bytes, str] | None:
    "The first figure that a notebook draws, as PNG, with its description; None if it draws none."
    for cell in notebook.cells:
        for output in cell.outputs if not cell.hidden else []:
            if png := output.get("data", {}).get("image/png"):
                text = cell.directives.get("fig-alt") or f"A figure of {notebook.title}"
                return reduced(base64.b64decode(png)), text
    return None


def card_image(notebook: Notebook) -> str:
    "Where the image of a lesson's card lies, as seen from the front page."
    return f"images/cards/{lesson_number(notebook)}.png"


def lesson_cards(lessons: list[Notebook]) -> str:
    "The lessons of the front page, each with the first figure that it draws."
    cards = []
    for lesson in lessons:
        target = f"{page_name(lesson.name)}.ipynb"
        link = f"[{lesson_number(lesson)}. {lesson.title}]({target})"
        figure = first_figure(lesson)
        image = f"[![{_alt(figure[1])}]({card_image(lesson)})]({target})\n\n" if figure else ""
        cards.append(
            f"::::{{container}} lesson\n{image}{link}\n\n{lesson.subtitle}\n\n{facts(lesson, CARD_KEYS)}\n::::"
        )
    return ":::::{container} lessons\n" + "\n\n".join(cards) + "\n:::::"


def search_words() -> dict[str, list[str]]:
    "Page → words under which the search puts it first, from docs/search.yml."
    text = (Path(__file__).parent / "search.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def index_entries(words: list[str]) -> str:
    "Words as entries of Sphinx's index, which its search reads; nothing is shown."
    return f"```{{index}} {', '.join(f'! {word}' for word in words)}\n```" if words else ""


def lesson_links(page: Page, site: Site) -> str:
    "Where a lesson can be taken: Colab, a file, the repository. The file lies beside the page."
    owner = site.repository.removeprefix("https://github.com/")
    master = re.sub(r"^(?:exercises|solutions)/\d+_", "lib/course/", page.source)
    links = {
        "Open in Colab": f"https://colab.research.google.com/github/{owner}/blob/{COLAB}/{page.source}",
        "Download notebook": Path(page.source).name,
        "Edit": f"{site.repository}/edit/{site.branch}/nbs/{master}",
    }
    anchors = [
        f'<a href="{escape(target)}"{" download" if "://" not in target else ""}>{text}</a>'
        for text, target in links.items()
    ]
    return f'<p class="lesson-links">{" ".join(anchors)}</p>'


def colab_copy(notebook: dict, version: str) -> dict:
    "A notebook that installs its release first. Front matter, which Colab would show as text, is left out."
    install = {
        "cell_type": "code",
        "execution_count": None,
        "id": "install",
        "metadata": {},
        "outputs": [],
        "source": INSTALL.format(version=version).strip().splitlines(keepends=True),
    }
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] != "raw"]
    return notebook | {"cells": [install, *cells]}


def below_title(page: Page, notebook: Notebook, site: Site) -> str:
    "What the builder puts between a page's subtitle and its text."
    entries = index_entries(search_words().get(page.name, []))
    return "\n\n".join(part for part in (_below_lesson(page, notebook, site), entries) if part)


def _below_lesson(page: Page, notebook: Notebook, site: Site) -> str:
    if page.source.startswith("lessons/"):
        return (
            f"{lesson_links(page, site)}\n\n:::{{container}} facts\n\n{facts(notebook)}\n:::"
            if notebook.front
            else lesson_links(page, site)
        )
    return lesson_links(page, site) if page.source.startswith(TAKEN_ALONG) else ""


# The library


def section_rooms(section: Section) -> set[str]:
    "The rooms of clfnb that a section's pages make: `data`, `runs`, `cli` …"
    parts = [Path(page.source).with_suffix("").parts for page in section.pages()]
    return {part[1] for part in parts if part[0] == "lib"}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def floors(modules: list[str]) -> dict[str, int]:
    "Room → floor, counted from 0: a room stands above every room that it imports from."
    rooms = {room_of(module): set() for module in modules}
    for module in modules:
        rooms[room_of(module)] |= {room_of(name) for name in module_imports(module)} - {
            room_of(module)
        }
    levels = {}
    while len(levels) < len(rooms):
        ready = {
            room: 1 + max((levels[other] for other in below), default=-1)
            for room, below in rooms.items()
            if room not in levels and below <= levels.keys()
        }
        if not ready:
            raise ValueError(
                f"rooms of the library import each other in a circle: {sorted(set(rooms) - set(levels))}"
            )
        levels |= ready
    return levels


def module_lines(section: Section, notebooks: dict[str, Notebook], folder: str) -> str:
    "One line a module, with a link."
    lines = []
    for page in section.pages():
        notebook = notebooks[page.source]
        lines.append(
            f"- [{notebook.title}]({os.path.relpath(page.name, folder)}.ipynb): {notebook.subtitle}"
        )
    return "\n".join(lines)


def toctree(children, folder: str, caption: str = "", titles: dict | None = None) -> str:
    "A hidden table of contents, as the sidebar and previous/next need it."
    lines = []
    for child in children:
        name = os.path.relpath(child.name, folder or ".")
        text = (
            child.title
            if isinstance(child, Section)
            else child.text or (titles or {}).get(child.source, "")
        )
        lines.append(f"{text} <{name}>" if text else name)
    head = ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), ""]
    return "\n".join([*head, *lines, "```"])


def room_page(section: Section, notebooks: dict[str, Notebook]) -> str:
    "A page for a section of the library: one line a module."
    folder = section.name.rpartition("/")[0]
    titles = {page.source: notebooks[page.source].title for page in section.pages()}
    return f"# {section.title}\n\n{module_lines(section, notebooks, folder)}\n\n{toctree(section.children, folder, titles=titles)}\n"


def library_page(section: Section, notebooks: dict[str, Notebook]) -> str:
    "The overview of the library, top floor first."
    folder = section.name.rpartition("/")[0]
    modules = [notebooks[page.source].module for page in section.pages()]
    level, rooms = floors(modules), {part: section_rooms(part) for part in section.children}
    height = {part.title: max(level[room] for room in rooms[part]) for part in section.children}
    where = {room: part.title for part, names in rooms.items() for room in names}
    parts = ["# The library", ":::{container} lead\nOne notebook a module: why it is there, the code, an example, and the tests\n:::",
             f"{len(modules)} modules stand on floors, top floor first. A module imports only from floors below its own, so that each can be read "
             "without those above it."]  # fmt: skip
    for part in sorted(section.children, key=lambda part: -height[part.title]):
        needed = {
            room_of(name)
            for name in all_imports({notebooks[page.source].module for page in part.pages()})
        } & set(where) - rooms[part]
        below = {
            where[room] if height[where[room]] < height[part.title] else room for room in needed
        }  # a single room of a higher section
        uses = (
            f"Stands on {', '.join(f'*{name}*' for name in sorted(below))}."
            if below
            else "Stands on nothing else of the library."
        )
        link = f"[{part.title}]({os.path.relpath(part.name, folder)}.md)"
        parts.append(f"## {link}\n\n{uses}\n\n{module_lines(part, notebooks, folder)}")
    return "\n\n".join(parts) + "\n"


# For machines


def sitemap(site: Site, names: list[str]) -> str:
    "sitemap.xml of these pages."
    urls = "\n".join(
        f"  <url><loc>{escape(f'{site.url}/{name}.html')}</loc></url>" for name in names
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}\n</urlset>\n'


def llms_text(site: Site, notebooks: dict[str, Notebook]) -> str:
    "llms.txt: what the site is, and each page as plain Markdown with one line about it."
    parts = [f"# {site.title}\n\n> {site.description}"]
    for child in site.children:
        section = child if isinstance(child, Section) else Section("Start", (child,))
        lines = [
            f"- [{notebooks[page.source].title}]({site.url}/{page.name}.html.md): {notebooks[page.source].subtitle}"
            for page in section.pages()
        ]
        parts.append(f"## {section.title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"
