"""The ledger: where every job stands.

`ledger.py` and `upkeep.py` ask its server (`server.py`) by the scripts of `lua/`; `records.py` is
what it answers. `inspect.py` looks for contradictions in it.
"""

from shared.ledger.ledger import Ledger

__all__ = ["Ledger"]
