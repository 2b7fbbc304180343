"""Third-party sources and packages, pinned and checked."""
