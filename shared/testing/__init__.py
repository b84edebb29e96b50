"""In-memory twins of the ledger and the object store, for tests without servers."""
