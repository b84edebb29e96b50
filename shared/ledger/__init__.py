"""The ledger: where every job stands.

`ledger.py`, `batches.py` and `upkeep.py` ask its server (`server.py`) by the scripts of `lua/`;
`records.py` and `batch_records.py` are what it answers. `inspect.py` looks for contradictions.
"""

from shared.ledger.ledger import Ledger

__all__ = ["Ledger"]
