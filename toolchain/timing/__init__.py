"""What a program would take on a board that is not at hand: traces under QEMU, and a model."""
