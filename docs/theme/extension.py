"Sphinx's part of the builder: MathML, links of names in backticks, of terms and of citations, and where a page is edited."

import posixpath
import re
from functools import cache
from html import escape

from docutils import nodes
from latex2mathml.converter import convert

from docs.execute import module_path
from docs.symbols import lines_of

NO_TERMS = {"cell", "lead", "facts", "lessons"}  # classes of what is not running text
NO_LINKS = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.strong,
    nodes.caption,
)


@cache
def module_lines(module: str) -> dict:
    "Name → lines of a module's file."
    path = module_path(module.removeprefix("clfnb."))
    return lines_of(path.read_text(encoding="utf-8")) if path else {}


def source_lines(module: str, name: str) -> tuple[int, int] | None:
    "First and last line of a symbol, if its module says."
    return module_lines(module).get(name)


# MathML


def _math(display: str):
    def visit(self, node):
        tex = node.astext()
        try:
            mathml = convert(tex, display=display)
        except Exception as error:  # the converter raises many kinds
            raise ValueError(
                f"{self.builder.current_docname}: mathematics that cannot be rendered ({error!r}): {tex}"
            ) from error
        self.body.append(f'<div class="math">{mathml}</div>' if display == "block" else mathml)
        raise nodes.SkipNode

    return visit


# Names in backticks


def resolve_name(text: str, objects: dict, modules: dict, imports: dict, own: str) -> str | None:
    """Full name of what a name in backticks means on a page, or None.

    A name counts if the page's own module defines it, if the page's code imports it, if it is written with its module, or if only one module
    defines it and it cannot be mistaken for a word.
    """
    name = re.sub(r"\(\)$", "", text)
    if not re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)*", name):
        return None
    head, _, tail = name.partition(".")
    candidates = [name, f"{own}.{name}"] if own else [name]
    candidates += [imports[head] + (f".{tail}" if tail else "")] if head in imports else []
    full = next(
        (candidate for candidate in candidates if candidate in objects or candidate in modules),
        None,
    )
    if full or not (re.search(r"[A-Z_]", head) or tail):
        return full
    ends = [full for full in objects if full.endswith(f".{name}")]
    return ends[0] if len(ends) == 1 else None


def _link(node, app, docname: str, target: str, anchor: str, **attributes):
    "A reference to another page or place around a node."
    uri = app.builder.get_relative_uri(docname, target) if target != docname else ""
    reference = nodes.reference(
        "", "", node, internal=True, refuri=uri + (f"#{anchor}" if anchor else ""), **attributes
    )
    return reference


def link_names(app, doctree, docname: str) -> None:
    "Every name in backticks that the library knows becomes a link to it."
    objects = {
        name: (entry.docname, entry.node_id)
        for name, entry in app.env.domains["py"].objects.items()
    }
    modules, imports = app.config.clfnb_modules, app.config.clfnb_imports.get(docname, {})
    own = next((module for module, page in modules.items() if page == docname), "")
    for node in list(doctree.findall(nodes.literal)):
        if any(isinstance(parent, (nodes.reference, nodes.title)) for parent in _parents(node)):
            continue
        full = resolve_name(node.astext(), objects, modules, imports, own)
        target, anchor = objects.get(full) or (modules.get(full), "")
        if target and (target, anchor) != (docname, ""):
            node.parent.replace(node, _link(node.deepcopy(), app, docname, target, anchor))


def mark_numbers(app, doctree, docname: str) -> None:
    "Cells of tables that hold a number, with its interval perhaps, are not broken into lines."
    for entry in doctree.findall(nodes.entry):
        if re.fullmatch(
            r"[-+–±\d.,:()%\s]*\d[-+–±\d.,:()%\s]*(?:to[-+\d.,()%\s]+)?", entry.astext()
        ):
            entry["classes"].append("number")


def _parents(node):
    while node.parent is not None:
        node = node.parent
        yield node


