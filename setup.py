"For tools that still look for this file; the metadata is in pyproject.toml."

from setuptools import setup

setup()
