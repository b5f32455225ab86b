"""The site's builder: notebooks are executed, turned into MyST pages and rendered by Sphinx.

`python -m docs` builds `_docs/`. The steps are modules of their own, in the order in which they are used:

contents    _quarto.yml → pages and sections
notebooks   a notebook's cells, front matter and directives; what cannot be rendered is refused
execute     notebooks → their outputs, kept by content
stable      outputs without times, temporary places and addresses, so that two builds are equal
symbols     exported code → signatures, argument tables and lines, without importing anything
pages       an executed notebook → the notebook that MyST-NB renders
glossary    terms and citations, with their anchors
generated   lesson cards, library overview
site        all of it, Sphinx, and the exchange of the old site for the new one
results     the commands of the pages of results: listed, and run
tables      the tables of these pages: how new ones differ, and their exchange
theme/      Sphinx's configuration, a small extension, one style sheet, one script
"""
