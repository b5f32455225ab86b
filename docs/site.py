"All steps of a build, from notebooks to `_docs/`."

import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from docs import generated
from docs.contents import Section, Site, page_name, read_contents, version
from docs.execute import KEPT, NBS, ROOT, execute_all, executed_notebook
from docs.glossary import read_bibliography, read_glossary, with_anchors
from docs.notebooks import Notebook, read_notebook
from docs.pages import as_markdown, assets, page_imports, stage
from docs.stable import stable_notebook

THEME = Path(__file__).parent / "theme"
BUILD = ROOT / "build" / "docs"
RENDERERS = ("furo", "myst-nb", "myst-parser", "sphinx", "sphinx-copybutton")
GLOSSARY, BIBLIOGRAPHY = "reference/glossary.ipynb", "reference/bibliography.ipynb"
STYLE_COMMENT = re.compile(r"""(?s)(?P<string>"[^"\n]*"|'[^'\n]*')|/\*(?!!).*?\*/""")
CELL_LINES = 10000  # MyST-NB reports line n of the i-th cell, from 1, as i * 10000 + n


class SiteError(RuntimeError):
    "The site could not be built; the message says where."


@dataclass
class Book:
    "The site with its executed notebooks, source → notebook."

    site: Site
    notebooks: dict[str, Notebook]

    @property
    def lessons(self) -> list[Notebook]:
        "The lessons in reading order."
        return [
            self.notebooks[page.source]
            for page in self.site.pages()
            if page.source.startswith("lessons/")
        ]


def read_book(kept: Path = KEPT) -> Book:
    "All notebooks in their executed form. Raises `Refused` for what cannot be rendered."
    site = read_contents(ROOT / "_quarto.yml")
    return Book(
        site,
        {
            page.source: stable_notebook(executed_notebook(NBS / page.source, page.source, kept))
            for page in site.pages()
        },
    )


def slowest(book: Book, count: int = 5) -> str:
    "The notebooks that took longest when they were executed last; on no page, since it changes with the machine."
    took = sorted(((n.executed["seconds"], n.name) for n in book.notebooks.values()), reverse=True)
    listed = ", ".join(f"{name} {seconds:.0f} s" for seconds, name in took[:count])
    return f"{sum(seconds for seconds, _ in took):.0f} s of execution in all; longest: {listed}"


# Staging


def _write(path: Path, text: str) -> None:
    "Write a file only if it says something new, since Sphinx goes by the time of a change."
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def fill_places(book: Book, text: str) -> str:
    "Markdown of a notebook with everything generated filled in."
    text = generated.start_buttons(text)
    return generated.fill_place(text, "lessons", lambda: generated.lesson_cards(book.lessons))


def root_toctrees(book: Book) -> str:
    "The sidebar: one caption a section; a section with sections is its overview and their pages."
    trees, titles = (
        [],
        {
            lesson.name: f"{generated.lesson_number(lesson)}. {lesson.title}"
            for lesson in book.lessons
        },
    )
    for child in book.site.children:
        if isinstance(child, Section):
            children = (
                [Section("Overview", (), child.name), *child.children]
                if child.name
                else child.children
            )
            trees.append(generated.toctree(children, "", child.title, titles))
    return "\n\n".join(trees)


def stage_cards(book: Book, target: Path) -> set[Path]:
    "Write the images of the lessons' cards; the files that are there now."
    written = set()
    for lesson in book.lessons:
        if figure := generated.first_figure(lesson):
            card = target / generated.card_image(lesson)
            card.parent.mkdir(parents=True, exist_ok=True)
            if not card.is_file() or card.read_bytes() != figure[0]:
                card.write_bytes(figure[0])
            written.add(card)
    return written


