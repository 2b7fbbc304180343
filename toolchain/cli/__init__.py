"""The command line: a module a group of commands, and what all of them share.

Every command does three things: it reads its options, calls the toolchain, and prints what came
back, as tables or with ``--json`` as one JSON document on standard output. Progress, notes and
errors go to standard error.

Modules are imported for help and completion, too. So they import at their top only what help
needs; what a command needs to do its work is imported in its function.
"""
