"""The base of all tables and the database they are bound to.

Job: bind tables to whichever database this process opened. Place: below the tables. It must never open one itself.
"""

from __future__ import annotations

from peewee import DatabaseProxy, Model, TextField

database = DatabaseProxy()


class Table(Model):
    """Base of all tables."""

    class Meta:
        """Binding to whichever database this process opened."""

        database = database
        legacy_table_names = False


class Meta(Table):
    """Facts about the database itself (schema version, key check value)."""

    key = TextField(primary_key=True)
    value = TextField()