def stage_all(book: Book, target: Path) -> dict[str, list[int]]:
    "Write what Sphinx reads; page → number of the source's cell for each staged cell."
    origins, written = {}, set()

    def put(name, text):
        _write(target / name, text)
        written.add(target / name)

    for page in book.site.pages():
        notebook = book.notebooks[page.source]
        below = generated.below_title(page, notebook, book.site)

        def fill(text, cited=page.source == BIBLIOGRAPHY):
            return with_anchors(text) if cited else fill_places(book, text)

        staged, origins[page.name] = stage(page, notebook, book.site, below, fill)
        if page.name == "index":
            staged["cells"].append(
                {
                    "cell_type": "markdown",
                    "metadata": {},
                    "id": "contents",
                    "source": root_toctrees(book),
                }
            )
        put(f"{page.name}.ipynb", json.dumps(staged))
    for section in book.site.sections():
        if section.name:
            nested = any(isinstance(child, Section) for child in section.children)
            write_page = generated.library_page if nested else generated.room_page
            put(f"{section.name}.md", write_page(section, book.notebooks))
    put("404.md", (THEME / "404.md").read_text(encoding="utf-8"))
    written |= stage_cards(book, target)
    for file in assets(NBS):
        place = target / file.relative_to(NBS)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)
        written.add(place)
    for old in [path for path in target.rglob("*") if path.is_file() and path not in written]:
        old.unlink()
    return origins


# Sphinx


def link_tables(book: Book) -> dict:
    "What names in backticks and terms of the glossary lead to."
    pages = {page.name: book.notebooks[page.source] for page in book.site.pages()}
    return {
        "clfnb_modules": {
            f"clfnb.{notebook.module}": name for name, notebook in pages.items() if notebook.module
        },
        "clfnb_imports": {name: page_imports(notebook) for name, notebook in pages.items()},
        "clfnb_terms": read_glossary(book.notebooks[GLOSSARY])
        if GLOSSARY in book.notebooks
        else [],
        "clfnb_entries": read_bibliography(book.notebooks[BIBLIOGRAPHY])
        if BIBLIOGRAPHY in book.notebooks
        else [],
        "clfnb_sources": {page.name: f"nbs/{page.source}" for page in book.site.pages()},
        "clfnb_descriptions": {name: notebook.subtitle for name, notebook in pages.items()},
        "clfnb_cards": {
            page_name(lesson.name): f"_images/{Path(generated.card_image(lesson)).name}"
            for lesson in book.lessons
            if generated.first_figure(lesson)
        },
    }


def explain(warnings: str, source: Path, book: Book, origins: dict[str, list[int]]) -> str:
    "Sphinx's warnings with the notebook and the number of the cell in it."
    sources = {page.name: page.source for page in book.site.pages()}

    def place(match):
        name, line = match[1], int(match[2] or 0)
        index = line // CELL_LINES - 1
        cells = origins.get(name, [])
        cell = f", cell {cells[index]}, line {line % CELL_LINES}" if 0 <= index < len(cells) else ""
        return f"nbs/{sources.get(name, name)}{cell}:"

    return re.sub(
        rf"{re.escape(str(source))}/([\w/.-]+?)\.(?:ipynb|md)(?::(\d+))?:", place, warnings
    )


def run_sphinx(book: Book, source: Path, target: Path, origins: dict) -> None:
    "Render all pages. Raises `SiteError` with every warning."
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    with patch_docutils(str(THEME)), docutils_namespace():
        app = Sphinx(
            str(source),
            str(THEME),
            str(target),
            str(target.parent / "doctrees"),
            "html",
            link_tables(book),
            None,
            warnings,
        )
        app.build(force_all=True)  # else the search loses the words of pages that have not changed
    said = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).strip()
    if app.statuscode or said:
        shutil.rmtree(
            target.parent / "doctrees", ignore_errors=True
        )  # else the next build would not repeat its warnings
        raise SiteError(explain(said, source, book, origins) or "Sphinx failed without a word")


