"""Where a setting is written, as text: ``projects.default.people.ada.limits.total``."""

import json
import re

_PLAIN = re.compile(r'[^\s."]+').fullmatch


def join(path: str, *names: str) -> str:
    """Append names to a path; a name that holds a dot, a blank or a quote is quoted, so that no two paths look alike.

    >>> join("projects.default.models", "gpt-3.5-turbo")
    'projects.default.models."gpt-3.5-turbo"'
    """
    for name in names:
        shown = name if _PLAIN(name) else json.dumps(name, ensure_ascii=False)
        path = f"{path}.{shown}" if path else shown
    return path
