"""Whether two runtimes compute the same: how far apart, beside what scale, and from where on."""
