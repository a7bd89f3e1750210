"""The reader of a data set, by its name in params.yaml."""

from pathlib import Path

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
        case "cifar10" | "cifar100":
            from stages.sources.arrays import ArraySource
            from stages.sources.cifar import CIFAR

            return ArraySource(CIFAR[data.source], Path(data.folder.path), data.image_size)
        case "mnist" | "fashion_mnist":
            from stages.sources.arrays import ArraySource
            from stages.sources.mnist import MNIST

            return ArraySource(MNIST[data.source], Path(data.folder.path), data.image_size)
        case "svhn":
            from stages.sources.arrays import ArraySource
            from stages.sources.svhn import SVHN

            return ArraySource(SVHN, Path(data.folder.path), data.image_size)
        case "imagenet32" | "imagenet64":
            from stages.sources.imagenet import imagenet

            side = int(data.source.removeprefix("imagenet"))
            return imagenet(Path(data.folder.path), side, data.image_size)
        case "elpv":
            from stages.sources.elpv import ElpvSource

            return ElpvSource(data.image_size)
        case "celeba":
            from stages.sources.celeba import CelebaSource

            return CelebaSource(data.folder, data.image_size)
        case "celeba_hq":
            from stages.sources.celeba_hq import CelebaHqSource

            return CelebaHqSource(data.folder, data.image_size)
        case "ffhq":
            from stages.sources.ffhq import FfhqSource

            return FfhqSource(data.folder, data.image_size)
        case "lsun":
            from stages.sources.lsun import LsunSource

            return LsunSource(data.folder, data.image_size)
        case "webdataset":
            from stages.sources.webdataset import WebdatasetSource

            return WebdatasetSource(data.folder, data.image_size)
        case "parquet":
            from stages.sources.parquet import ParquetSource

            return ParquetSource(data.folder, data.image_size)
