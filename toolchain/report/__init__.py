"""Tables and pictures of what the other parts found."""
