"""Model cards: rendering the templates in ``templates/``, and the front matter of cards."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from langlift.config.yaml_reader import load_yaml


def render_card(template: str, **values: Any) -> str:
    """Render the card template of this name in ``templates/``."""
    return _environment().get_template(template).render(values)


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split a hub README into its YAML front matter and the text below."""
    match = re.match(r"\ufeff?---\r?\n(.*?)\r?\n---(?:\r?\n|\Z)", text, flags=re.DOTALL)
    if match is None:
        return {}, text.strip()
    try:
        facts = load_yaml(match[1])
    except yaml.YAMLError:
        facts = None
    return facts if isinstance(facts, dict) else {}, text[match.end() :].strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("langlift"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "codes": _codes,
        "front": _front_matter,
        "json": partial(json.dumps, default=str),
        "number": format,
    }
    return environment


def _front_matter(facts: Mapping[str, Any]) -> str:
    """Facts as YAML, without empty ones; lists are on one line."""
    stated = {key: value for key, value in facts.items() if value}
    return yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, default_flow_style=None).rstrip()


def _codes(languages: Iterable[str]) -> list[str]:
    """The hub's codes of languages such as ``mlt_Latn``."""
    return list(dict.fromkeys(name.partition("_")[0] for name in languages))
