"""The only door between the host and a device.

`registry.resolve` turns a name into a `Backend`; a `Backend` brings data in (``asarray``) and
results out (``to_numpy``). Between the two, the arrays themselves say which namespace computes:
nothing else in the package asks where it runs. Each library has a module of its own.
"""
