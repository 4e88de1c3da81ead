"""The receive path that stores objects while they come.

Job: have ``guard`` take objects off the wire in pieces, and hand them to ``intake`` in the thread that read them.
Place: created by ``receiver`` unless ``dicom.fast_path`` is off; associations are those of ``stock_path``. It must
never hold a whole object.
"""

from __future__ import annotations

from dataclasses import replace

from agent.dicom.guard import Callbacks, GuardedAssociation, StoreRequest
from agent.dicom.intake import Answer, IncomingObject
from agent.dicom.stock_path import StockPath


class FastPath(StockPath):
    """All associations of one receiver process; parameters as of `StockPath`."""

    def _make_callbacks(self) -> Callbacks:
        return replace(super()._make_callbacks(), store=self._store)

    def _store(self, association: GuardedAssociation, request: StoreRequest) -> Answer:
        context = association.context_of(request.context_id)
        incoming = IncomingObject(
            sop_class_uid=request.sop_class_uid,
            sop_uid=request.sop_uid,
            transfer_syntax_uid=context.transfer_syntax,
            calling_aet=association.calling_aet,
            called_aet=association.called_aet,
            association_id=association.identity,
            dataset=request.beginning,
            rest=request.rest,
        )
        return self._answer(association, incoming, context.abstract_syntax)
