"""Typed configuration: schema, composition, cross-field checks. Imports neither torch nor transformers."""
