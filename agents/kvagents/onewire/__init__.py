"""1-Wire through owserver: sensors of a bus become entries of the KV tree.

``model`` is pure, ``bus`` does the I/O, ``agent`` glues both to the framework, ``simulator`` is an owserver
without hardware, ``testing`` emulates a bus master below a real owserver.
"""
