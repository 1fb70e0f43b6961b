"""What a code location's `definitions.py` returns, without imports that no pipeline needs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

NOTES = (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning, DeprecationWarning)


def load_defs_folder(path_within_project: Path) -> dg.Definitions:
    """Everything in the `defs/` of the project that the path is in.

    What `dg.load_from_defs_folder` gives, components made in the UI among it, but for the list of
    all installed component types that the UI can show. To make that list, every installed package
    that has some is imported, in each process that loads the project, so in that of each run: with
    the extras `snowflake` and `s3` that takes 4 of 5 seconds. Whatever Dagster raises for a project
    that it cannot load leaves this function.
    """
    with notes_left_out():
        tree = dg.ComponentTree.for_project(path_within_project)
        parts = [
            tree.build_defs(part.loc)
            for part in tree.find_root_decl().iterate_child_component_decls()
        ]
    return dg.Definitions.merge(*parts, dg.Definitions(component_tree=tree))


@contextmanager
def notes_left_out() -> Iterator[None]:
    """Warnings of what is beta, in preview or deprecated are not shown, as when Dagster loads."""
    with warnings.catch_warnings():
        for kind in NOTES:
            warnings.simplefilter("ignore", kind)
        yield
