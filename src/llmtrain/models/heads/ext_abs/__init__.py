"""Sentence selection and writing over one trunk: the selection steers the writer, and the output cites sentences."""
