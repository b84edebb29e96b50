"""What the API and the workers share: contracts, the ledger, the queues, the object store."""
