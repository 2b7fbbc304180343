"""Programs of the project's developers: ``python -m toolchain.dev.bench``. Not in the wheel."""
