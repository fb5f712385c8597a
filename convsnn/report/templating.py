"""The pages' templates, with the wording and the script that all of them share."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from convsnn.errors import MissingExtraError
from convsnn.report.wording import amount, joules, percent, points, significant

NO_BREAK = "\N{NO-BREAK SPACE}"


def _unbroken(wording: Callable[[Any], str]) -> Callable[[Any], str]:
    """The same words, which no line end may part: a number stays with its unit."""
    return lambda value: wording(value).replace(" ", NO_BREAK)


FILTERS = {
    function.__name__: _unbroken(function)
    for function in (percent, points, significant, joules, amount)
}


def template(name: str, **filters: Any) -> Any:
    """The page `name` of `templates/`, with the filters of all pages and `filters`.

    MissingExtraError where jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("convsnn", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS, **filters)
    script = (files("convsnn") / "report/templates/page.js").read_text(encoding="utf-8")
    environment.globals["script"] = script
    # the page's own rules let this script run and no other
    environment.globals["script_digest"] = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template(name)
