"""How right a network is on labelled images: in torch, on this machine, on a board."""
