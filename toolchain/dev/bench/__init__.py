"""What masks gain: instructions of each operator under QEMU, times on this machine, and peers."""
