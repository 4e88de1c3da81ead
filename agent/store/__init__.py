"""The store: keys, encrypted segments, their index, and every other row the agent keeps.

Job: what must survive is durable here before anybody is told. Place: below every room but the pure ones; the only
package with peewee and cryptography. It must never hold a clear identifier outside the encrypted database, nor a key
beside what it locks.
"""
