"""1-Wire through owserver: what devices measure, count and sense comes into the tree, switches follow it.

``model``, ``config`` and ``poll`` are pure; ``bus`` does the I/O, ``agent`` glues all to the framework, ``command`` is
``kv onewire``. ``simulator`` is an owserver without hardware, ``testing`` emulates a bus master below a real one; both
have the devices of ``chips`` and ``chips_io`` on them.
"""
