"""The short forms of the rows about numbers that are not finite, and what they must catch."""

from __future__ import annotations

from torture.check import short_forms

bench, test_row, test_a_broken_program_is_caught = short_forms("rows_numbers")
