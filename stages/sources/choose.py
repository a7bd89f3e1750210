"""The reader of a data set, by its name in params.yaml."""

from stages.params import DataParams
from stages.sources.source import Source


def make_source(data: DataParams, seed: int) -> Source:
    """The reader that `data.source` names; each brings libraries that the others do not need."""
    match data.source:
        case "avatars":
            from stages.sources.avatars import AvatarsSource

            return AvatarsSource(data.avatars, data.image_size, seed)
        case "folder":
            from stages.sources.folder import FolderSource

            return FolderSource(data.folder, data.image_size)
