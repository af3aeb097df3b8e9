"""What is known of languages beside their texts: which are taken for each other."""

UNDETERMINED = "und"
"""ISO 639-3 code of text whose language cannot be told."""

KIN = (
    *(("da", "nb", "nn", "no", "sv"), ("bs", "hr", "sh", "sl", "sr"), ("cs", "sk"), ("id", "ms"), ("af", "nl")),
    *(("ast", "ca", "es", "gl", "oc", "pt"), ("be", "bg", "mk", "ru", "uk"), ("hi", "mr", "ne"), ("wuu", "yue", "zh")),
)
"""Languages that are easily taken for each other: no two of them make a text mixed, or an answer one in another
language."""
ANCESTOR = {code: kin[0] for kin in KIN for code in kin}
