"""What people touch: the ``%keyguard`` magic, its displays, and the warning after a cell.

All of it runs in kernels, also in kernels whose environment lacks this package, so it needs the standard library and
IPython only; pandas is used where it is there. Nothing here can do more than the kernel's own key may.
"""
