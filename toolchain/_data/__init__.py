"""Where boards/ and runtime_patch/ land in an installed package."""
