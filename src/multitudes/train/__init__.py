"""Training a persona in: adapters, made by a recipe, that are loaded as ``BASE+NAME_OR_DIR``."""