# The glossary


def term_pattern(name: str) -> str:
    "A term as a word of its own; in any case unless it is an abbreviation."
    words = re.escape(name).replace(r"\ ", r"\s+")
    return (
        rf"(?<![\w-]){words}(?![\w-])"
        if re.search(r"[A-Z]{2}", name)
        else rf"(?i:(?<![\w-]){words}(?![\w-]))"
    )


def _replace_text(doctree, pattern: re.Pattern, link, skipped) -> None:
    "Put links into running text: `link(match)` gives a node, or None to leave the words as they are."
    for text in list(doctree.findall(nodes.Text)):
        if any(
            isinstance(parent, skipped) or NO_TERMS & set(parent["classes"])
            for parent in _parents(text)
        ):
            continue
        pieces, end, words = [], 0, text.astext()
        for match in pattern.finditer(words):
            if (node := link(match)) is not None:
                pieces += [nodes.Text(words[end : match.start()]), node]
                end = match.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(words[end:])])


@cache
def terms_pattern(names: tuple[str, ...]) -> re.Pattern:
    "One pattern for all terms, the longest first."
    return re.compile("|".join(f"(?P<t{i}>{term_pattern(name)})" for i, name in enumerate(names)))


def link_terms(app, doctree, docname: str) -> None:
    "On a lesson, the first use of each term of the glossary becomes a link with its definition."
    if not docname.startswith("lessons/") or not app.config.clfnb_terms:
        return
    entries = sorted(app.config.clfnb_terms, key=lambda entry: -len(entry[0]))
    seen = set()

    def link(match):
        _, anchor, meaning = entries[int(match.lastgroup[1:])]
        if anchor in seen:
            return None
        seen.add(anchor)
        how = {"reftitle": meaning, "classes": ["term"]}
        return _link(nodes.Text(match[0]), app, docname, "reference/glossary", anchor, **how)

    _replace_text(doctree, terms_pattern(tuple(name for name, _, _ in entries)), link, NO_LINKS)


# The bibliography


@cache
def citation_pattern(keys: tuple[tuple[str, str], ...]) -> re.Pattern:
    "Every way to cite an entry: Guo 2017, Guo (2017), Guo et al. 2017, Sun and Xu 2014."
    others = r"(?:,? et al\.|(?:, [A-Z][\w-]+)*,? and [A-Z][\w'-]+)?"
    ways = (
        f"(?P<c{i}>(?<![\\w-]){re.escape(name).replace('í', '[íi]')}{others},? \\(?{year}(?!\\d))"
        for i, (name, year) in enumerate(keys)
    )
    return re.compile("|".join(ways))


def link_citations(app, doctree, docname: str) -> None:
    "A name with a year leads to its entry in the bibliography."
    entries = app.config.clfnb_entries
    if not entries or docname == "reference/bibliography":
        return

    def link(match):
        _, _, anchor, text = entries[int(match.lastgroup[1:])]
        how = {"reftitle": text, "classes": ["citation"]}
        return _link(nodes.Text(match[0]), app, docname, "reference/bibliography", anchor, **how)

    keys = tuple((name, year) for name, year, _, _ in entries)
    _replace_text(doctree, citation_pattern(keys), link, NO_LINKS)


# The sidebar


def parents_of(includes: dict[str, list[str]]) -> dict[str, str]:
    "Page -> the page whose table of contents lists it; the root is left out."
    return {
        child: parent
        for parent, children in includes.items()
        for child in children
        if parent != "index" and child != parent
    }


