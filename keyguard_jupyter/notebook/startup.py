# ruff: noqa: D100
#
# PYTHONSTARTUP of guarded kernels: gives them the %keyguard magic; autoload.py beside it does the work.
#
# It is run in the user's own namespace, where a docstring would replace the namespace's own (hence comments), and
# wherever PYTHONSTARTUP is inherited: it must do no harm there, leave no name behind, and parse on Python 3.8.


def _keyguard_startup(path: str) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    try:
        spec = spec_from_file_location("_keyguard_autoload", path)
        module = module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except Exception as failure:  # noqa: BLE001  a kernel must start whatever happens here
        print("Keyguard: %keyguard could not be loaded:", failure)  # noqa: T201
    else:
        module.run(globals())


try:
    _keyguard_startup(_keyguard_startup.__code__.co_filename.rpartition("startup")[0] + "autoload.py")
finally:
    del _keyguard_startup
