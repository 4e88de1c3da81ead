"""The dashboard and the JSON API: the only package with flask.

Place: a process of its own beside the engine; reads the store, and writes nothing but accounts, logins, tokens,
audit and command rows. It never imports an actor and never touches an image.
"""
