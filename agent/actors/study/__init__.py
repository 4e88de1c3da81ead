"""The actor of one study, by the parts of its life: ``arriving`` before Stable, ``actor`` from there on."""
