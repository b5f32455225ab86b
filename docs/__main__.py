"""Build the site: python -m docs [--serve [PORT]]

Notebooks whose content, modules and versions have not changed since they were executed last are not executed again.
"""

import argparse
import functools
import http.server
import shutil
import sys
import time
from pathlib import Path

from docs.execute import KEPT, ROOT, CellError
from docs.notebooks import Refused
from docs.site import BUILD, SiteError, build, slowest


def serve(folder: Path, port: int) -> None:
    "Serve a folder on this machine until Ctrl-C."
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends)", flush=True)
        server.serve_forever()


def main() -> int:
    "0 if the site was built, 1 if something in the notebooks stands in its way."
    parser = argparse.ArgumentParser(
        prog="python -m docs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "_docs", help="where the site goes (_docs)"
    )
    parser.add_argument("--fresh", action="store_true", help="execute and render everything again")
    parser.add_argument(
        "--serve",
        nargs="?",
        type=int,
        const=8000,
        metavar="PORT",
        help="then serve it on this machine (8000)",
    )
    options, began = parser.parse_args(), time.monotonic()
    if options.fresh:
        shutil.rmtree(KEPT, ignore_errors=True)
        shutil.rmtree(BUILD, ignore_errors=True)
    try:
        book = build(options.out.absolute())
    except (CellError, Refused, SiteError, ValueError) as error:
        print(f"{error}\nThe site was not built; {options.out} is as it was.", file=sys.stderr)
        return 1
    print(
        f"{len(book.notebooks)} notebooks → {options.out} in {time.monotonic() - began:.1f} s",
        flush=True,
    )
    print(slowest(book))
    if options.serve is not None:
        try:
            serve(options.out, options.serve)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
