"""Who makes a call."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind a call, and the virtual key that they used.

    Args:
        project: name of the project that the key belongs to.
        person: name of the person within the project.
        groups: the person's groups, as they are now.
        key_id: id of the virtual key; names it in rules, limits and reports.
        suffix: last characters of the virtual key, for display.
        kind: ``"personal"`` or ``"kernel"``.
        kernel_id: the kernel that a kernel key was made for.
        notebook: path of that kernel's notebook.
    """

    project: str
    person: str
    groups: tuple[str, ...]
    key_id: str
    suffix: str
    kind: str
    kernel_id: str | None = None
    notebook: str | None = None
