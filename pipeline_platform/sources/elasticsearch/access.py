"""Whether the login may read all of what the config names.

The server answers a search over a pattern with what the login may see, and says nothing about the
rest; so the login's privileges are asked for.
"""

from collections.abc import Sequence

from pipeline_platform.connections.elasticsearch import ElasticsearchClient
from pipeline_platform.errors import PipelineError, TransientError
from pipeline_platform.movement import Prerequisite

_CHECK = "source permissions"
_PRIVILEGES = ("read", "view_index_metadata")
# What a server without security says.
_NO_HANDLER = "no handler found"


def access_check(client: ElasticsearchClient, indices: Sequence[str]) -> Prerequisite:
    """Passes if the login may read every one of the names and patterns.

    A pattern needs grants that cover all that it could ever match. Raises what keeps the question
    from being answered.
    """
    named = [name for name in indices if not name.startswith("-")]
    wanted = {"index": [{"names": named, "privileges": _PRIVILEGES}]}
    try:
        answer = client.ask_json("POST", "/_security/user/_has_privileges", body=wanted)
    except TransientError:
        raise
    except PipelineError as error:
        if _NO_HANDLER in error.message:
            return Prerequisite(_CHECK, True, "the server has no security")
        raise
    if answer["has_all_requested"]:
        return Prerequisite(_CHECK, True, "the login may read all of it")
    missing = [
        f"{privilege} on {name!r}"
        for name, granted in sorted(answer["index"].items())
        for privilege, allowed in sorted(granted.items())
        if not allowed
    ]
    return Prerequisite(
        _CHECK,
        False,
        f"the login lacks {', '.join(missing)}; the server would leave out what it may not see, "
        "without a word",
        hint="Grant it, or name in source_system.index only what it may read. A pattern needs a "
        "grant that covers the whole pattern.",
    )
