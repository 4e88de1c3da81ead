"""A judged study as a page, a file to print and pictures.

Place: called through ``agent.qc.report`` and by ``judge_worker``. It must never add a fact of its own.
"""
