"""``deploy sweep``: many trainings, conversions and times, each done once, on many machines."""
