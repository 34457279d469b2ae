"""The engine `ray`: a driver that owns the results, and workers on the nodes of a Ray cluster."""
