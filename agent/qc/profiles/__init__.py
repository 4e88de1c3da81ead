"""Quality profiles: their shape in ``model``, the shipped ones as TOML beside it.

Place: read by ``agent.qc.profile``.
"""
