"""Records and the store that keeps them; atomic writes, hashing, the cache folder, provenance."""
