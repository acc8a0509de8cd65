"""Sending a published model to a hub: what would go, what must not, and the sending itself."""
