"""Whether a server answers on HTTP yet."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

ANSWER_SECONDS = 5.0


def http_answers(url: str, ca_file: Path | None = None) -> bool:
    """Whether the URL gives any answer, an error included; the server is on loopback."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # none, whatever the environment says
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)),
    )
    try:
        opener.open(url, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True
