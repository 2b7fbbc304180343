"""What is written: outputs that appear whole, and the cache."""
