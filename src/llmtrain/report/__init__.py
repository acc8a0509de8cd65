"""The report: one HTML file of runs, with their scores, curves and predictions, that needs no network."""
