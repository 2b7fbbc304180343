"""What is built for: boards, their cores and instruction sets. Data, of which all others read."""
