"""Reads of the dashboard and of the JSON API: one module for lists, one for a study, one for what runs.

Place: called by ``web`` only. Answers are frozen, typed rows; each read goes through an index and is bounded.
Nothing here writes.
"""
