"""Files of others: read to a limit, each kind with its own faults told in the user's words."""
