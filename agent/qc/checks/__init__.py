"""The checks of quality control, one module a group.

Place: called by ``agent.qc.verdict`` with arranged series and the rules of a profile; each returns results. They must
never read a data set or decode a pixel: everything comes from measurements.
"""