def tidy(target: Path, names: list[str]) -> None:
    "Remove pages that are no longer in the table of contents, and images that no page shows any more."
    pages = {target / f"{name}.html" for name in [*names, "404", "search"]}
    for path in [*target.rglob("*.html"), *target.rglob("*.html.md"), *target.rglob("*.ipynb")]:
        if path not in pages:
            path.unlink()
    shown = {
        name
        for path in pages
        for name in re.findall(r"_images/([^\"?]+)", path.read_text(encoding="utf-8"))
    }
    for path in (target / "_images").glob("*"):
        if path.name not in shown:
            path.unlink()


def slim_styles(folder: Path) -> None:
    "Rewrite the style sheets of a folder without comments (licences stay) and indentation, which every first visit would load."
    for path in folder.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        text = STYLE_COMMENT.sub(lambda match: match["string"] or "", text)
        lines = (line.strip() for line in text.splitlines())
        path.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")


def finish(book: Book, target: Path) -> None:
    "What stands beside Sphinx's pages: notebooks to download, plain Markdown, files for machines, and a 404 page for every depth."
    site = book.site
    names = [page.name for page in site.pages()] + [
        section.name for section in site.sections() if section.name
    ]
    tidy(target, names)
    for page in site.pages():
        (target / f"{page.name}.html.md").write_text(
            as_markdown(book.notebooks[page.source], site), encoding="utf-8"
        )
        if page.source.startswith(generated.TAKEN_ALONG):
            shutil.copy2(NBS / page.source, target / page.source)
            copy = generated.colab_copy(json.loads((NBS / page.source).read_bytes()), version())
            _write(target / generated.COLAB / page.source, json.dumps(copy, indent=1) + "\n")
    (target / "sitemap.xml").write_text(generated.sitemap(site, names), encoding="utf-8")
    (target / "robots.txt").write_text(
        f"User-agent: *\nAllow: /\nSitemap: {site.url}/sitemap.xml\n", encoding="utf-8"
    )
    (target / "llms.txt").write_text(generated.llms_text(site, book.notebooks), encoding="utf-8")
    (target / ".nojekyll").touch()
    base = re.sub(r"^https?://[^/]+", "", site.url) + "/"
    lost = target / "404.html"
    text = re.sub(
        r"<head>(?:<base [^>]*>)?",
        f'<head><base href="{base}">',
        lost.read_text(encoding="utf-8"),
        count=1,
    )
    lost.write_text(
        text.replace('<a class="headerlink" href="#', '<a class="headerlink" href="404.html#'),
        encoding="utf-8",
    )


def publish(built: Path, target: Path) -> None:
    "Put a copy of the finished site in the place of the old one, in two renames."
    new, old = target.with_name(f"{target.name}.new"), target.with_name(f"{target.name}.old")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, new, ignore=shutil.ignore_patterns(".buildinfo*", "objects.inv"))
    slim_styles(new)  # not in `built`: Sphinx compares its copies with the originals
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def fingerprint(book: Book, source: Path) -> str:
    "A hash of everything that Sphinx and the last steps read."
    digest = hashlib.sha256(json.dumps(link_tables(book)).encode())
    for path in sorted([*source.rglob("*"), *THEME.parent.rglob("*"), ROOT / "_quarto.yml"]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    digest.update(repr([importlib.metadata.version(name) for name in RENDERERS]).encode())
    return digest.hexdigest()


def build(target: Path, kept: Path = KEPT, build_folder: Path = BUILD, say=print) -> Book:
    "Build the whole site. Raises `Refused`, `CellError` or `SiteError`, and then leaves `target` as it was."
    site = read_contents(ROOT / "_quarto.yml")
    for page in site.pages():
        read_notebook(NBS / page.source, page.source)
    execute_all([NBS / page.source for page in site.pages()], kept, say)
    book = read_book(kept)
    origins = stage_all(book, build_folder / "source")
    stamp, now = target / ".fingerprint", fingerprint(book, build_folder / "source")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != now:
        run_sphinx(book, build_folder / "source", build_folder / "html", origins)
        finish(book, build_folder / "html")
        (build_folder / "html" / stamp.name).write_text(now, encoding="utf-8")
        publish(build_folder / "html", target)
    return book
