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
        seen: set[Hashable] = set()
        for name_node, _ in node.value:
            name = self.construct_object(name_node, deep=True)
            if not isinstance(name, Hashable):
                continue  # refused below
            if name in seen:
                raise PolicyError("", f"line {name_node.start_mark.line + 1}: {name!r} stands twice in one mapping")
            seen.add(name)
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
    except PolicyError:
        raise
    except (ValueError, RecursionError) as error:  # a date that does not exist, or nesting without end
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise PolicyError("", f"not valid YAML: {reason}") from None
    return read_policy(document)


def read_policy(document: object) -> dict[str, Project]:
    """Read a policy from plain data.

    Raises:
        PolicyError: names the field.
    """
    try:
        projects = read(document)
        dump_policy_json(projects).encode()
    except RecursionError:
        raise PolicyError("", "nested too deep") from None
    except UnicodeEncodeError:
        raise PolicyError("", "it contains characters that are not Unicode text") from None
    return projects


def dump_policy(projects: Mapping[str, Project]) -> str:
    """Write a policy as YAML, such that reading it gives the same."""
    return yaml.safe_dump(write(projects), sort_keys=False, allow_unicode=True, width=110)


def dump_policy_json(projects: Mapping[str, Project]) -> str:
    """Write a policy as JSON."""
    return json.dumps(write(projects), ensure_ascii=False)


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
