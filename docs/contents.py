"The table of contents: `_quarto.yml`, read strictly, so that a key that would be ignored is an error."

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

WEBSITE_KEYS = {
    "title",
    "description",
    "site-url",
    "repo-url",
    "repo-branch",
    "repo-actions",
    "page-navigation",
    "search",
    "sidebar",
}
ENTRY_KEYS = {"href", "text", "section", "contents"}


@dataclass(frozen=True)
class Page:
    "A notebook in the table of contents; `name` is its address on the site, without a suffix."

    source: str
    name: str
    text: str = ""


@dataclass(frozen=True)
class Section:
    "A titled list of pages and sections; `name` is the address of its own page, if the builder writes one."

    title: str
    children: tuple = ()
    name: str = ""

    def pages(self) -> list[Page]:
        "All pages below, in reading order."
        return [
            page
            for child in self.children
            for page in (child.pages() if isinstance(child, Section) else [child])
        ]


@dataclass(frozen=True)
class Site:
    "What `_quarto.yml` says about the site."

    title: str
    description: str
    url: str
    repository: str
    branch: str
    children: tuple

    def pages(self) -> list[Page]:
        "All pages, in reading order."
        return Section("", self.children).pages()

    def sections(self) -> list[Section]:
        "All sections, outer ones first."
        sections, queue = [], [child for child in self.children if isinstance(child, Section)]
        while queue:
            section = queue.pop(0)
            sections.append(section)
            queue = [child for child in section.children if isinstance(child, Section)] + queue
        return sections


def page_name(source: str) -> str:
    "Where a notebook stands on the site, as nbdev and Quarto name it: `lessons/01_first.ipynb` → `lessons/first`."
    path = Path(source)
    return path.with_name(re.sub(r"^\d+[a-zA-Z0-9]*_", "", path.stem)).as_posix()


def slug(text: str) -> str:
    "A heading's anchor, as pandoc makes it: `Wilson's interval` → `wilsons-interval`."
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", text.lower()).strip())


def _check_keys(keys: dict, known: set[str], where: str) -> None:
    unknown = set(keys) - known
    if unknown:
        raise ValueError(
            f"_quarto.yml: {where}: {sorted(unknown)} is not understood by the builder; known are {sorted(known)}"
        )


def _entry(entry, folder: str):
    "One entry of `contents`: a page, or a section with its entries."
    entry = {"href": entry} if isinstance(entry, str) else entry
    _check_keys(entry, ENTRY_KEYS, f"sidebar entry {entry.get('section') or entry.get('href')!r}")
    if "section" not in entry:
        return Page(entry["href"], page_name(entry["href"]), entry.get("text", ""))
    title = entry["section"]
    first = [{"href": entry["href"]}] if "href" in entry else []
    nested = any(
        isinstance(child, dict) and "section" in child for child in entry.get("contents", [])
    )
    children = tuple(
        _entry(child, slug(title) if nested else "") for child in first + entry.get("contents", [])
    )
    name = f"{slug(title)}/index" if nested else f"{folder}/{slug(title)}" if folder else ""
    return Section(title, children, name)


def read_contents(path: Path) -> Site:
    "The site of a `_quarto.yml`. Raises `ValueError` naming a key that the builder does not know, or a page listed twice."
    website = yaml.safe_load(path.read_text(encoding="utf-8"))["website"]
    _check_keys(website, WEBSITE_KEYS, "website")
    children = tuple(_entry(entry, "") for entry in website["sidebar"]["contents"])
    site = Site(website["title"], website["description"], website["site-url"].rstrip("/"), website["repo-url"].rstrip("/"),
                website.get("repo-branch", "main"), children)  # fmt: skip
    names = [page.name for page in site.pages()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"_quarto.yml: listed twice, or two notebooks for one address: {twice}")
    return site


def version() -> str:
    "The version of clfnb, read without importing it."
    text = (Path(__file__).parents[1] / "clfnb" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"', text, flags=re.M)[1]
