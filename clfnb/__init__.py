"Five classification problems as notebooks that run, and the library that they share"

__version__ = "0.1.0"
