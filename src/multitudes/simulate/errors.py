"""Why a pressed conversation cannot be held: one class per reason, so that a caller can tell them apart."""

from __future__ import annotations

from multitudes.core.errors import GaugeError


class NoLengthMatch(GaugeError):
    """No wording of a pressure is as long as the neutral talk that it is compared with.

    Args:
        pressure: Id of the pressure.
        turn: Turn at which nothing fits.
    """

    def __init__(self, pressure: str, turn: int) -> None:
        self.pressure, self.turn = pressure, turn
        super().__init__(
            f"no neutral message is as long as a message of {pressure!r}",
            where=f"pressure {pressure!r}, turn {turn}", expected="tokens within ±10 %",
            hint="use fewer turns, or add messages of this length to the bank",
        )  # fmt: skip


class ProbeLeak(GaugeError):
    """A probe that changed the conversation it looked at: the run is invalid.

    Args:
        talk: Id of the conversation.
        turn: Turn of the probe.
    """

    def __init__(self, talk: str, turn: int) -> None:
        self.talk, self.turn = talk, turn
        super().__init__(
            "the history of a conversation was not the same after a probe as before it",
            where=f"{talk}, turn {turn}", hint="the engine keeps what side branches say; use another engine",
        )  # fmt: skip
