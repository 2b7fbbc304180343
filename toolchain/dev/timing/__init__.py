"""The timing model held against times that others published: which program, the fit, its errors."""