def tree_for(whole: str, pagename: str, parents: dict[str, str]) -> str:
    "The sidebar of one page, made from the sidebar of a page at the root that it does not list."
    above, name = {pagename}, pagename
    while name in parents:
        name = parents[name]
        above.add(name)
    folder = posixpath.dirname(pagename)

    def link(match):
        target = match["target"].removesuffix(".html")
        current = target in above
        own = target == pagename
        uri = "#" if own else posixpath.relpath(match["target"], folder or ".")
        level = match["level"] + (" current" if current else "")
        link = f'<a class="{"current " if own else ""}reference internal" href="{uri}">'
        return f'<li class="{level}">{link}'

    pattern = (
        r'<li class="(?P<level>[^"]*)"><a class="reference internal" href="(?P<target>[^"#:]+)">'
    )
    return re.sub(pattern, link, whole)


def quick_sidebar(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    "Sphinx resolves the whole table of contents again for every page, which takes half of a build; once is enough."
    if not hasattr(app, "clfnb_tree"):
        options = {"titles_only": True, "maxdepth": -1, "includehidden": True}
        app.clfnb_tree = app.builder._get_local_toctree("404", collapse=False, **options)
        app.clfnb_parents = parents_of(app.env.toctree_includes)
    tree = tree_for(app.clfnb_tree, pagename, app.clfnb_parents)
    context["toctree"] = lambda **options: tree


# Pages


def edit_link(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    "The button for editing leads to the notebook; pages that the builder writes have none."
    source = app.config.clfnb_sources.get(pagename)
    link = context.get("theme_source_edit_link") or ""
    context["theme_source_edit_link"] = link.replace("{filename}", source) if source else ""
    context["theme_top_of_page_buttons"] = ["edit"] if source else []


def lighten(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Leave out what only weighs: MyST-NB's style sheet, which ours replaces, and marks around code that no style colours.

    Dots and equals signs, most of all operators, are set as the names beside them. Places of constants, which have no text of their own, come
    before the list of what follows them. The captions of the sidebar are headings, and say of which level.
    """
    context["css_files"] = [
        file for file in context["css_files"] if "mystnb." not in str(file.filename)
    ]
    if "body" in context:
        plain = r'<span class="(?:(?:w|n|p|nn)">([^<]*)|o">([.=]))</span>'
        body = re.sub(plain, r"\1\2", context["body"])
        context["body"] = re.sub(r'(<dl [^>]*>\s*)((?:<span id="[^"]+"></span>)+)', r"\2\1", body)
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def describe_page(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    "What a search engine or a message with a link shows of a page: its title, a sentence and an image."
    site = app.config.html_baseurl
    text = app.config.clfnb_descriptions.get(pagename) or app.config.clfnb_description
    image = app.config.clfnb_cards.get(pagename, "_images/ecg_delineation.png")
    title = re.sub(r"<[^>]+>", "", context.get("title") or app.config.project)
    properties = {
        "og:type": "website",
        "og:site_name": app.config.project,
        "og:title": title,
        "og:description": text,
        "og:url": f"{site}{pagename}.html",
        "og:image": f"{site}{image}",
    }
    tags = [f'<meta name="description" content="{escape(text)}" />']
    tags += [f'<meta property="{k}" content="{escape(v)}" />' for k, v in properties.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)


def setup(app) -> dict:
    "Register all of it."
    for name, default in (
        ("clfnb_modules", {}),
        ("clfnb_imports", {}),
        ("clfnb_terms", []),
        ("clfnb_entries", []),
        ("clfnb_sources", {}),
        ("clfnb_descriptions", {}),
        ("clfnb_description", ""),
        ("clfnb_cards", {}),
    ):
        app.add_config_value(name, default, "html")
    app.add_html_math_renderer("mathml", (_math("inline"), None), (_math("block"), None))
    app.connect("doctree-resolved", mark_numbers)
    app.connect("doctree-resolved", link_names)
    app.connect("doctree-resolved", link_citations)
    app.connect("doctree-resolved", link_terms)
    app.connect("html-page-context", quick_sidebar, priority=100)  # before furo reads the tree
    app.connect("html-page-context", edit_link)
    app.connect("html-page-context", describe_page)
    app.connect("html-page-context", lighten, priority=900)  # after furo's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
