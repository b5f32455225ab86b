"Metadata is in pyproject.toml; here is what it cannot say: the notebooks of the course go into the package."

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

KINDS = ("lessons", "exercises", "solutions")


class WithNotebooks(build_py):
    "Copies nbs/lessons and its like to clfnb/nbs/; an editable installation goes on reading nbs/."

    def notebooks(self):
        "Pairs of a notebook and its place in the package."
        found = [path for kind in KINDS for path in sorted(Path("nbs", kind).glob("*.ipynb"))]
        return [(str(path), str(Path(self.build_lib, "clfnb", path))) for path in found]

    def run(self):
        super().run()
        for source, target in [] if self.editable_mode else self.notebooks():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode=1):
        return super().get_outputs(include_bytecode) + [target for _, target in self.notebooks()]


setup(cmdclass={"build_py": WithNotebooks})
