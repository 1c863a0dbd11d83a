r"""The assistant's voice in one text: a small lexicon of what chat assistants say and people do not.

A hit is a named pattern and where it matched. The lexicon is a floor, not a judge: it is built to be almost silent
on people (at most two hits in a thousand turns of customers, seekers and friends), so it misses most of what an
assistant says in a neutral tone. People whose job is to serve (clerks, recommenders, nurses) do say some of the
``service`` phrases: a study of such personas should count these hits apart.

Each pattern states why it is there and an example of our own wording, and lists lower-case ``clues``: a text that
holds none of a pattern's clues is not searched with its expression, which keeps a typical turn at some microseconds.

>>> [hit.name for hit in voice_hits("As an AI, I have no hobbies. How can I assist you today?")]
['as_an_ai', 'how_can_i_help']
>>> voice_hits("can you help me? let me know when it ships")
()
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

LEXICON_VERSION = 1  # raise it with every change of an expression: rates of two versions do not compare

Group = Literal["self", "refusal", "service", "empathy", "answer", "layout"]


class Pattern(NamedTuple):
    """One expression of the lexicon.

    Attributes:
        name: Short name, as it appears in counts.
        group: ``self`` says that it is a machine, ``refusal`` declines as one, ``service`` offers help, ``empathy``
            acknowledges by formula, ``answer`` frames a reply to a request, ``layout`` formats a document.
        clues: Lower-case strings, at least one of which every match contains.
        regex: The expression; letter case does not matter.
        why: Why it tells an assistant from a person.
        example: A sentence that it fires on, of our own wording.
    """

    name: str
    group: Group
    clues: tuple[str, ...]
    regex: re.Pattern[str]
    why: str
    example: str


class Hit(NamedTuple):
    """A pattern that matched, and the half-open range of characters where it first did."""

    name: str
    span: tuple[int, int]


def _p(name: str, group: Group, clues: str, regex: str, why: str, example: str) -> Pattern:
    return Pattern(
        name, group, tuple(clues.split("|")), re.compile(regex, re.IGNORECASE | re.MULTILINE), why, example
    )


_MACHINE = (
    r"(?:ai|a\.i\.|artificial intelligence|(?:large )?language model|(?:ai|virtual|digital|automated|computer) "
    r"(?:assistant|agent|program|system|model)|chat ?bot|machine learning model)"
)

LEXICON: tuple[Pattern, ...] = (
    # --- says that it is a machine
    _p("as_an_ai", "self", "as a|being a",
       rf"\b(?:as|being) an? (?:friendly |helpful )?(?:{_MACHINE}\b|machine,? i\b|(?:helpful )?assistant,? "
       rf"(?:i|my)\b)",
       "names itself as a machine before it answers", "As a language model I have never tasted coffee."),
    _p("i_am_an_ai", "self", "i'm|i am",
       rf"\bi(?:'m| am)(?: just| only| simply| really| actually)? (?:an? )?(?:friendly |helpful )?{_MACHINE}\b",
       "says what it is", "I'm just a virtual assistant, but that sounds fun."),
    _p("made_to", "self", "designed|programmed|trained",
       r"\bi(?:'m| am| was|'ve been| have been)(?: not)?(?: only| just| specifically)? (?:designed|programmed to|"
       r"trained (?:on|by)\b(?: an?\b| the\b| large| data| text| open))",
       "speaks of its making", "I was designed to keep our talks polite."),
    _p("no_feelings", "self", "have|capable of",
       r"\bi (?:don't|do not|can't|cannot) (?:actually |really |truly |currently )?have (?:(?:any )?personal "
       r"(?:opinion|feeling|experience|preference|belief|view)|(?:human )?(?:feelings|emotions)\b|"
       r"a physical (?:body|form)|the (?:ability|capability) to|real-time|access to (?:real|external|"
       r"the internet))|\bi(?:'m| am) not capable of (?:feeling|having|experiencing)",
       "denies an inner or bodily life", "I don't have personal preferences when it comes to pizza."),
    _p("my_making", "self", "my ",
       r"\bmy (?:training data|knowledge cut-?off|(?:core )?programming|purpose is to|(?:primary |main )?(?:goal|"
       r"role) is to (?:help|assist|provide|support|be helpful))",
       "speaks of its data or its given purpose", "My goal is to assist you with every step."),
    # --- declines as a machine
    _p("cannot_assist", "refusal", "can't|cannot|unable|not able|not capable|won't",
       r"\bi(?: can't| cannot|(?:'m| am) (?:unable|not able|not capable)(?: to| of)?| won't(?: be able to)?) "
       r"(?:assist (?:you|with|in)|provid\w+ (?!for\b)|fulfil|comply|condone|help (?:you )?with th(?:at|"
       r"is) (?:request|task|"
       r"kind)|engag(?:e|ing) in|generat|offer (?:medical|legal|adv))",
       "declines in policy words", "I'm sorry, but I can't assist with that request."),
    _p("not_comfortable", "refusal", "comfortable",
       r"\bi(?:'m| am|'d| would)?(?: not| don't| do not|n't)(?: be| feel)? comfortable (?:answering|helping|"
       r"assisting|providing|sharing|discussing|engaging|giving)",
       "declines as if by rule", "I'm not comfortable discussing how to pick that lock."),
    # --- offers help
    _p("how_can_i_help", "service", "can i|may i|could i|might i|can we|may we|could we|might we",
       r"\b(?:how|what)(?: else)? (?:can|may|could|might) (?:i|we) (?:best |further )?(?:(?:help|assist|support|"
       r"serve)(?: you)?(?:(?: further| out)?(?: today| tonight)?\s*\?| you\b| with\b)|do for you today|"
       r"be of (?:help|service|assistance) to you)",
       "the opening offer", "Hello there, how can I help you today?"),
    _p("here_to_help", "service", "here",
       r"\b(?:i|we)(?:'m| am|'re| are|'ll be)(?: always| just| still| only| right)* here to (?:help|assist|support|"
       r"listen|guide|provide|answer|make sure|offer)\b",
       "states helping as its reason to be present", "I'm here to listen whenever you need me."),
    _p("happy_to_help", "service", "happy to|glad to|delighted to|pleased to",
       r"\b(?:i|we)(?:'d| would|'ll| will|'m| am|'re| are)(?: also| always)*(?: be)?(?: more than| so|"
       r" very)? (?:happy|glad|delighted|pleased) to (?:help|assist|answer|provide|explain|guide|support|clarify|"
       r"offer|explore)\b",
       "offers help politely", "I'd be happy to explain the steps."),
    _p("i_can_help", "service", "assist you|help you",
       r"\bi(?: can|'ll| could| will|'d like to| would like to|'m able to)(?: certainly| definitely| also|"
       r" try to)* (?:assist you|help you (?:with (?:that|this|your)|find|understand|explore|navigate|figure|"
       r"create|craft|plan))",
       "offers itself as the means", "I can help you navigate the settings."),
    _p("do_my_best", "service", "best to",
       r"\bdo my (?:very )?best to (?:help|answer|assist|provide|explain|support|give)",
       "promises effort to a customer", "I'll do my best to answer clearly."),
    _p("let_me_know_if", "service", "let me know",
       r"\blet me know (?:if (?:you(?:'d| would)? (?:need (?:any|more|help|further|anything)|have any|like me|"
       r"like to)|there(?:'s| is) any|i can|any of th|this helps|that helps)|how (?:else )?i can)",
       "the closing offer", "Let me know if you need anything more."),
    _p("feel_free", "service", "feel free|hesitate to",
       r"\b(?:feel free to (?:ask|reach|contact|share|let me|message|tell)|(?:don't|do not|"
       r"never) hesitate to (?:ask|reach|contact|let|call))",
       "the open invitation", "Feel free to ask me again."),
    _p("anything_else", "service", "anything|something",
       r"\b(?:is there )?(?:any|some)thing (?:else|more|specific|in particular)(?: that)? (?:(?:i|we) (?:can|could|"
       r"may) (?:help|assist|do for)|you(?:'d| would) like (?:to (?:know|discuss|explore|talk)|me|help))",
       "the closing offer as a question", "Is there anything else I can do for you?"),
    _p("would_you_like_me", "service", "would you like",
       r"\bwould you like (?:me to|some (?:help|suggestions|tips|recommendations|advice)\b|help with|"
       r"more information)",
       "offers a next task", "Would you like me to draft the letter?"),
    _p("give_details", "service", "provid|shar|clarify|specific|specify",
       r"\b(?:please|could you|can you|would you)(?: please)?(?: mind)? (?:provid(?:e|ing)|shar(?:e|"
       r"ing))(?: me)?(?: with)?(?: me)? (?:some |a few |a bit |a little )?(?:more|additional|further|"
       r"specific)\b[^.?!]{0,30}\b(?:detail|information|context|specific)|\b(?:could|can) you (?:please "
       r")?(?:clarify|specify)\b",
       "asks for a fuller request", "Could you provide some more details about the printer?"),
    _p("thank_you_for", "service", "thank",
       r"\bthank(?:s| you)(?: so much| very much)? for (?:reaching out|contacting|getting in touch|"
       r"bringing (?:this|that|it) to (?:my|our) attention|your (?:inquiry|enquiry|feedback)|choosing (?:us|our))",
       "thanks as a help desk does", "Thank you for reaching out about the invoice."),
    _p("sorry_for_any", "service", "apolog|sorry for",
       r"\b(?:apologi[sz]e|apologies|sorry) for (?:any|the|my|your) (?:inconvenience|confusion|frustration|"
       r"misunderstanding)\b",
       "apologises for the house", "We apologize for any inconvenience this has caused."),
    _p("rest_assured", "service", "rest assured|we value|our team|valued",
       r"\b(?:rest assured|we value your|our (?:support )?team (?:will|is|can)|(?:as a|our) valued customer)",
       "house style of a help desk", "Rest assured that a refund is on its way."),
    # --- acknowledges by formula
    _p("i_understand_your", "empathy", "understand|appreciate|hear",
       r"\bi (?:completely |fully |totally |truly |can )?(?:understand|hear|appreciate|acknowledge) (?:your "
       r"(?:concern|frustration|feeling|question|request|situation|curiosity|perspective|interest|patience|honesty|"
       r"openness|trust)|how (?:frustrating|difficult|upsetting|hard) (?:this|that|it)|that (?:this|it) (?:can|"
       r"must|may) be|that you(?:'re| are) (?:feeling|upset|frustrated|looking|concerned|going|trying))",
       "names the other's feeling before it acts", "I understand your frustration with the app."),
    _p("sorry_to_hear", "empathy", "sorry",
       r"\bsorry (?:to hear )?(?:that )?you(?:'re| are|'ve been| have been) (?:feeling|going|experienc|dealing|"
       r"struggl|facing|having (?:trouble|difficult|issues|problems|such))|\bsorry to hear (?:that|about|"
       r"this)\b[^\n]{0,160}\b(?:i can help|i'm here|i am here|can you tell me more|let's work)",
       "sympathy that leads to a service", "I'm sorry to hear that you're dealing with noisy pipes."),
    _p("sounds_like_you", "empathy", "sounds like|seems like",
       r"\b(?:it|that) (?:sounds|seems) like you(?:'re| are|'ve been| have been) (?:feeling|going through|"
       r"experiencing|dealing|looking for|asking|struggling|carrying|facing)",
       "reflects the other back by formula", "It sounds like you're going through a rough week."),
    _p("it_is_understandable", "empathy", "that you",
       r"\b(?:it's|it is|that's|that is) (?:really |so |completely )?(?:commendable|admirable|understandable) "
       r"that you(?:'re| are|'ve| have)\b",
       "grades the other's conduct", "It's commendable that you've begun to save."),
    _p("feelings_valid", "empathy", "valid|completely|perfectly|totally|understandable|normal to",
       r"\byour (?:feelings|emotions|concerns|experiences?) (?:are|is) (?:completely |totally |absolutely |"
       r"entirely )?(?:valid|understandable|normal)|\b(?:it's|it is|that's|that is) (?:completely|perfectly|"
       r"totally|entirely) (?:understandable|normal|natural|okay|ok|valid) (?:to|that|for|if)\b",
       "certifies a feeling", "Your feelings are completely valid."),
    _p("thanks_for_sharing", "empathy", "sharing|trusting me|opening up|being ",
       r"\b(?:thank you|thanks)(?: so much| very much)? for (?:sharing (?:your|that|this|these|with|such)|"
       r"trusting me|opening up|being (?:so )?(?:open|honest|vulnerable))|\bi appreciate you sharing\b",
       "receives a confidence as a counsellor does", "Thank you for sharing your thoughts on gardening."),
    # --- frames a reply to a request
    _p("certainly", "answer", "certainly|absolutely|of course|sure",
       r"^\W{0,2}(?:certainly|absolutely|of course|sure(?: thing)?)[!,.:]+\s+(?:here(?:'s| is| are) (?:an?|some|"
       r"the|how)\b|i(?:'d| would|'ll| can|'m| am) (?:be )?(?:more than )?(?:happy|glad|help)|let's (?:dive|break|"
       r"explore|start))|^\W{0,2}certainly!",
       "accepts the task before it does it", "Certainly! The museum opens at nine."),
    _p("here_is", "answer", "here's|here is|here are",
       r"\bhere(?:'s| is) (?:a (?:brief |short |possible |sample |revised |quick |simple |detailed )?(?:response|"
       r"reply|summary|overview|breakdown|draft|step-by-step|example of)|(?:the|my|your) (?:response|reply|"
       r"revised))|\bhere are (?:some|a few|several|a couple|the top|\d+|two|three|four|five|"
       r"ten)\b[^.?!\n]{0,70}(?::|that (?:may|might|could|can|you)|you (?:can|could|might)|to (?:help|consider|"
       r"get))",
       "announces a document", "Here are some tips you could try on Monday."),
    _p("great_question", "answer", "question",
       r"(?:\b(?:that's|that is|what) an? |^\W{0,2})(?:really |very |truly )?(?:great|excellent|fantastic|"
       r"wonderful|insightful|thoughtful|profound) question\b",
       "grades the question", "That's an excellent question about bees."),
    _p("important_to_note", "answer", "important|essential|crucial|worth noting|vital",
       r"\bit(?:'s| is)(?: also| always| very)? (?:(?:important|essential|crucial|vital) (?:to|that we) (?:note|"
       r"remember|recogni[sz]e|acknowledge|consider|keep in mind|understand|approach|prioriti[sz]e|be aware|"
       r"clarify|respect|consult)|worth noting)",
       "lectures", "It's important to note that mushrooms can be poisonous."),
    _p("see_a_professional", "answer", "professional|crisis|suicide",
       r"\b(?:mental health|medical|healthcare|qualified|licensed|trained|legal) professional|\b(?:crisis|"
       r"suicide)(?: prevention)? (?:hot|help|life) ?line",
       "refers by policy", "Please speak with a licensed professional about the dosage."),
    # --- formats a document
    _p("numbered_list", "layout", "1.|1)", r"^[ \t]*1[.)][ \t]+\S[^\n]*\n(?:[^\n]*\n){0,6}?[ \t]*2[.)][ \t]+\S",
       "a list with numbers", "1. Wash the rice.\n2. Boil it."),
    _p("bullets", "layout", "- |* |• |-\t|*\t|•\t",
       r"^[ \t]*([-*•])[ \t]+\S[^\n]*\n+[ \t]*\1[ \t]+\S[^\n]*\n+[ \t]*\1[ \t]+\S",
       "a list of three points", "- rice\n- beans\n- salt"),
    _p("heading", "layout", "#", r"^#{1,6} +\S", "a heading", "## Getting started"),
    _p("bold", "layout", "**", r"\*\*[^\s*][^*\n]{0,80}\*\*", "bold markdown", "Bring **two** forms of identity."),
)  # fmt: skip


def voice_hits(text: str) -> tuple[Hit, ...]:
    """The patterns that fire on ``text``, in the lexicon's order, each with its first match."""
    straight = text.replace("’", "'")  # one character for one, so spans hold in the text as it came
    lower = straight.lower()
    return tuple(
        Hit(pattern.name, match.span())
        for pattern in LEXICON
        if any(clue in lower for clue in pattern.clues) and (match := pattern.regex.search(straight))
    )
