"""The receiver one gets from pynetdicom's documentation: an AE, a handler, a file for each object."""

from __future__ import annotations

import itertools
import signal
import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification


def main(folder: Path, port: int) -> None:
    """Receive until terminated."""
    number = itertools.count()

    def store(event: evt.Event) -> int:
        (folder / f"{next(number)}.dcm").write_bytes(event.encoded_dataset())
        return 0

    ae = AE("BENCH")
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.maximum_pdu_size = 131_072
    ae.maximum_associations = 100
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
