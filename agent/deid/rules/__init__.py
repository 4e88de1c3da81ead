"""What may leave: the Annex E table, the lists and profiles, compiled to one look-up."""
