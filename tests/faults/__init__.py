"""Faults that are injected one after the other, and whether each is borne: ``make faults``."""
