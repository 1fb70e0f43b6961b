"""Answers that are whole but not JSON to a strict reader, because of a document in them.

Elasticsearch takes documents with halves of surrogate pairs, comments and byte order marks, and
gives them back as they came. One of them would make every page that it is in unreadable.
"""

import re

import msgspec

from pipeline_platform.sources.elasticsearch.response import SEARCH_RESPONSE, SearchResponse

_TOKEN = re.compile(
    rb'"(?:[^"\\]+|\\.)*"(?P<key>\s*:)?|/\*.*?\*/|//[^\n]*|#[^\n]*|[{}\[\]]', re.DOTALL
)
# Of a hit's own keys: the response, its hits, the list of them, one hit.
_HIT_DEPTH = 4
_NOTHING = msgspec.Raw(b"null")


def search_response(answer: bytes) -> SearchResponse:
    """The response; msgspec.DecodeError if the answer is cut short or none.

    Documents may be JSON that only a lenient reader takes.
    """
    try:
        return SEARCH_RESPONSE.decode(answer)
    except msgspec.DecodeError as error:
        found = _sources(answer)
        if not found:
            raise
        rest, start = [], 0
        for behind_key, _, end in found:
            rest += [answer[start:behind_key], b"null"]
            start = end
        try:
            response = SEARCH_RESPONSE.decode(b"".join([*rest, answer[start:]]))
        except msgspec.DecodeError:
            raise error from None
    hits = response.hits.hits
    with_source = [place for place, hit in enumerate(hits) if hit.source == _NOTHING]
    for place, (_, begin, end) in zip(with_source, found, strict=True):
        hits[place] = msgspec.structs.replace(hits[place], source=msgspec.Raw(answer[begin:end]))
    return response


def _sources(answer: bytes) -> list[tuple[int, int, int]]:
    """Of each hit's `_source`: where its key ends, where the object begins, where it ends.

    Nothing if the answer does not end well.
    """
    found: list[tuple[int, int, int]] = []
    depth, behind_key, begin = 0, 0, 0
    for match in _TOKEN.finditer(answer):
        token = match.group()
        if token in (b"{", b"["):
            if behind_key and depth == _HIT_DEPTH:
                begin = match.start()
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if behind_key and depth == _HIT_DEPTH:
                found.append((behind_key, begin, match.end()))
                behind_key = 0
        elif match.group("key") and depth == _HIT_DEPTH:
            behind_key = match.end() if token.startswith(b'"_source"') else 0
    return found if depth == 0 else []
