"""DVC stage `preprocess`: images -> WebDataset shards of quantised levels.

A shard is made by one process from beginning to end, and what is finished is kept outside of
DVC's outputs: a run that was stopped goes on from there.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from stages.copied_checkout import told_of_missing_files
from stages.errors import run
from stages.feasible import check_names
from stages.files_of import folder_of, stamps
from stages.later_stages import check_later_stages
from stages.listing import Listing
from stages.makers import make_shards
from stages.outputs import write_json
from stages.params import DataParams, load_params
from stages.shards import MANIFEST
from stages.sources.choose import make_source
from stages.sources.source import Source
from stages.unfinished import Unfinished
from stages.unread import left_out, lines


def preprocess(data: DataParams, seed: int, folder: Path) -> dict[str, Any]:
    """Writes all shards of a data set into a folder, the same bytes for any number of processes.

    Returns:
        The content of dataset.json.
    """
    source, listing = listed(data, seed)
    with TemporaryDirectory(dir=folder.parent) as name:
        into = Unfinished.at(Path(name))
        content = make_dataset(source, listing, data, into)
        into.publish(folder)
    return content


def listed(data: DataParams, seed: int) -> tuple[Source, Listing]:
    """The images of `data.source`, and the shards that they are for.

    Raises:
        InputError: there is nothing to read, or no stage could do anything with it.
    """
    source = make_source(data, seed)
    entries = source.entries()
    check_names(source)
    for line in lines(data.folder.path, left_out(data), source.passed_over):
        print(line, file=sys.stderr, flush=True)
    return source, Listing.of(entries, data)


def make_dataset(
    source: Source, listing: Listing, data: DataParams, into: Unfinished
) -> dict[str, Any]:
    """Makes the shards that are not finished, and writes all that is said about them.

    Images stand in the order of a hash of their names, so that every shard is a random part. A
    shard with images that cannot be read is shorter than the others.

    Returns:
        The content of dataset.json, which is written too.
    """
    made = make_shards(source, listing, data, into)
    from stages.description import Description  # with libraries that the other processes lack

    content = Description(source, listing, data, made, into).write()
    content["left_out"] = left_out(data)
    if source.passed_over:
        content["passed_over"] = source.passed_over
    write_json(into.shards / MANIFEST, content)
    return content


def command(
    shards: Annotated[Path, typer.Argument(help="folder to write, data/shards in dvc.yaml")],
) -> None:
    """Turn the images of `data.source` into shards of quantised levels.

    A run that was stopped goes on after the shards that it finished: .cache/preprocess.

    Example: python -m stages.preprocess data/shards
    """
    params = load_params()
    data, seed = params.data, params.seed
    root = folder_of(data)
    with told_of_missing_files(root):
        source, listing = listed(data, seed)
    check_later_stages(params, source, listing)
    with Unfinished.open(listing.fingerprint(data, seed, stamps(root) if root else ())) as into:
        make_dataset(source, listing, data, into)
        into.publish(shards)


if __name__ == "__main__":
    run(lambda: typer.run(command))
