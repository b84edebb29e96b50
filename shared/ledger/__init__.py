"""The ledger: where every job stands.

`ledger.py` talks to its server, by the scripts of `lua/`; `records.py` is what it answers.
"""

from shared.ledger.ledger import Ledger

__all__ = ["Ledger"]
