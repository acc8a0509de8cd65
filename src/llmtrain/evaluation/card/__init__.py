"""The model card of a published model, README.md in the hub's format."""
