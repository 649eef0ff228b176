"""Files that can be trusted after a crash, and read without trusting who wrote them."""

from sklflat.storage.files import read, write
from sklflat.storage.fingerprint import fingerprint
from sklflat.storage.store import RunStore

__all__ = ["RunStore", "fingerprint", "read", "write"]
