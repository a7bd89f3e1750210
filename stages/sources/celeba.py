"""CelebA as published: aligned faces in a zip or a folder, and two tables beside them."""

from dataclasses import dataclass

from stages.params import FolderParams
from stages.sources.files import Location
from stages.sources.layout import Layout
from stages.sources.pictures import cropped, decoded, decoded_bytes, raw
from stages.sources.source import Entry, RawImage, Source
from stages.sources.tables import match_rows, read_attribute_names, read_attributes, read_splits
from stages.sources.zip_images import names_in, read_from

FOLDER, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
ATTRIBUTES, SPLITS = "list_attr_celeba.txt", "list_eval_partition.txt"
PATTERN = rf"{FOLDER}/\d{{6}}\.jpg"
CELEBA = Layout(
    "CelebA",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    f"{ARCHIVE} (or the folder {FOLDER}/), {ATTRIBUTES} and {SPLITS}",
    202_599,
)
CREDIT = (
    "CelebA by Ziwei Liu, Ping Luo, Xiaogang Wang and Xiaoou Tang "
    "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), for non-commercial research only; "
    "the photographs are not theirs"
)


@dataclass(frozen=True)
class CelebaSource(Source):
    """Image 000001.jpg is the face that CelebA calls so, cropped to 148x148 around it.

    Args:
        params: where the files are; the rest of it is for other sources.
        image_size: to which the crop is resized.
        official: whether there must be as many images as CelebA has.
    """

    params: FolderParams
    image_size: int
    official: bool = True

    @property
    def credit(self) -> str:
        """The authors and the terms."""
        return CREDIT

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The 40 of list_attr_celeba.txt."""
        return read_attribute_names(CELEBA.table(self._root, ATTRIBUTES))

    def entries(self) -> list[Entry]:
        """All images, in the splits of list_eval_partition.txt."""
        images = self._images()
        if self.official:
            CELEBA.check_count(self._root, len(images))
        table = CELEBA.table(self._root, ATTRIBUTES)
        attributes = match_rows(table, read_attributes(table), images)
        table = CELEBA.table(self._root, SPLITS)
        splits = match_rows(table, read_splits(table), images)
        in_folder = (self._root / FOLDER).is_folder()
        return [Entry(name, splits[name], attributes[name], place=in_folder) for name in images]

    def read(self, entry: Entry) -> RawImage:
        """Decodes and crops one image; raises UnreadableImage."""
        if entry.place:
            image = decoded(self._root / FOLDER / entry.name)
        else:
            image = decoded_bytes(read_from(self._root / ARCHIVE, f"{FOLDER}/{entry.name}"))
        return raw(cropped(image, "celeba"), self.image_size, entry.attributes)

    def _images(self) -> list[str]:
        """The folder is taken where both are there."""
        folder, archive = self._root / FOLDER, self._root / ARCHIVE
        if folder.is_folder():
            return folder.files({".jpg"})
        if not archive.is_file():
            raise CELEBA.missing(self._root, ARCHIVE)
        return [name.partition("/")[2] for name in names_in(archive, PATTERN)]

    @property
    def _root(self) -> Location:
        return Location(self.params.path)
