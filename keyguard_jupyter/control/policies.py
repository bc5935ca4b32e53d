"""The policy as a whole: read, compare, apply, write."""

import json
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from ..core.document import difference, read, write
from ..core.policy import Project
from ..errors import PolicyError
from ..ledger.directory import Directory

STARTER = """\
# Keyguard's starter policy, written because there was none. Change it here and apply it:
#     jupyter keyguard apply {path}
projects:
  default:
    default: deny                  # what is not mentioned below is denied
    limits:
      total: {{amount: "5.00", window: month}}     # dollars, all together; this is the line to change
    models:
      gpt-4.1-mini: {{access: allow}}
      gpt-4.1-nano: {{access: allow}}
      gpt-4o-mini: {{access: allow}}
      gpt-5-mini: {{access: allow}}
      gpt-5-nano: {{access: allow}}
      text-embedding-3-small: {{access: allow}}
"""


class _Loader(yaml.SafeLoader):
    """Reads plain data, and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [self.construct_object(name, deep=True) for name, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PolicyError("", f"line {node.start_mark.line + 1}: {twice!r} stands twice in one mapping")
        return super().construct_mapping(node, deep=deep)


def parse_policy(text: str) -> dict[str, Project]:
    """Read a policy from YAML (of which JSON is a part).

    Raises:
        PolicyError: names the line or the field.
    """
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise PolicyError("", f"{where}not valid YAML: {getattr(error, 'problem', error)}") from None
    return read(document)


def dump_policy(projects: Mapping[str, Project]) -> str:
    """Write a policy as YAML, such that reading it gives the same."""
    return yaml.safe_dump(write(projects), sort_keys=False, allow_unicode=True, width=110)


def dump_policy_json(projects: Mapping[str, Project]) -> str:
    """Write a policy as JSON."""
    return json.dumps(write(projects))


async def apply_policy(directory: Directory, wanted: Mapping[str, Project], *, dry_run: bool = False) -> dict[str, Any]:
    """Make the policy what a document says: projects that it does not name are removed. Spending and keys stay.

    Returns:
        ``changes`` (path, before, after), whether they were ``applied``, and the ``revision``.
    """
    await directory.refresh()
    current = dict(directory.projects)
    changes = [
        {"path": change.path, "before": change.before, "after": change.after}
        for change in difference(current, dict(wanted))
    ]
    if changes and not dry_run:
        names = [name for name in {*current, *wanted} if current.get(name) != wanted.get(name)]
        await directory.put_projects({name: wanted.get(name) for name in names})
    return {"changes": changes, "applied": bool(changes) and not dry_run, "revision": directory.revision}
