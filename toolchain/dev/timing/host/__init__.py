"""The timing model on this machine, where times can be measured."""
