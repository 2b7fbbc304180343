"""From pinned sources to a bundle: the programs and libraries that a board runs."""
