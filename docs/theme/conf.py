"Sphinx's configuration. What is said about the site in `_quarto.yml` is read from there."

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

from docs.contents import read_contents  # noqa: E402
from docs.contents import version as version_of  # noqa: E402

site = read_contents(ROOT / "_quarto.yml")
project = html_title = site.title
author, release = f"the {site.title} authors", version_of()
copyright = f"{author}, Apache License 2.0 · version {release}"
root_doc, language = "index", "en"
clfnb_description = site.description
extensions = ["myst_nb", "sphinx_copybutton", "sphinx.ext.linkcode", "extension"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # else a table that a cell displays stays text
nb_number_source_lines = False
myst_enable_extensions = [
    "colon_fence",
    "dollarmath",
    "amsmath",
    "fieldlist",
    "strikethrough",
    "tasklist",
]
myst_heading_anchors = 4
myst_heading_slug_func = "docs.contents.slug"
myst_links_external_new_tab = False
suppress_warnings = [
    "myst.header",  # a module's page may begin its ideas at any depth
    "ref.python",  # two modules may have a name in common; a signature then links to one of them
]
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_baseurl = f"{site.url}/"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_css_files, html_js_files = ["clfnb.css"], ["clfnb.js"]
html_search_scorer = str(Path(__file__).parent / "static" / "scorer.js")
html_use_index = html_domain_indices = False
html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it is fetched, which a page opened from a file may not do
html_math_renderer = "mathml"
html_theme_options = {
    "top_of_page_buttons": ["edit"],
    "source_edit_link": f"{site.repository}/edit/{site.branch}/{{filename}}",
    "footer_icons": [],
}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "github-dark"
copybutton_exclude = ".linenos, .gp, .go"
linkcode_link_text = "source"


def linkcode_resolve(domain: str, info: dict) -> str | None:
    "The lines of a symbol in the repository."
    from extension import source_lines

    lines = (
        source_lines(info["module"], info["fullname"])
        if domain == "py" and info["module"]
        else None
    )
    path = f"{info['module'].replace('.', '/')}.py"
    return lines and f"{site.repository}/blob/{site.branch}/{path}#L{lines[0]}-L{lines[1]}"
