"""The HTTP API: thin views over the ledger, the queues and the object store."""
