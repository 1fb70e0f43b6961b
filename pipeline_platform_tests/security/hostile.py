"""Names and texts that somebody, or some system, might give us to do harm."""

from hypothesis import strategies as st

HOSTILE = (
    'a"b', '""', '"; DROP TABLE orders; --', "'; DROP TABLE orders; --", "a.b", '"."', "a\nb",
    "a\r\nb", "two words", "größe 日本 🦆", "'", "''", "\\", "\\'", "%", "%s", "%(x)s", "%%", "{}",
    "{0}", "{table}", "{{x}}", "?", "$1", "$$", ":name", "@x", "#", "select", "ORDER", "\t",
    "\x7f", "\u200b", "..", "../..", "/etc/passwd", "a/b", "*", "--", "/* x */", ";", "`x`",
    "[x]", "x" * 63, "-", " leading", "trailing ", "1st", "_", "null", "İ",
)  # fmt: skip
WORST = ('"; DROP TABLE orders; --', "a.b", '"."', "a\nb", "größe 🦆", "\\'", "%(x)s", "{table}",
         "?", "$1", "../..", "select")  # fmt: skip
# PostgreSQL ends at 63 bytes, Snowflake at 255 characters.
LONG = ("y" * 64, "ö" * 32, "z" * 255, "w" * 256)
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
