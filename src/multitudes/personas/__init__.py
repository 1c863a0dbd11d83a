"""Who is simulated: questionnaires, populations from files, generators, and how a persona is told to a model."""

from multitudes.personas.generators import (
    GenerationShortfall,
    Generator,
    GeneratorView,
    generator_names,
    get_generator,
)
from multitudes.personas.names import draw_names
from multitudes.personas.placement import near_duplicates, place
from multitudes.personas.questionnaires import (
    Problem,
    check_questionnaire,
    check_splits,
    load_questionnaire,
    shipped_questionnaires,
)
from multitudes.personas.render import PersonaView, render, template_hash
from multitudes.personas.sources import load_population

__all__ = [
    "GenerationShortfall",
    "Generator",
    "GeneratorView",
    "PersonaView",
    "Problem",
    "check_questionnaire",
    "check_splits",
    "draw_names",
    "generator_names",
    "get_generator",
    "load_population",
    "load_questionnaire",
    "near_duplicates",
    "place",
    "render",
    "shipped_questionnaires",
    "template_hash",
]
