"""How the files of a published data set lie in their folder, and what to say where they do not."""

from dataclasses import dataclass

from stages.errors import InputError
from stages.sources.files import Location


@dataclass(frozen=True)
class Layout:
    """A data set as its makers publish it.

    Attributes:
        title: its name.
        url: where to get it.
        files: how its folder should look.
        count: images of the whole of it.
    """

    title: str
    url: str
    files: str
    count: int

    def missing(self, root: Location, name: str) -> InputError:
        """What to do where a file is not there."""
        return InputError(
            f"{root}: expected {self.title} as {self.files}, came no {name}; "
            f"get it from {self.url}, or correct data.folder.path"
        )

    def table(self, root: Location, name: str) -> Location:
        """A file of this name below the root, which must be there."""
        file = root / name
        if not file.is_file():
            raise self.missing(root, name)
        return file

    def check_count(self, root: Location, came: int) -> None:
        """Refuses a copy that is not whole."""
        if came != self.count:
            raise InputError(
                f"{root}: expected the {self.count} images of {self.title}, came {came}; get all "
                f"of it from {self.url}, or read a part of it with data.source: folder"
            )
