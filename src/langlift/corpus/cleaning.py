"""Cleaning text: Unicode NFC, no control characters, no markup, no addresses, single spaces.

Cleaning is idempotent: the rules run until nothing changes.
"""

import re
from html import unescape
from unicodedata import is_normalized, normalize

MAXIMUM_PASSES = 10
"""Text that still changes after this many passes is nested markup, not language; it becomes empty."""

UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff"
"""Letters that may follow an address without a space: Thai, Lao, Tibetan, Burmese, Khmer, Japanese, Chinese."""

BETWEEN_WORDS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
"""Thai, Lao, Burmese, Khmer, Tai: scripts in which U+200B may stand between words."""
MONGOLIAN = "\u1820-\u18aa"
"""Letters before which U+180E separates a vowel."""

# Control characters except tab and line ends; soft hyphen, byte order mark, direction marks, interlinear marks,
# lone surrogates; U+200B and U+180E where no script needs them. Not the joiners U+200C and U+200D, which are
# letters of Persian and others.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff]"
    f"|(?<![{BETWEEN_WORDS}])\u200b(?![{BETWEEN_WORDS}])|(?<![{MONGOLIAN}])\u180e(?![{MONGOLIAN}])"
)
MARKUP = re.compile(r"[<>&\[\]{}|=]")
SIGNS = ("://", "www.", "@", "''", "__", "()")
"""Lines with neither these nor ``MARKUP`` are not changed by the rules below."""

BLOCKS = re.compile(
    r"<!--(?:(?!<!--).)*?-->|<(script|style)\b[^<>]*>(?:(?!<(?:script|style)\b).)*?</\1\s*>"
    r"|\{\|(?:(?!\{\|).)*?\|\}",
    re.DOTALL | re.IGNORECASE,
)
"""Comments, scripts, style sheets, wiki tables: may span several lines."""
TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")

ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
ADDRESS = rf"(?:(?:https?|ftp)://|www\.)[^\s<>\[\]|{UNSPACED}]+"

INLINE_TAGS = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|mark|nowiki|q|rp|rt|ruby|s|samp|small|span"
    "|strike|strong|sub|sup|tt|u|var|wbr"
)
BLOCK_TAGS = (
    "address|article|aside|audio|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|dir|div|dl"
    "|dt|embed|fieldset|figcaption|figure|footer|form|frame|gallery|h[1-6]|head|header|hr|html|iframe|img|includeonly"
    "|input|label|legend|li|link|main|math|menu|meta|nav|noinclude|noscript|object|ol|optgroup|option|p|param|pre|ref"
    "|references|script|section|select|source|style|summary|svg|table|tbody|td|template|textarea|tfoot|th|thead|time"
    "|title|tr|track|ul|video"
)
"""Tags of HTML and wiki pages; other words in angle brackets are text. Inline tags may be inside words."""

RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"<ref\b[^<>]*/>|<ref\b[^<>]*>[^<>]*</ref\s*>", ""),
        (rf"</?(?:{INLINE_TAGS})(?:\s[^<>]*)?/?>", ""),
        (rf"</?(?:{BLOCK_TAGS})(?:\s[^<>]*)?/?>|<!(?:doctype|--)[^<>]*>", " "),
        (r"<!--|-->|</?(?:script|style)\b|\{\{|\}\}|\{\||\|\}", ""),
        (r"\[(?:https?:|ftp:)?//[^\s\[\]]+\s+([^\[\]]*)\]", r"\1"),
        (r"!?\[([^\[\]]*)\]\((?:https?:/|ftp:/|/|#|www\.)[^()\s]*\)", r"\1"),
        (rf"<?{ADDRESS}(?<![.,;:!?)\"'»”’])>?", ""),
        (r"<?(?:mailto:)?(?<![\w.+-])[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}>?", ""),
        (r"\[\[[^\W\d_]+:[^\s\[\]|][^\[\]]*\]\]", ""),
        (r"\[\[(?:[^\[\]|]*\|)*([^\[\]|]*)\]\]", r"\1"),
        (r"\[\d{1,3}\]", ""),
        (r"(?:\b(?:thumb|frame|left|right|center|upright|\d{1,4}px)\|)+", ""),
        (r"^\s*\|(?:[\s+}-].*)?$", ""),
        (r"'{3,}|(?-i:__[A-Z]{3,}__)", ""),
        (r"(?<!\w)''|''(?!\w)", '"'),
        (r"^\s*=+\s*([^=]*[^=\s])\s*=+\s*$", r"\1"),
        (r"\(\s*\)|\[\s*\]", ""),
    )
)
"""Pattern -> replacement, in order: HTML, addresses, wiki links and marks, headings, empty brackets."""


def clean_document(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The cleaned lines of a text, without blank lines, and the changed ones as (before, after).

    A change of white space alone is not counted.
    """
    lines = text.split("\n")
    if not (INVISIBLE.search(text) or _suspicious(text)) and is_normalized("NFC", text):
        return [line for line in map(_single_spaces, lines) if line], []
    cleaned = []
    changed = []
    for before, after in zip(lines, _without_blocks(text).split("\n"), strict=True):
        line, before = clean_line(after), _single_spaces(before)
        if line:
            cleaned.append(line)
        if line != before:
            changed.append((before, line))
    return cleaned, changed


def clean_line(line: str) -> str:
    """Clean one line."""
    line = _single_spaces(line)
    for _ in range(MAXIMUM_PASSES):
        before = line
        line = INVISIBLE.sub("", normalize("NFC", line))
        if _suspicious(line):
            line = ENTITY.sub(lambda entity: unescape(entity.group()), line)
            for pattern, replacement in RULES:
                line = pattern.sub(replacement, line)
        line = _single_spaces(line)
        if line == before:
            return line
    return ""


def _suspicious(text: str) -> bool:
    return MARKUP.search(text) is not None or any(sign in text for sign in SIGNS)


def _without_blocks(text: str) -> str:
    """The text without markup that may span lines; line ends stay, so the number of lines does not change."""
    for _ in range(MAXIMUM_PASSES):
        before = text
        for pattern in (BLOCKS, TEMPLATE):
            text = pattern.sub(lambda block: "\n" * block.group().count("\n"), text)
        if text == before:
            break
    return text


def _single_spaces(line: str) -> str:
    return " ".join(line.split())
