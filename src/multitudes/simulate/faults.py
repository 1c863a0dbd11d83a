"""Whose fault it is: one decision list from a failed reply to the side that is to blame."""

from __future__ import annotations

from multitudes.core.records import Fault, FaultKind, Speaker, StopReason
from multitudes.models.base import FaultCode, ReplyFault

PROVIDER_CODES: frozenset[FaultCode] = frozenset({"timeout", "rate_limit", "server"})

_STOP: dict[FaultKind, StopReason] = {
    "simulator": "simulator_fault",
    "target": "target_fault",
    "provider": "provider_fault",
    "config": "config_fault",
}


def attribute(side: Speaker, fault: ReplyFault, *, turn: int | None = None) -> Fault | None:
    """The fault of a conversation in which the reply of ``side`` failed; None for a spent budget, which is nobody's.

    First match: time-outs, rate limits and server errors after all retries are the provider's, with the side on
    record. Everything else is the side's own: the model that plays the person is the simulator, the other the target.

    >>> attribute("user", ReplyFault("empty", "no text"), turn=4).kind
    'simulator'
    >>> attribute("target", ReplyFault("budget", "5 USD spent")) is None
    True
    """
    if fault.code == "budget":
        return None
    own: FaultKind = "simulator" if side == "user" else "target"
    kind: FaultKind = "provider" if fault.code in PROVIDER_CODES else own
    return Fault(kind=kind, code=fault.code, detail=fault.detail, side=side, turn=turn)


def stop_reason(fault: Fault | None) -> StopReason:
    """Why a conversation ended whose reply failed: the fault ``attribute`` found, or the budget where it found none.

    A judge works on finished conversations, so its faults end none.

    Raises:
        KeyError: For a judge's fault.
    """
    return "budget" if fault is None else _STOP[fault.kind]
