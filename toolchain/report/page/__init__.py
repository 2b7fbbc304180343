"""A report: what was measured, as one page of HTML that is looked at rather than read."""
