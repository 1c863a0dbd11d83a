"""What a simulated person must not say: pure checks on one draw and what was said before it.

A guard never edits a text. It says that a draw is to be drawn again; both texts are kept and counted, because
rejection changes what is said. A guard sees neither judge nor discriminator scores, or realism would be optimised on
its own test. Endings are not a guard's work: ``endless_goodbye`` ends a session without a redraw.

| guard | fires when |
|---|---|
| ``empty`` | there is no letter or digit |
| ``other_speaker`` | a line starts with a speaker's label, or a chat template's control token is in it |
| ``reasoning_leak`` | thought tags, or talk about "the user", a persona, a role or a prompt |
| ``assistant_voice`` | a pattern of ``voice.LEXICON`` matches |
| ``role_inversion`` | it claims to be the partner, greets its own name, or opens with an offer of service |
| ``repetition`` | 5 words or more and nearly an earlier turn of its own |
| ``echo`` | 8 words or more and much like the partner's last turn |
| ``restart`` | much like its own first turn, or a greeting from its third turn on |
| ``loop`` | 12 words or more, most of whose word trigrams repeat |

Likeness is the Jaccard index of character 4-grams in [0, 1]. The floors on words let people say "yes" and "thanks"
as often as they like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.records import Speaker, Turn
from multitudes.simulate.voice import Hit, voice_hits

REPETITION_LIKENESS, REPETITION_WORDS = 0.8, 5
ECHO_LIKENESS, ECHO_WORDS = 0.6, 8
RESTART_LIKENESS, RESTART_WORDS, GREETING_FROM_TURN = 0.6, 5, 3
LOOP_SHARE, LOOP_WORDS = 0.5, 12
GOODBYES_IN_ROW = 3


@dataclass(frozen=True, slots=True)
class GuardContext:
    """What a guard may look at beside the draw.

    Attributes:
        own: The speaker's own earlier turns as they were kept, oldest first.
        partner_last: What the partner said last; empty where the speaker opens.
        name: What the speaker is called.
        partner: What the partner is called, a name or a label such as ``help desk``.
    """

    own: tuple[str, ...] = ()
    partner_last: str = ""
    name: str = ""
    partner: str = ""

    @classmethod
    def of(cls, turns: Sequence[Turn], speaker: Speaker, *, name: str = "", partner: str = "") -> GuardContext:
        """The context in which ``speaker`` says the next turn after ``turns``."""
        others = [t.text for t in turns if t.speaker != speaker]
        return cls(
            own=tuple(t.text for t in turns if t.speaker == speaker),
            partner_last=others[-1] if others else "",
            name=name,
            partner=partner,
        )


Guard = Callable[[str, GuardContext], bool]


@lru_cache(maxsize=4096)  # every own turn is compared with every later one
def _shingles(text: str) -> frozenset[str]:
    plain = " ".join(text.casefold().split())
    return frozenset(plain[i : i + 4] for i in range(max(1, len(plain) - 3)))


def likeness(a: str, b: str) -> float:
    """Jaccard index of the character 4-grams of two texts, case and spacing aside, in [0, 1]."""
    left, right = _shingles(a), _shingles(b)
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def _alike(a: str, b: str, threshold: float) -> bool:
    if max(len(a), len(b)) > 4 * min(len(a), len(b)):  # spares the shingles of a long reply; only loops could differ
        return False
    small, large = sorted((len(_shingles(a)), len(_shingles(b))))
    return small >= threshold * large and likeness(a, b) >= threshold  # no index exceeds the ratio of sizes


_ROLES = (
    r"agent|assistant|ai|chat ?bot|bot|user|human|system|customer|client|caller|seeker|recommender|operator|"
    r"representative|interviewer|speaker ?\d?|person ?\d|p[12]"
)
_ROLE_LINE = re.compile(rf"^[ \t>*_#\[(\"]{{0,4}}(?:{_ROLES})[ \t*_\])]{{0,4}}:", re.IGNORECASE | re.MULTILINE)
_CONTROL = re.compile(
    r"<\|[\w/ -]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|"
    r"^#{2,4} ?(?:Instruction|Response|Human|Assistant|User|Input|System)s?\b",
    re.MULTILINE,
)
_REASONING = re.compile(
    r"</?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis)>|"
    r"\bthe user(?:'s|s)? (?:is|was|has|just|wants?|asks?|asked|said|says|seems?|might|would|should|message|question|"
    r"request|persona|prompt|input|needs?)\b|"
    r"\b(?:my|the|this) persona(?:'s)?\b|\b(?:i|i'll|me|to|must|should|will|now|while|by) (?:stay|remain|keep|"
    r"break)(?:ing)? "
    r"(?:in |out of |true to (?:the|my) )?character\b|\bplease (?:respond|reply) (?:as|to \w+'s|with)\b|\bend "
    r"of response\b|"
    r"\b(?:the|my|your) system prompt\b|\bas per (?:the|my|your) (?:instructions|prompt)\b|"
    r"\b(?:respond(?:ing)?|repl(?:y|ying)|answer(?:ing)?) (?:in character|as (?:if )?(?:the|a) (?:user|"
    r"customer|character|persona))\b|"
    r"\b(?:i'm|i am|i need to|i should|i must|i have to|let me) (?:role-?play(?:ing)?|simulat(?:e|ing)|"
    r"play(?:ing)? the "
    r"(?:role|part))\b|\b(?:keep|limit) (?:your|the|my) (?:response|reply|answer)s? (?:brief|short|to \w+|under)\b|"
    r"\b(?:preface|start|begin) (?:the|your) response\b",
    re.IGNORECASE,
)
_REASONING_CLUES = (">|the user|persona|character|prompt|instructions|respon|repl|role|part|simulat|answer").split(
    "|"
)
_GREETING = re.compile(r"^\W*(?:hi|hello|hey|greetings|good (?:morning|afternoon|evening)|howdy)\b", re.IGNORECASE)
_SELF_AS_DESK = re.compile(
    r"\bi(?:'m| am) (?:your|the|an?) (?:\w+ ){0,2}?(?:assistant|chat ?bot|(?:help|service|support|customer) "
    r"(?:desk|agent|representative|line|care)|support (?:agent|team)|representative from)\b|"
    r"\bas your (?:assistant|agent|advisor|representative)\b|"
    r"\bwelcome to (?:the |our )[^.!?\n]{0,40}\b(?:help|support|service|line|desk|cent(?:er|re))\b",
    re.IGNORECASE,
)
_OFFERS = frozenset({"how_can_i_help", "here_to_help", "anything_else"})  # friends, too, are "happy to help"


@lru_cache(maxsize=1024)
def _name_line(name: str) -> re.Pattern[str]:
    either = "|".join(re.escape(n) for n in dict.fromkeys((name, name.split()[0])))
    return re.compile(rf"^[ \t>*_\[(\"]{{0,4}}(?:{either})[ \t*_\])]{{0,4}}:", re.MULTILINE)


@lru_cache(maxsize=1024)
def _addresses(name: str) -> re.Pattern[str]:
    """``name`` spoken to: after a greeting or thanks and before more, or first and set off by a comma.

    "Hi, Ada here", "Hello, Ada speaking" and a signature "Thanks, Ada" are the speaker's own and do not match.
    """
    first = re.escape(name.split()[0])
    return re.compile(
        rf"^\W*(?i:hi|hello|hey|dear|good (?:morning|afternoon|evening)|nice to meet you|great to meet you)"
        rf"(?i: there| again)?,? {first}(?:'s)?\b(?!,? (?i:here|speaking|calling|again|from)\b)|"
        rf"^\W*(?:(?i:thank you|thanks|well|okay|ok|sure|yes|no|great|that's great|i see|i understand|"
        rf"sorry),? )?{first}, "
        rf"(?=(?i:i|you|your|what|how|that|it|we|do|did|have|can|could|would|is|are|thank|thanks|please|let|"
        rf"where|when|why)\b)|"
        rf"^\W*(?i:thank you|thanks),? {first}[!.] (?=\S)|(?i:nice|great|lovely|good) to meet you,? (?:too, "
        rf")?{first}\b"
    )


@lru_cache(maxsize=1024)
def _claims(partner: str) -> re.Pattern[str]:
    return re.compile(
        rf"\b(?:i'm|i am|this is|my name is|you(?:'ve| have) reached) (?:the |your )?{re.escape(partner)}\b",
        re.IGNORECASE,
    )


def _empty(text: str, context: GuardContext) -> bool:
    return not any(c.isalnum() for c in text)


def _other_speaker(text: str, context: GuardContext) -> bool:
    if ":" in text:
        names = [n.strip() for n in (context.name, context.partner) if n.strip()]
        if _ROLE_LINE.search(text) or any(_name_line(n).search(text) for n in names):
            return True
    return ("<" in text or "[" in text or "#" in text) and _CONTROL.search(text) is not None


def _reasoning_leak(text: str, context: GuardContext) -> bool:
    lower = text.lower()
    return any(c in lower for c in _REASONING_CLUES) and _REASONING.search(text.replace("’", "'")) is not None


@lru_cache(maxsize=256)  # two guards ask about the same draw
def _voice_hits(text: str) -> tuple[Hit, ...]:
    return voice_hits(text)


def _assistant_voice(text: str, context: GuardContext) -> bool:
    return bool(_voice_hits(text))


def _role_inversion(text: str, context: GuardContext) -> bool:
    straight = text.replace("’", "'")
    name, partner = context.name.strip(), context.partner.strip()
    if name and name.split()[0] in partner.split():
        partner = name = ""  # namesakes: nobody can tell whom the name means
    return (
        _SELF_AS_DESK.search(straight) is not None
        or (len(partner) > 2 and _claims(partner).search(straight) is not None)
        or (len(name) > 1 and _addresses(name).search(straight) is not None)
        or any(hit.name in _OFFERS for hit in _voice_hits(text))
    )


def _repetition(text: str, context: GuardContext) -> bool:
    return len(text.split()) >= REPETITION_WORDS and any(_alike(text, t, REPETITION_LIKENESS) for t in context.own)


def _echo(text: str, context: GuardContext) -> bool:
    return len(text.split()) >= ECHO_WORDS and _alike(text, context.partner_last, ECHO_LIKENESS)


def _restart(text: str, context: GuardContext) -> bool:
    if not context.own:
        return False
    greets_late = len(context.own) + 1 >= GREETING_FROM_TURN and _GREETING.match(text) is not None
    again = len(text.split()) >= RESTART_WORDS and _alike(text, context.own[0], RESTART_LIKENESS)
    return greets_late or again


def _loop(text: str, context: GuardContext) -> bool:
    words = text.casefold().split()
    if len(words) < LOOP_WORDS:
        return False
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) > LOOP_SHARE


GUARDS: dict[str, Guard] = {
    "empty": _empty,
    "other_speaker": _other_speaker,
    "reasoning_leak": _reasoning_leak,
    "assistant_voice": _assistant_voice,
    "role_inversion": _role_inversion,
    "repetition": _repetition,
    "echo": _echo,
    "restart": _restart,
    "loop": _loop,
}


def check_guards(names: Collection[str], *, where: str = "guards") -> None:
    """Refuse names of guards that do not exist, before the first call is paid for.

    Raises:
        ConfigError: Names the unknown guard and the near ones.
    """
    for name in names:
        if name not in GUARDS:
            raise ConfigError("unknown guard", where=where, found=repr(name), hint=did_you_mean(name, GUARDS))


def check(text: str, context: GuardContext, *, enabled: Collection[str] = tuple(GUARDS)) -> tuple[str, ...]:
    """Names of the enabled guards that fire on ``text``, in the order of ``GUARDS``.

    Raises:
        ConfigError: An enabled guard does not exist.

    >>> check("User: hello again", GuardContext())
    ('other_speaker',)
    >>> check("my card is lost", GuardContext(), enabled=["empty", "assistant_voice"])
    ()
    """
    check_guards(enabled)
    return tuple(name for name, fires in GUARDS.items() if name in enabled and fires(text, context))


# --- endings ------------------------------------------------------------------------------------------------

_CLOSING = re.compile(
    r"\b(?:(?<!said )(?<!say )(?<!saying )good ?-?bye|bye(?:[ -]?bye)?|farewell|see (?:you|ya)(?: (?:later|"
    r"soon|around|then|again|next \w+|"
    r"tomorrow))?(?=\W*$)|"
    r"take care(?! of)|(?:have|enjoy) (?:an? (?:very |really )?(?:good|great|nice|lovely|wonderful|fantastic|"
    r"fabulous|pleasant|blessed|"
    r"happy|safe|amazing|awesome|beautiful)|the rest of your) (?:\w+ )?(?:day|night|evening|afternoon|morning|"
    r"weekend|one|time|trip)|"
    r"good ?night|(?:talk|speak|chat) to you (?:later|soon|again|then)|until (?:next time|we meet)|you too(?=\W*$)|"
    r"all the best(?=\W*$))\b",
    re.IGNORECASE,
)
_TAIL = 80  # characters: a goodbye stands at the end of what is said


def closes(text: str) -> bool:
    """Whether ``text`` ends on a goodbye. A closing act, not a stop sign: it alone ends nothing.

    >>> closes("Great, thanks a lot. Have a nice evening!")
    True
    >>> closes("I said goodbye to my old bank last year, and since then nothing works, so tell me what I should do "
    ...        "now that they closed the account and the card with it.")
    False
    """
    return "?" not in text[-3:] and _CLOSING.search(text[-_TAIL:]) is not None


def endless_goodbye(turns: Sequence[Turn]) -> bool:
    """Whether one side has just closed for the third time in a row, counting that side's own turns."""
    own = [t.text for t in turns if t.speaker == turns[-1].speaker][-GOODBYES_IN_ROW:]  # empty for no turns
    return len(own) == GOODBYES_IN_ROW and all(closes(text) for text in own)
