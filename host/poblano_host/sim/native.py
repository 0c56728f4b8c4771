"""An object of C++ in a shared library, driven by ctypes."""

import ctypes

__all__ = ["NativeObject"]


class NativeObject:
    """What the library's function ``PREFIX_create`` makes of ``arguments``; its other functions, called
    ``PREFIX_name``, take the object first.

    Parameters
    ----------
    path : of the shared library
    prefix : str
    functions : by name a tuple of ctypes: the result's and those of the arguments after the object; with
        ``create`` and ``destroy``
    arguments : of ``create``

    Members
    -------
    library : the ctypes.CDLL
    """

    def __init__(self, path, prefix, functions, *arguments):
        self._prefix, self._handle = prefix, None
        self.library = ctypes.CDLL(str(path))
        for name, (result, *types) in functions.items():
            function = getattr(self.library, f"{prefix}_{name}")
            first = [] if name == "create" else [ctypes.c_void_p]
            function.restype, function.argtypes = result, first + types
        self._handle = getattr(self.library, f"{prefix}_create")(*arguments)

    def call(self, name, *arguments):
        return getattr(self.library, f"{self._prefix}_{name}")(self._handle, *arguments)

    @property
    def closed(self):
        return self._handle is None

    def close(self):
        """Free the object, once."""
        if self._handle is not None:
            self.call("destroy")
            self._handle = None

    def __del__(self):
        self.close()
