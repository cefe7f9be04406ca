"""The command line: one file a subcommand, which parses, calls the library and prints.

Results go to stdout, everything else (progress, warnings, errors) to stderr. Exit codes: 0 ok, 1 a check said
no, 2 wrong use or bad input, 130 interrupted. Nothing asks questions.

So that ``onnxq --help`` answers at once, files here import nothing at their top but typer and the standard
library; what a command works with is imported inside it.
"""
