"""Networks in plain torch, by the names of the published weights."""
