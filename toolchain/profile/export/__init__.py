"""A profile as files for other programs: tables, a trace, data for drawings of graphs."""
