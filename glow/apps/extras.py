"""How to get a package that is missing."""


def brought_by(extra: str = "") -> str:
    """The command, for this checkout: the public index may have another project of our name."""
    what = f"'.[{extra}]'" if extra else "."
    return f"`pip install -c constraints.txt -e {what}` brings it"
