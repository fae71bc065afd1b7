"""The command line, one file per group of verbs; `zoo/__main__.py` puts them together.

Nothing here computes: a verb reads its arguments, calls a function of the package and prints the
result. Importing these files costs nothing: whatever needs NumPy is imported inside the verb.
"""
