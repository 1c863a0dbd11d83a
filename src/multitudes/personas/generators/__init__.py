"""What makes populations: the protocol, the placed generator and the baselines it is compared with."""

from multitudes.personas.generators.base import GenerationShortfall, Generator, GeneratorView
from multitudes.personas.generators.baselines import IidGenerator, NaiveGenerator
from multitudes.personas.generators.lint import lint
from multitudes.personas.generators.registry import generator_names, get_generator, register
from multitudes.personas.generators.sobol import SobolGenerator, sobol_or_template_generator, template_generator

__all__ = [
    "GenerationShortfall",
    "Generator",
    "GeneratorView",
    "IidGenerator",
    "NaiveGenerator",
    "SobolGenerator",
    "generator_names",
    "get_generator",
    "lint",
    "register",
    "sobol_or_template_generator",
    "template_generator",
]
